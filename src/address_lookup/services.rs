//! Attaches lookup services and publications to an endpoint.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::ready, stream, stream::BoxStream};
use iroh::{
    Endpoint, EndpointId,
    address_lookup::{
        self, AddressLookup, EndpointData, EndpointInfo, Item, N0_DNS_ENDPOINT_ORIGIN_PROD, N0_DNS_PKARR_RELAY_PROD,
    },
    dns::{DnsError, DnsResolver, LookupError, NameserverConfig, StaggeredError},
};
use iroh_mdns_address_lookup::MdnsAddressLookup;
use tokio::time::{sleep, timeout};
use tracing::info;
use url::Url;

use super::{
    Lookup, LookupLog, PeerRelays, Publication,
    lookup_log::LookupResult,
    peer_relays::RefusedRelay,
    pkarr::{PkarrError, PkarrServer},
    publication::PublishTarget,
    publisher::Publisher,
};
use crate::protocol::BoxError;

/// The timeout of one lookup: less than a dial's 10 s, so that the dial can report the lookup's result. A peer on the local
/// network mostly answers within a second.
const TIMEOUT: Duration = Duration::from_secs(8);
/// When a DNS query is sent again, in milliseconds after the first. iroh gives up each after 3 s, so all of them after 5.
const DNS_STAGGER: &[u64] = &[250, 500, 1000, 2000];
/// The names of these lookups in iroh's metrics.
const DNS: &str = "dns";
const PKARR: &str = "pkarr";
const MDNS: &str = "mdns";

/// Adds lookups and publications to the endpoint. The log that it returns has the results of the lookups; of the relays in
/// them, only those that `relays` takes are dialled.
pub(crate) fn attach(
    endpoint: &Endpoint,
    lookups: &[Lookup],
    publications: &[Publication],
    relays: &PeerRelays,
) -> Result<LookupLog, BoxError> {
    let log = LookupLog::of(lookups.len());
    let services = endpoint.address_lookup()?;
    for lookup in lookups {
        for (label, source) in Source::of(lookup, endpoint)? {
            services.add(SourceLookup { label: label.into(), source, relays: relays.clone(), log: log.clone() });
        }
    }
    for publication in publications {
        if let Some(url) = publication.server() {
            services.add(Publisher::start(endpoint, publication, PkarrServer::new(url, endpoint)));
        }
    }
    let service = MdnsLookup::start(endpoint, lookups, publications, relays, &log)?;
    if let Some(service) = service {
        services.add(service);
    }
    Ok(log)
}

impl Publication {
    /// Returns the pkarr server to publish at, if the target is one.
    fn server(&self) -> Option<Url> {
        match self.target() {
            PublishTarget::N0 => Some(n0_server()),
            PublishTarget::Pkarr(url) => Some(url.clone()),
            PublishTarget::Mdns => None,
        }
    }
}

fn n0_server() -> Url {
    N0_DNS_PKARR_RELAY_PROD.parse().expect("the constant is a URL")
}

/// The nameservers that are asked over DNS.
#[derive(Clone, Debug)]
enum Nameservers {
    /// Those of the system, whose answers are cached for their time to live.
    System(DnsResolver),
    /// The one that the configuration names. Its answers are not cached, since a peer that is dialled again may have moved.
    Configured(DnsResolver),
}

/// A service that answers a lookup once.
#[derive(Clone, Debug)]
enum Source {
    Dns { nameservers: Nameservers, origin: String },
    Pkarr(Arc<PkarrServer>),
}

impl Source {
    /// Returns the sources of a lookup, with the labels that messages use.
    fn of(lookup: &Lookup, endpoint: &Endpoint) -> Result<Vec<(String, Self)>, BoxError> {
        let system = endpoint.dns_resolver()?.clone();
        Ok(match lookup {
            Lookup::N0 => vec![
                ("n0 (https)".to_owned(), Self::Pkarr(PkarrServer::new(n0_server(), endpoint).into())),
                (
                    "n0 (dns)".to_owned(),
                    Self::Dns {
                        nameservers: Nameservers::System(system),
                        origin: N0_DNS_ENDPOINT_ORIGIN_PROD.to_owned(),
                    },
                ),
            ],
            Lookup::Dns { origin, nameserver } => {
                let configured = |addr: &std::net::SocketAddr| {
                    let nameserver = NameserverConfig::udp(addr.ip()).with_port(addr.port());
                    Nameservers::Configured(
                        DnsResolver::builder().add_nameserver_config(nameserver).disable_fallback().build(),
                    )
                };
                let nameservers = nameserver.as_ref().map_or(Nameservers::System(system), configured);
                // With a dot at the end, no search domain is tried.
                vec![(lookup.to_string(), Self::Dns { nameservers, origin: format!("{origin}.") })]
            }
            Lookup::Pkarr(url) => {
                vec![(lookup.to_string(), Self::Pkarr(PkarrServer::new(url.clone(), endpoint).into()))]
            }
            Lookup::Mdns => Vec::new(),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Dns { .. } => DNS,
            Self::Pkarr(_) => PKARR,
        }
    }

    async fn look_up(&self, peer: EndpointId) -> Result<EndpointInfo, Unanswered> {
        let answer = async {
            match self {
                Self::Dns { nameservers, origin } => look_up_dns(nameservers.resolver(), origin, peer).await,
                Self::Pkarr(server) => Ok(server.record(peer).await?),
            }
        };
        let info = match timeout(TIMEOUT, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Unanswered::TimedOut),
        };
        if info.data.has_addrs() { Ok(info) } else { Err(Unanswered::NoAddress) }
    }
}

impl Nameservers {
    fn resolver(&self) -> &DnsResolver {
        match self {
            Self::System(resolver) => resolver,
            Self::Configured(resolver) => {
                resolver.clear_cache();
                resolver
            }
        }
    }
}

async fn look_up_dns(resolver: &DnsResolver, origin: &str, peer: EndpointId) -> Result<EndpointInfo, Unanswered> {
    Ok(resolver.lookup_endpoint_by_id_staggered(&peer, origin, DNS_STAGGER).await?)
}

/// Why a lookup has no address of a peer. Its text is complete, with that of its source.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("did not answer in time")]
    TimedOut,
    #[error("has a record without an address")]
    NoAddress,
    #[error("heard nothing of it in {} s", TIMEOUT.as_secs())]
    NotOnNetwork,
    #[error("gives other addresses each time; no more of them are tried for a minute")]
    OthersEachTime,
    #[error("says that {0}")]
    Relay(RefusedRelay),
    #[error(transparent)]
    Pkarr(#[from] PkarrError),
    #[error("{}", dns_problem(.0))]
    Dns(#[from] StaggeredError<LookupError>),
}

/// Describes the most informative of the errors of a query that was sent several times: any answer says more than none.
fn dns_problem(errors: &StaggeredError<LookupError>) -> String {
    let worth = |error: &&LookupError| match error {
        LookupError::LookupFailed { source: DnsError::Timeout { .. }, .. } => 0,
        LookupError::LookupFailed { source: DnsError::NxDomain { .. } | DnsError::NoResponse { .. }, .. } => 2,
        _ => 1,
    };
    match errors.iter().max_by_key(worth) {
        Some(LookupError::LookupFailed { source, .. }) => match source {
            DnsError::Timeout { .. } => "did not answer".to_owned(),
            DnsError::NxDomain { .. } | DnsError::NoResponse { .. } => "has no record".to_owned(),
            other => format!("cannot be asked: {other:#}"),
        },
        Some(LookupError::ParseError { source, .. }) => format!("answered with an invalid record: {source:#}"),
        Some(other) => format!("cannot be asked: {other:#}"),
        None => "did not answer".to_owned(),
    }
}

type Items = BoxStream<'static, Result<Item, address_lookup::Error>>;

/// The lookup that iroh uses to ask a source.
#[derive(Debug)]
struct SourceLookup {
    label: Arc<str>,
    source: Source,
    relays: PeerRelays,
    log: LookupLog,
}

impl AddressLookup for SourceLookup {
    fn resolve(&self, peer: EndpointId) -> Option<Items> {
        let (label, source) = (Arc::clone(&self.label), self.source.clone());
        let (relays, log) = (self.relays.clone(), self.log.clone());
        let look_up = async move {
            let answer = source.look_up(peer).await.and_then(|info| limited(&info, &relays, &log, &label));
            log.record(peer, &label, answer.as_ref().map_or_else(LookupResult::from, LookupResult::from));
            match answer {
                Ok(info) => Ok(Item::new(info, source.name(), None)),
                Err(error) => Err(address_lookup::Error::from_err_box(source.name(), error.into())),
            }
        };
        Some(stream::once(look_up).boxed())
    }
}

/// The lookup on the local network, which may answer more than once or not at all.
#[derive(Debug)]
struct MdnsLookup {
    service: MdnsAddressLookup,
    label: Arc<str>,
    relays: PeerRelays,
    /// `None` if this endpoint publishes and does not look up.
    log: Option<LookupLog>,
}

impl MdnsLookup {
    /// Starts the service, which both looks up and publishes, if either is configured.
    fn start(
        endpoint: &Endpoint,
        lookups: &[Lookup],
        publications: &[Publication],
        relays: &PeerRelays,
        log: &LookupLog,
    ) -> Result<Option<Self>, BoxError> {
        let looks_up = lookups.contains(&Lookup::Mdns);
        let publishes = publications.iter().any(|publication| *publication.target() == PublishTarget::Mdns);
        if !looks_up && !publishes {
            return Ok(None);
        }
        let service = MdnsAddressLookup::builder()
            .advertise(publishes)
            .build(endpoint.id())
            .map_err(|error| format!("mdns cannot be used on this network: {error:#}"))?;
        if publishes {
            info!(at = MDNS, "announcing this funnel's addresses on the local network");
        }
        let log = looks_up.then(|| log.clone());
        Ok(Some(Self { service, label: MDNS.into(), relays: relays.clone(), log }))
    }
}

impl AddressLookup for MdnsLookup {
    fn publish(&self, data: &EndpointData) {
        self.service.publish(data);
    }

    fn resolve(&self, peer: EndpointId) -> Option<Items> {
        let (label, relays, log) = (Arc::clone(&self.label), self.relays.clone(), self.log.clone()?);
        let answers = self.service.resolve(peer)?.take_until(sleep(TIMEOUT));
        let answers = answers.filter_map(|item| ready(item.ok())).map(|item| Some(item.endpoint_info().clone()));
        let recorded = answers.chain(stream::once(ready(None))).scan(false, move |is_answered, answer| {
            let item = match answer {
                Some(info) => {
                    *is_answered = true;
                    let answer = limited(&info, &relays, &log, &label);
                    log.record(peer, &label, answer.as_ref().map_or_else(LookupResult::from, LookupResult::from));
                    Some(answer.map(|info| Item::new(info, MDNS, None)).map_err(mdns_error))
                }
                None if *is_answered => None,
                None => {
                    log.record(peer, &label, LookupResult::from(&Unanswered::NotOnNetwork));
                    Some(Err(mdns_error(Unanswered::NotOnNetwork)))
                }
            };
            ready(item)
        });
        Some(recorded.boxed())
    }
}

fn mdns_error(error: Unanswered) -> address_lookup::Error {
    address_lookup::Error::from_err_box(MDNS, error.into())
}

/// Returns the answer with only those addresses that may be tried.
fn limited(
    info: &EndpointInfo,
    relays: &PeerRelays,
    log: &LookupLog,
    label: &Arc<str>,
) -> Result<EndpointInfo, Unanswered> {
    let mut refused = None;
    let allowed = info.addrs().filter(|addr| relays.check_one(addr).map_err(|error| refused = Some(error)).is_ok());
    let addrs = log.limit_addrs(info.endpoint_id, label, allowed.cloned());
    match (addrs.is_empty(), refused) {
        (false, _) => Ok(EndpointInfo::from_parts(info.endpoint_id, addrs.into_iter().collect())),
        (true, Some(refused)) => Err(Unanswered::Relay(refused)),
        (true, None) => Err(Unanswered::OthersEachTime),
    }
}

impl From<&EndpointInfo> for LookupResult {
    fn from(info: &EndpointInfo) -> Self {
        Self::Found(info.addrs().cloned().collect())
    }
}

impl From<&Unanswered> for LookupResult {
    fn from(error: &Unanswered) -> Self {
        Self::NotFound(error.to_string())
    }
}
