//! Detects that the peer no longer answers.

use std::time::Duration;

use tokio::time::sleep;

use crate::transport::{Link, SilenceTimer};

/// The interval between two samples.
const TICK: Duration = Duration::from_millis(250);
/// The shortest silence that is suspicious. A packet is acknowledged after a round trip and 25 ms: a peer that is silent for
/// longer is busy or dead.
const MIN_SILENCE: Duration = Duration::from_secs(1);
/// The longest silence that is not suspicious: three round trips of the slowest realistic link, whatever was measured.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// Watches the acknowledgements on a link.
pub(super) struct Liveness {
    link: Link,
    silence: SilenceTimer,
}

/// An acknowledgement has been missing for so long that the link is unusable.
#[derive(Debug)]
pub(super) struct Dead;

impl Liveness {
    pub(super) fn of(link: Link) -> Self {
        Self { silence: SilenceTimer::new(link.stats(), TICK), link }
    }

    /// Waits until an acknowledgement has been missing for suspiciously long.
    pub(super) async fn suspected(&mut self) {
        loop {
            self.sample().await;
            let round_trip = self.link.path().map_or(Duration::ZERO, |path| path.rtt);
            if self.silence.elapsed() > (3 * round_trip).clamp(MIN_SILENCE, MAX_SILENCE) {
                return;
            }
        }
    }

    /// Waits until the peer acknowledges anything.
    ///
    /// # Errors
    /// [`Dead`] if an acknowledgement has been missing for so long that the link is unusable.
    pub(super) async fn recovered(&mut self) -> Result<(), Dead> {
        while self.silence.elapsed() > Duration::ZERO {
            if self.silence.is_expired() {
                return Err(Dead);
            }
            self.sample().await;
        }
        Ok(())
    }

    async fn sample(&mut self) {
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
        let config = QuicTransportConfig::builder().max_idle_timeout(None).default_path_max_idle_timeout(hour).build();
        let builder = Endpoint::builder(presets::Minimal).transport_config(config).alpns(vec![ALPN.to_vec()]);
        builder.clear_ip_transports().bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
    }

    /// A peer that accepts one link and then does nothing, like a suspended process.
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
    async fn a_peer_that_stays_silent_is_given_up_however_long_quic_would_wait() {
        let addr = stopping_peer();
        let connector = IrohConnector::new(endpoint().await, ALPN);
        connector.add_peer(addr.clone());
        let link = connector.dial(addr.id, Duration::from_secs(60)).await.unwrap();
        let mut liveness = Liveness::of(link.clone());
        let mut stream = link.open().await.unwrap();
        let (suspected, writing) = (liveness.suspected(), async {
            while stream.write_all(b"is anybody there?").await.is_ok() && stream.flush().await.is_ok() {
                sleep(TICK).await;
            }
        });
        tokio::select! {
            () = suspected => {}
            () = writing => panic!("the link has ended"),
        }
        liveness.recovered().await.unwrap_err();
        assert!(link.close_reason().is_none());
        let lost = link.give_up().to_string();
        assert!(lost.ends_with("the peer fell silent"), "{lost}");
        assert_eq!(link.closed().await.to_string(), lost);
    }
}
