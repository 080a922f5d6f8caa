//! Keeps this endpoint's record at a pkarr server up to date.

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
use crate::{report::OnChange, transport::Backoff};

/// The pause before the second attempt, doubling with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between attempts: a server that comes back is used within a minute.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A random half keeps the funnels of a server that was down from coming back in step.
const BACKOFF: Backoff = Backoff::new(RETRY_FIRST, RETRY_MAX, 0.5..1.0);

/// Publishes in a task, which ends when this is dropped.
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
            failures: 0,
            reported: OnChange::default(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(publishing.run()));
        Self { id: endpoint.id(), filter: publication.filter(), latest, _task: task }
    }
}

impl AddressLookup for Publisher {
    fn publish(&self, data: &EndpointData) {
        let info = EndpointInfo::from_parts(self.id, data.apply_filter(&self.filter).into_owned());
        self.latest.send_if_modified(|latest| {
            // An empty record is published only to replace an earlier one.
            let differs = latest.as_ref() != Some(&info) && (latest.is_some() || info.data.has_addrs());
            if differs {
                *latest = Some(info);
            }
            differs
        });
    }
}

struct Publishing {
    publication: Publication,
    server: PkarrServer,
    key: SecretKey,
    latest: watch::Receiver<Option<EndpointInfo>>,
    /// Attempts that have failed since the last that succeeded.
    failures: u32,
    /// Whether the last attempt succeeded.
    reported: OnChange<bool>,
}

impl Publishing {
    async fn run(mut self) {
        loop {
            let latest = self.latest.borrow_and_update().clone();
            if let Some(info) = latest {
                let published = self.server.publish(&info, &self.key).await;
                self.record(&info, published);
            }
            // A new record ends the pause. An error means that the publisher was dropped.
            if let Ok(Err(_)) = timeout(self.pause(), self.latest.changed()).await {
                return;
            }
        }
    }

    /// Counts failures, and logs the first failure, and the first success after it.
    fn record(&mut self, info: &EndpointInfo, published: Result<(), PkarrError>) {
        let at = self.publication.target();
        self.failures = if published.is_ok() { 0 } else { self.failures.saturating_add(1) };
        if let (Err(error), 2..) = (&published, self.failures) {
            debug!(%at, %error, "not published");
        }
        self.reported.run(published.is_ok(), |_| match &published {
            Ok(()) => {
                let addrs = info.addrs().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                info!(%at, what = addrs, "published where this funnel is");
            }
            Err(error) => warn!(
                %at,
                reason = %error,
                "cannot publish where this funnel is: peers find it by its ticket or elsewhere; it is tried again"
            ),
        });
    }

    fn pause(&self) -> Duration {
        match self.failures {
            0 => DEFAULT_REPUBLISH_INTERVAL,
            failures => BACKOFF.wait(failures - 1),
        }
    }
}
