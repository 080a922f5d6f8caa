//! The lookups and publications of an endpoint, at work.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::ready, stream, stream::BoxStream};
use iroh::{
    Endpoint, EndpointId,
    address_lookup::{
        self, AddressLookup, AddressLookupServices, EndpointData, EndpointInfo, Item, N0_DNS_ENDPOINT_ORIGIN_PROD,
        N0_DNS_PKARR_RELAY_PROD,
    },
    dns::{DnsError, DnsResolver, LookupError, NameserverConfig},
};
use iroh_mdns_address_lookup::MdnsAddressLookup;
use tokio::time::{sleep, timeout};
use tracing::info;
use url::Url;

use super::{
    Lookup, LookupLog, Publication, lookup_log::LookupResult, pkarr::PkarrServer, publication::PublishTarget,
    publisher::Publisher,
};
use crate::protocol::BoxError;

/// For one lookup: less than a dial's 10 s, so that the dial ends with the lookup's reason. Who is on the local network is
/// mostly heard within a second.
const TIMEOUT: Duration = Duration::from_secs(8);
/// When a DNS question is asked again, in milliseconds: each is given up after 3 s, and so all of them after 5.
const DNS_AGAIN: &[u64] = &[250, 500, 1000, 2000];
/// What iroh calls these lookups in its metrics.
const DNS: &str = "dns";
const PKARR: &str = "pkarr";
const MDNS: &str = "mdns";

/// Lets the endpoint ask and publish. What the lookups say is noted in what is returned.
pub(crate) fn attach(
    endpoint: &Endpoint,
    lookups: &[Lookup],
    publications: &[Publication],
) -> Result<LookupLog, BoxError> {
    let findings = LookupLog::of(lookups.len());
    let services = endpoint.address_lookup()?;
    for lookup in lookups {
        for (label, source) in Source::of(lookup, endpoint)? {
            services.add(Asked { label: label.into(), source, findings: findings.clone() });
        }
    }
    for publication in publications {
        if let Some(url) = publication.server() {
            services.add(Publisher::start(endpoint, publication, PkarrServer::new(url, endpoint)));
        }
    }
    attach_mdns(endpoint, services, lookups, publications, &findings)?;
    Ok(findings)
}

/// One service both asks and announces.
fn attach_mdns(
    endpoint: &Endpoint,
    services: &AddressLookupServices,
    lookups: &[Lookup],
    publications: &[Publication],
    findings: &LookupLog,
) -> Result<(), BoxError> {
    let asks = lookups.contains(&Lookup::Mdns);
    let announces = publications.iter().any(|publication| *publication.target() == PublishTarget::Mdns);
    if !asks && !announces {
        return Ok(());
    }
    let service = MdnsAddressLookup::builder()
        .advertise(announces)
        .build(endpoint.id())
        .map_err(|error| format!("mdns cannot be used on this network: {error:#}"))?;
    if announces {
        info!(at = MDNS, "announcing this funnel's addresses on the local network");
    }
    let findings = asks.then(|| findings.clone());
    services.add(Heard { service, label: MDNS.into(), findings });
    Ok(())
}

impl Publication {
    /// The pkarr server, if it is published at one.
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

/// Who is asked over DNS.
#[derive(Clone, Debug)]
enum Nameservers {
    /// Those of the system, whose answers are kept for as long as they say.
    System(DnsResolver),
    /// One that was named: it is asked anew each time, since a peer that is dialled again may have moved.
    Own(DnsResolver),
}

/// Somebody who answers a question once.
#[derive(Clone, Debug)]
enum Source {
    Dns { nameservers: Nameservers, origin: String },
    Pkarr(Arc<PkarrServer>),
}

impl Source {
    /// Who is asked, by the names under which they are told of.
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
                let own = |addr: &std::net::SocketAddr| {
                    let nameserver = NameserverConfig::udp(addr.ip()).with_port(addr.port());
                    Nameservers::Own(
                        DnsResolver::builder().add_nameserver_config(nameserver).disable_fallback().build(),
                    )
                };
                let nameservers = nameserver.as_ref().map_or(Nameservers::System(system), own);
                // With the dot at the end no search domain is tried.
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

    async fn ask(&self, peer: EndpointId) -> Result<EndpointInfo, String> {
        let answer = async {
            match self {
                Self::Dns { nameservers, origin } => ask_dns(nameservers.resolver(), origin, peer).await,
                Self::Pkarr(server) => server.record(peer).await.map_err(|error| error.to_string()),
            }
        };
        let info = match timeout(TIMEOUT, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err("did not answer in time".to_owned()),
        };
        if info.data.has_addrs() { Ok(info) } else { Err("has a record without an address".to_owned()) }
    }
}

impl Nameservers {
    fn resolver(&self) -> &DnsResolver {
        match self {
            Self::System(resolver) => resolver,
            Self::Own(resolver) => {
                resolver.clear_cache();
                resolver
            }
        }
    }
}

async fn ask_dns(resolver: &DnsResolver, origin: &str, peer: EndpointId) -> Result<EndpointInfo, String> {
    let answer = resolver.lookup_endpoint_by_id_staggered(&peer, origin, DNS_AGAIN).await;
    answer.map_err(|errors| {
        // An answer says more than the want of one.
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
            Some(LookupError::ParseError { source, .. }) => format!("answered what is no record: {source:#}"),
            Some(other) => format!("cannot be asked: {other:#}"),
            None => "did not answer".to_owned(),
        }
    })
}

type Items = BoxStream<'static, Result<Item, address_lookup::Error>>;

/// A source as iroh asks it.
#[derive(Debug)]
struct Asked {
    label: Arc<str>,
    source: Source,
    findings: LookupLog,
}

impl AddressLookup for Asked {
    fn resolve(&self, peer: EndpointId) -> Option<Items> {
        let (label, source, findings) = (Arc::clone(&self.label), self.source.clone(), self.findings.clone());
        let ask = async move {
            let answer = source.ask(peer).await.map(|info| bounded(&info, &findings, &label));
            findings.note(peer, &label, finding(&answer));
            match answer {
                Ok(info) => Ok(Item::new(info, source.name(), None)),
                Err(reason) => Err(address_lookup::Error::from_err_box(source.name(), reason.into())),
            }
        };
        Some(stream::once(ask).boxed())
    }
}

/// The local network, which may answer more than once or not at all.
#[derive(Debug)]
struct Heard {
    service: MdnsAddressLookup,
    label: Arc<str>,
    /// `None` where nobody is asked, but told.
    findings: Option<LookupLog>,
}

impl AddressLookup for Heard {
    fn publish(&self, data: &EndpointData) {
        self.service.publish(data);
    }

    fn resolve(&self, peer: EndpointId) -> Option<Items> {
        let (label, findings) = (Arc::clone(&self.label), self.findings.clone()?);
        let heard = self.service.resolve(peer)?.take_until(sleep(TIMEOUT));
        let heard = heard.filter_map(|item| ready(item.ok())).map(|item| Some(item.endpoint_info().clone()));
        let noted = heard.chain(stream::once(ready(None))).scan(false, move |has_heard, heard| {
            let item = match heard {
                Some(info) => {
                    *has_heard = true;
                    let info = bounded(&info, &findings, &label);
                    findings.note(peer, &label, finding(&Ok(info.clone())));
                    Some(Ok(Item::new(info, MDNS, None)))
                }
                None if *has_heard => None,
                None => {
                    let reason = format!("heard nothing of it in {} s", TIMEOUT.as_secs());
                    findings.note(peer, &label, LookupResult::Nothing(reason.clone()));
                    Some(Err(address_lookup::Error::from_err_box(MDNS, reason.into())))
                }
            };
            ready(item)
        });
        Some(noted.boxed())
    }
}

fn bounded(info: &EndpointInfo, findings: &LookupLog, label: &Arc<str>) -> EndpointInfo {
    let addrs = findings.bounded(info.endpoint_id, label, info.addrs().cloned());
    EndpointInfo::from_parts(info.endpoint_id, addrs.into_iter().collect())
}

fn finding(answer: &Result<EndpointInfo, String>) -> LookupResult {
    match answer {
        Ok(info) if info.addrs().next().is_none() => {
            LookupResult::Nothing("says something else each time, and no more of it is tried for a minute".to_owned())
        }
        Ok(info) => LookupResult::At(info.addrs().cloned().collect()),
        Err(reason) => LookupResult::Nothing(reason.clone()),
    }
}
