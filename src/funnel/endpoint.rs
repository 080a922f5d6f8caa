//! The iroh endpoint, with its relays, lookups and publications.

use std::time::Duration;

use iroh::{
    Endpoint, RelayMode,
    dns::DnsResolver,
    endpoint::{Builder, PortmapperConfig, presets},
};
use tokio::time::timeout;

use super::{loaded::Loaded, ports::Addresses};
use crate::{
    address_lookup::{self, Lookup, LookupLog},
    admission::{Admission, enrolment},
    config::FunnelConfig,
    error::Error,
    protocol::BoxError,
    transport,
};

/// The wait until peers have been notified of the close. QUIC allows three probe timeouts for that, which can be minutes
/// after an outage: the measured round trip then includes the outage.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Binds the endpoint. It looks up and publishes only as configured.
pub(super) async fn bind_endpoint(
    config: &FunnelConfig,
    loaded: &Loaded,
    admission: Admission,
) -> Result<(Endpoint, LookupLog), Error> {
    let bind = async |addresses: &Addresses| {
        let builder = addresses.bind(builder(config, loaded, admission.clone()))?;
        let endpoint = builder.bind().await?;
        addresses.remember(&endpoint);
        Ok::<_, BoxError>(endpoint)
    };
    let addresses = Addresses::choose(config);
    let bound = match (bind(&addresses).await, addresses.with_any_port()) {
        (Err(_), Some(addresses)) => bind(&addresses).await,
        (bound, _) => bound,
    };
    let endpoint = bound.map_err(|error| Error::endpoint(config.bind_addr, error))?;
    match address_lookup::attach(&endpoint, &config.lookups, &config.publications, &config.peer_relays()) {
        Ok(lookup_log) => Ok((endpoint, lookup_log)),
        Err(error) => {
            close_endpoint(&endpoint).await;
            Err(Error::lookup(error))
        }
    }
}

fn builder(config: &FunnelConfig, loaded: &Loaded, admission: Admission) -> Builder {
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(config.relay_mode.clone())
        .ca_tls_config(loaded.relay_authorities.tls_config())
        .transport_config(transport::untrusted_peer_config(config.congestion_control))
        .hooks(admission);
    if config.relay_mode == RelayMode::Disabled {
        // Contacts nothing else, including the router's port mapping.
        builder = builder.portmapper_config(PortmapperConfig::Disabled);
    }
    if !asks_n0(config) {
        // iroh falls back to public DNS servers if the system's fail: they would see the names of a private network.
        builder = builder.dns_resolver(DnsResolver::builder().with_system_defaults().disable_fallback().build());
    }
    if config.exposed.is_some() {
        builder = builder.alpns(vec![config.alpn.clone(), enrolment::alpn_of(&config.alpn)]);
    }
    if let Some(key) = &loaded.secret_key {
        builder = builder.secret_key(key.clone());
    }
    // A specific address replaces the default sockets, one per address family on every interface.
    if !config.bind_addr.ip().is_unspecified() {
        builder = builder.clear_ip_transports();
    }
    builder
}

/// Closes the endpoint and all its links. After [`CLOSE_TIMEOUT`], closing continues in the background.
pub(super) async fn close_endpoint(endpoint: &Endpoint) {
    let endpoint = endpoint.clone();
    let closing = tokio::spawn(async move { endpoint.close().await });
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}

fn asks_n0(config: &FunnelConfig) -> bool {
    matches!(config.relay_mode, RelayMode::Default | RelayMode::Staging) || config.lookups.contains(&Lookup::N0)
}

#[cfg(test)]
mod tests {
    use iroh::{EndpointAddr, SecretKey, endpoint::QuicTransportConfig};
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_peer_with_a_long_round_trip_does_not_delay_the_close() {
        let hour = Duration::from_secs(3600);
        let slow = QuicTransportConfig::builder().initial_rtt(hour).max_idle_timeout(None).build();
        let endpoint = Endpoint::builder(presets::Minimal).transport_config(slow).bind().await.unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = EndpointAddr::new(SecretKey::generate().public()).with_ip_addr(silent.local_addr().unwrap());
        let dialling = tokio::spawn({
            let endpoint = endpoint.clone();
            async move { endpoint.connect(addr, b"test").await }
        });
        silent.recv(&mut [0; 2048]).await.unwrap();
        timeout(Duration::from_secs(60), close_endpoint(&endpoint)).await.expect("it waits for the peer");
        dialling.await.unwrap().unwrap_err();
    }
}
