//! Whether anything is heard from the peer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::transport::{Link, Traffic};

/// Between two looks.
const TICK: Duration = Duration::from_millis(250);
/// What was sent is acknowledged after a round trip and 25 ms. A peer that says nothing for so long is busy, or gone.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Hearing<'a> {
    link: &'a Link,
    /// As of when the peer was last heard.
    heard: Traffic,
    unanswered: Option<Instant>,
}

impl<'a> Hearing<'a> {
    pub(super) fn of(link: &'a Link) -> Self {
        Self { link, heard: link.traffic(), unanswered: None }
    }

    /// Waits until the peer has owed an acknowledgement for too long.
    pub(super) async fn silence(&mut self) {
        loop {
            sleep(TICK).await;
            self.look();
            let patience = self.link.path().map_or(PATIENCE, |path| PATIENCE.max(3 * path.rtt));
            if self.unanswered.is_some_and(|since| since.elapsed() > patience) {
                return;
            }
        }
    }

    /// Waits until anything is heard.
    pub(super) async fn sound(&mut self) {
        while self.unanswered.is_some() {
            sleep(TICK).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let traffic = self.link.traffic();
        if traffic.received != self.heard.received {
            (self.heard, self.unanswered) = (traffic, None);
        } else if traffic.asking != self.heard.asking {
            self.unanswered.get_or_insert_with(Instant::now);
        }
    }
}
