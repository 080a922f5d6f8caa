//! The iroh endpoint, with the lookup services that fit its relays.

use iroh::{
    Endpoint, RelayMode,
    endpoint::{Builder, PortmapperConfig, presets},
};

use crate::{admission::Admission, config::FunnelConfig, enrolment, error::Error, transport};

/// Binds the endpoint.
///
/// n0's relays come with n0's DNS, for publishing and for lookups. Whoever runs without relays or with his own tells
/// nobody else about this endpoint: peers then need a ticket.
pub(crate) async fn bind_endpoint(config: &FunnelConfig, admission: Admission) -> Result<Endpoint, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::endpoint(config.bind_addr, error);
    let mut builder = preset(&config.relay_mode)
        .relay_mode(config.relay_mode.clone())
        .ca_tls_config(config.relay_authorities.tls_config())
        .transport_config(transport::sessions_only(config.congestion_control))
        .hooks(admission);
    if config.exposed.is_some() {
        builder = builder.alpns(vec![config.alpn.clone(), enrolment::alpn_of(&config.alpn)]);
    }
    if let Some(key) = &config.secret_key {
        builder = builder.secret_key(key.clone());
    }
    // The builder's own sockets, one for each address family on every interface, give way to a narrower choice.
    if !config.bind_addr.ip().is_unspecified() {
        builder = builder.clear_ip_transports();
    }
    builder = builder.bind_addr(config.bind_addr).map_err(|error| failed(error.into()))?;
    builder.bind().await.map_err(|error| failed(error.into()))
}

fn preset(relay_mode: &RelayMode) -> Builder {
    match relay_mode {
        RelayMode::Default | RelayMode::Staging => Endpoint::builder(presets::N0),
        // Nothing outside is asked, the home router's port mapping included.
        RelayMode::Disabled => Endpoint::builder(presets::Minimal).portmapper_config(PortmapperConfig::Disabled),
        RelayMode::Custom(_) => Endpoint::builder(presets::Minimal),
    }
}
