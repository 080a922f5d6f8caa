//! The relay of a peer that a program dials.

use flower_iroh_funnel::{EndpointAddr, Funnel, FunnelConfig, FunnelConfigBuilder, PeerConfig, RelayMode, SecretKey};
use tokio::net::TcpListener;

use super::support::guarded;

fn builder() -> FunnelConfigBuilder {
    FunnelConfig::builder()
        .relay_mode(RelayMode::custom(["https://127.0.0.1:1".parse().unwrap()]))
        .bind_addr("127.0.0.1:0".parse().unwrap())
        .flower_grpc_addr("127.0.0.1:0".parse().unwrap())
}

#[tokio::test]
async fn a_peers_relay_without_tls_is_refused_at_run_time_too() {
    guarded(async {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = format!("http://{}", service.local_addr().unwrap());
        let peer = EndpointAddr::from(SecretKey::generate().public()).with_relay_url(relay.parse().unwrap());
        let error = builder().peer(PeerConfig::new(peer.clone())).build().unwrap_err().to_string();
        assert!(error.contains(&relay) && error.contains("allow_http_relay"), "{error}");

        let funnel = Funnel::new(builder().build().unwrap()).await.unwrap();
        let error = funnel.connect_to_peer(peer.clone()).await.unwrap_err();
        assert!(error.is_mistake() && error.to_string().contains(&relay), "{error}");
        funnel.close().await;

        let funnel = Funnel::new(builder().allow_http_relay().build().unwrap()).await.unwrap();
        let (dialled, connected) = tokio::join!(service.accept(), funnel.connect_to_peer(peer));
        dialled.unwrap();
        assert!(connected.unwrap_err().peer_down().is_some());
        funnel.close().await;
    })
    .await;
}
