//! Keeps what this endpoint publishes at a pkarr server up to date.

use std::time::Duration;

use iroh::{
    Endpoint, EndpointId, SecretKey,
    address_lookup::{AddrFilter, AddressLookup, DEFAULT_REPUBLISH_INTERVAL, EndpointData, EndpointInfo},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::{
    Publication,
    pkarr::{PkarrError, PkarrServer},
};
use crate::transport::Backoff;

/// Before the second attempt, doubling with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Between attempts in the end: a server that comes back is used within a minute.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A random half keeps the funnels of a server that was down from coming back in step.
const BACKOFF: Backoff = Backoff::new(RETRY_FIRST, RETRY_MAX, 0.5..1.0);

/// Publishes in a task of its own, which ends with it.
#[derive(Debug)]
pub(super) struct Publisher {
    id: EndpointId,
    filter: AddrFilter,
    latest: watch::Sender<Option<EndpointInfo>>,
    _task: AbortOnDropHandle<()>,
}

impl Publisher {
    pub(super) fn start(endpoint: &Endpoint, publication: &Publication, server: PkarrServer) -> Self {
        let latest = watch::Sender::new(None);
        let publishing = Publishing {
            publication: publication.clone(),
            server,
            key: endpoint.secret_key().clone(),
            latest: latest.subscribe(),
            standing: Standing::Unknown,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publishing.run()));
        Self { id: endpoint.id(), filter: publication.filter(), latest, _task: task }
    }
}

impl AddressLookup for Publisher {
    fn publish(&self, data: &EndpointData) {
        let info = EndpointInfo::from_parts(self.id, data.apply_filter(&self.filter).into_owned());
        self.latest.send_if_modified(|latest| {
            // There is nothing to take back yet.
            let is_news = latest.as_ref() != Some(&info) && (latest.is_some() || info.data.has_addrs());
            if is_news {
                *latest = Some(info);
            }
            is_news
        });
    }
}

/// How what was published last stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    Published,
    /// At least one attempt.
    Failing {
        attempts: u32,
    },
}

struct Publishing {
    publication: Publication,
    server: PkarrServer,
    key: SecretKey,
    latest: watch::Receiver<Option<EndpointInfo>>,
    standing: Standing,
}

impl Publishing {
    async fn run(mut self) {
        loop {
            let latest = self.latest.borrow_and_update().clone();
            if let Some(info) = latest {
                let published = self.server.publish(&info, &self.key).await;
                self.tell(&info, published);
            }
            // A change ends the wait, as does its end; the publisher's own end is noticed then.
            if let Ok(Err(_)) = timeout(self.pause(), self.latest.changed()).await {
                return;
            }
        }
    }

    /// Logs what is news: the first failure, and its end.
    fn tell(&mut self, info: &EndpointInfo, published: Result<(), PkarrError>) {
        let before = self.standing;
        self.standing = match published {
            Ok(()) => {
                if before != Standing::Published {
                    let addrs = info.addrs().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                    info!(at = %self.publication.target(), what = addrs, "published where this funnel is");
                }
                Standing::Published
            }
            Err(error) => match before {
                Standing::Failing { attempts } => {
                    debug!(at = %self.publication.target(), %error, "not published");
                    Standing::Failing { attempts: attempts.saturating_add(1) }
                }
                Standing::Unknown | Standing::Published => {
                    warn!(
                        at = %self.publication.target(),
                        reason = %error,
                        "cannot publish where this funnel is: peers find it by its ticket or elsewhere; it is tried again"
                    );
                    Standing::Failing { attempts: 1 }
                }
            },
        };
    }

    fn pause(&self) -> Duration {
        match self.standing {
            Standing::Unknown | Standing::Published => DEFAULT_REPUBLISH_INTERVAL,
            Standing::Failing { attempts } => BACKOFF.wait(attempts - 1),
        }
    }
}
