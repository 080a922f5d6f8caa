//! Whether anything is heard from the peer.

use std::time::Duration;

use tokio::time::sleep;

use crate::transport::{Link, SilenceTimer};

/// Between two looks.
const TICK: Duration = Duration::from_millis(250);
/// What was sent is acknowledged after a round trip and 25 ms. A peer that says nothing for so long is busy, or gone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Three round trips of the slowest link there is, however long one is thought to take.
const MAX_PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Hearing {
    link: Link,
    silence: SilenceTimer,
}

/// The peer has owed an acknowledgement for so long that the link is of no use.
#[derive(Debug)]
pub(super) struct Lost;

impl Hearing {
    pub(super) fn of(link: Link) -> Self {
        Self { silence: SilenceTimer::new(link.stats(), TICK), link }
    }

    /// Waits until the peer has owed an acknowledgement for too long.
    pub(super) async fn silence(&mut self) {
        loop {
            self.look().await;
            let round_trip = self.link.path().map_or(Duration::ZERO, |path| path.rtt);
            if self.silence.elapsed() > (3 * round_trip).clamp(PATIENCE, MAX_PATIENCE) {
                return;
            }
        }
    }

    /// Waits until anything is heard, or until it is too late.
    pub(super) async fn sound(&mut self) -> Result<(), Lost> {
        while self.silence.elapsed() > Duration::ZERO {
            if self.silence.is_expired() {
                return Err(Lost);
            }
            self.look().await;
        }
        Ok(())
    }

    async fn look(&mut self) {
        sleep(TICK).await;
        self.silence.sample(self.link.stats());
    }
}

#[cfg(test)]
mod tests {
    use iroh::{
        Endpoint, EndpointAddr,
        endpoint::{QuicTransportConfig, presets},
    };
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::transport::IrohConnector;

    const ALPN: &[u8] = b"test";

    async fn endpoint() -> Endpoint {
        let hour = Duration::from_secs(3600);
        let patient = QuicTransportConfig::builder().max_idle_timeout(None).default_path_max_idle_timeout(hour).build();
        let builder = Endpoint::builder(presets::Minimal).transport_config(patient).alpns(vec![ALPN.to_vec()]);
        builder.clear_ip_transports().bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
    }

    /// A peer that accepts one link and then stands still, as a process does that is stopped.
    fn stopping_peer() -> EndpointAddr {
        let (sender, addr) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let endpoint = endpoint().await;
                sender.send(endpoint.addr()).unwrap();
                let link = endpoint.accept().await.unwrap().await.unwrap();
                let _stream = link.accept_bi().await.unwrap();
                loop {
                    std::thread::park();
                }
            });
        });
        addr.recv().unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_stays_silent_is_lost_however_long_quic_would_wait() {
        let addr = stopping_peer();
        let connector = IrohConnector::new(endpoint().await, ALPN);
        connector.add_peer(addr.clone());
        let link = connector.dial(addr.id, Duration::from_secs(60)).await.unwrap();
        let mut hearing = Hearing::of(link.clone());
        let mut stream = link.open().await.unwrap();
        let (silence, writing) = (hearing.silence(), async {
            while stream.write_all(b"is anybody there?").await.is_ok() && stream.flush().await.is_ok() {
                sleep(TICK).await;
            }
        });
        tokio::select! {
            () = silence => {}
            () = writing => panic!("the link has ended"),
        }
        hearing.sound().await.unwrap_err();
        assert!(link.close_reason().is_none());
        let lost = link.give_up().to_string();
        assert!(lost.ends_with("the peer fell silent"), "{lost}");
        assert_eq!(link.closed().await.to_string(), lost);
    }
}
