//! Whether anything is heard from the peer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::transport::Link;

/// Between two looks.
const TICK: Duration = Duration::from_millis(250);
/// What was sent is acknowledged after a round trip and 25 ms. A peer that says nothing for so long is busy, or gone.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Hearing<'a> {
    link: &'a Link,
    sent: u64,
    received: u64,
    unanswered: Option<Instant>,
}

impl<'a> Hearing<'a> {
    pub(super) fn of(link: &'a Link) -> Self {
        let (sent, received) = link.traffic();
        Self { link, sent, received, unanswered: None }
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
        let (sent, received) = self.link.traffic();
        if received != self.received {
            (self.sent, self.received, self.unanswered) = (sent, received, None);
        } else if sent != self.sent {
            self.unanswered.get_or_insert_with(Instant::now);
        }
    }
}
