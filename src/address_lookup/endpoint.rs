//! The iroh endpoint, with its relays, lookups and publications.

use iroh::{
    Endpoint, RelayMode,
    dns::DnsResolver,
    endpoint::{PortmapperConfig, presets},
};

use super::{Findings, Lookup, services};
use crate::{admission::Admission, config::FunnelConfig, enrolment, error::Error, transport};

/// Binds the endpoint, and lets it look up and publish what the configuration says and nothing else.
pub(crate) async fn bind_endpoint(config: &FunnelConfig, admission: Admission) -> Result<(Endpoint, Findings), Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::endpoint(config.bind_addr, error);
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(config.relay_mode.clone())
        .ca_tls_config(config.relay_authorities.tls_config())
        .transport_config(transport::sessions_only(config.congestion_control))
        .hooks(admission);
    if config.relay_mode == RelayMode::Disabled {
        // Nothing outside is asked, the home router's port mapping included.
        builder = builder.portmapper_config(PortmapperConfig::Disabled);
    }
    if !asks_n0(config) {
        // iroh asks public DNS servers where the system's fail: they would learn the names of a network of one's own.
        builder = builder.dns_resolver(DnsResolver::builder().with_system_defaults().disable_fallback().build());
    }
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
    let endpoint = builder.bind().await.map_err(|error| failed(error.into()))?;
    match services::attach(&endpoint, &config.lookups, &config.publications) {
        Ok(findings) => Ok((endpoint, findings)),
        Err(error) => {
            endpoint.close().await;
            Err(Error::lookup(error))
        }
    }
}

fn asks_n0(config: &FunnelConfig) -> bool {
    matches!(config.relay_mode, RelayMode::Default | RelayMode::Staging) || config.lookups.contains(&Lookup::N0)
}
