//! The two funnels of the quickstart, both in this process: one beside the SuperLink, one beside everything else.

use std::error::Error;
use std::net::SocketAddr;

use flower_iroh_funnel::{Api, Exposed, Funnel, FunnelConfig, PeerConfig, PeerConn, RelayMode, SecretKey};
use tokio::task::JoinSet;

/// A pair of funnels that know each other.
pub(crate) struct Funnels {
    inbound: Funnel,
    outbound: Funnel,
    peer: PeerConn,
    serving: JoinSet<()>,
}

impl Funnels {
    /// Exposes the SuperLink at `superlink` (a URL) and joins it, over loopback and without a relay.
    pub(crate) async fn start(superlink: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let outbound_key = SecretKey::generate();
        let exposed =
            Exposed::new().superlink(superlink.parse()?).allow(outbound_key.public(), [Api::Fleet, Api::Control]);
        let inbound = FunnelConfig::builder()
            .relay_mode(RelayMode::Disabled)
            .bind_addr("127.0.0.1:0".parse()?)
            .expose(exposed)
            .build()?;
        let inbound = Funnel::new(inbound).await?;
        let outbound = FunnelConfig::builder()
            .secret_key(outbound_key)
            .relay_mode(RelayMode::Disabled)
            .bind_addr("127.0.0.1:0".parse()?)
            .flower_grpc_addr("127.0.0.1:0".parse()?)
            .peer(PeerConfig::new(inbound.endpoint_addr().await))
            .build()?;
        let outbound = Funnel::new(outbound).await?;
        let mut serving = JoinSet::new();
        for funnel in [inbound.clone(), outbound.clone()] {
            serving.spawn(serve(funnel));
        }
        let peer = outbound.connect_to_peer(inbound.endpoint_id()).await?;
        Ok(Self { inbound, outbound, peer, serving })
    }

    /// What SuperNodes and the `flwr` command dial instead of the SuperLink.
    pub(crate) fn dial(&self) -> SocketAddr {
        self.outbound.local_addrs()[0]
    }

    /// How the funnels reach each other at this moment.
    pub(crate) fn path(&self) -> String {
        self.peer.path().map_or("not connected".into(), |path| path.to_string())
    }

    /// Stops both funnels and waits until they have.
    pub(crate) async fn stop(mut self) {
        self.outbound.shutdown();
        self.inbound.shutdown();
        while self.serving.join_next().await.is_some() {}
    }
}

async fn serve(funnel: Funnel) {
    if let Err(error) = funnel.serve().await {
        eprintln!("a funnel has stopped: {error}");
    }
}
