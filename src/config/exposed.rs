//! The upstreams that peers may call, and which peers may call them.

use std::path::{Path, PathBuf};

use iroh::EndpointId;

use super::Grant;
use crate::{
    admission::{AccessList, roster::RosterFile},
    protocol::{Api, ApiSet},
    upstream::{InvalidUpstream, PassthroughTarget, Security, Upstream, Upstreams},
};

/// The upstreams that peers may call, and which peers may call them. By default, no peer is admitted.
#[derive(Clone, Debug, Default)]
pub struct Exposed {
    pub(crate) upstreams: Upstreams,
    pub(crate) access: AccessList,
    pub(crate) roster: Option<RosterFile>,
    pub(crate) audit_log: Option<AuditLog>,
    pub(crate) superlink_ca: Option<PathBuf>,
    pub(crate) passthrough: Option<PassthroughTarget>,
    pub(super) looks_for_superlink: bool,
}

impl Exposed {
    /// Creates a configuration without upstreams and without admitted peers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the file with the CA (PEM) that upstreams with TLS are verified with. Call it before
    /// [`local_superlink`](Self::local_superlink), which then expects a SuperLink with TLS.
    #[must_use]
    pub fn superlink_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.superlink_ca = Some(path.into());
        self
    }

    /// Returns how to connect to upstreams without a scheme: over TLS if a CA is set.
    pub fn default_security(&self) -> Security {
        if self.superlink_ca.is_some() { Security::Tls } else { Security::Plain }
    }

    /// Exposes a SuperLink on this machine at its default ports (8000, 9092, 9093), whatever its version.
    #[must_use]
    pub fn local_superlink(mut self) -> Self {
        self.upstreams = Upstreams::local_superlink(self.default_security());
        self.looks_for_superlink = true;
        self
    }

    /// Exposes a SuperLink. Over HTTP it serves all its APIs, over gRPC its Fleet API.
    #[must_use]
    pub fn superlink(mut self, upstream: Upstream) -> Self {
        self.upstreams.add_superlink(&upstream);
        self
    }

    /// Adds an upstream of one API, in the wire that it speaks.
    #[must_use]
    pub fn upstream(mut self, api: Api, upstream: Upstream) -> Self {
        self.upstreams.add(api, upstream);
        self
    }

    /// Adds the upstreams of one API from text: a URL, or `host:port` for one upstream in each wire.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn add_upstreams(&mut self, api: Api, text: &str) -> Result<(), InvalidUpstream> {
        for upstream in Upstream::candidates(text, self.default_security())? {
            self.upstreams.add(api, upstream);
        }
        Ok(())
    }

    /// Adds a SuperLink from text: a URL, or `host:port` for one in each wire.
    ///
    /// # Errors
    /// If the text is neither.
    pub fn add_superlink(&mut self, text: &str) -> Result<(), InvalidUpstream> {
        for upstream in Upstream::candidates(text, self.default_security())? {
            self.upstreams.add_superlink(&upstream);
        }
        Ok(())
    }

    /// Admits the peer of a grant, with the grant's rights.
    #[must_use]
    pub fn grant(mut self, grant: Grant) -> Self {
        let Grant { peer, rights } = grant;
        self.access.allow(peer, rights.apis);
        if rights.passthrough {
            self.access.allow_passthrough(peer);
        }
        self
    }

    /// Admits `peer` to `apis`.
    #[must_use]
    pub fn allow(mut self, peer: EndpointId, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow(peer, apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Lets `peer` open pass-through connections to the target that [`passthrough`](Self::passthrough) sets. The peer can
    /// call every API that is served there, including Control and Runtime; the funnel neither checks nor logs its calls.
    #[must_use]
    pub fn allow_passthrough(mut self, peer: EndpointId) -> Self {
        self.access.allow_passthrough(peer);
        self
    }

    /// Sets the target of pass-through connections: a SuperLink with TLS, which peers use end to end.
    #[must_use]
    pub fn passthrough(mut self, target: PassthroughTarget) -> Self {
        self.passthrough = Some(target);
        self
    }

    /// Admits every peer to `apis`.
    #[must_use]
    pub fn allow_any(mut self, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow_any(apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Also admits the peers of a roster, accepts its invitations, and follows its changes while the funnel serves. The
    /// status of peers is written to a file beside it (`.seen.json`).
    #[must_use]
    pub fn roster(mut self, roster: RosterFile) -> Self {
        self.roster = Some(roster);
        self
    }

    /// Sets the audit log, which records what each peer was allowed or denied: JSON lines, without the content of calls.
    #[must_use]
    pub fn audit_log(mut self, audit_log: impl Into<AuditLog>) -> Self {
        self.audit_log = Some(audit_log.into());
        self
    }

    /// Returns the roster, if one is set.
    pub fn roster_file(&self) -> Option<&RosterFile> {
        self.roster.as_ref()
    }

    /// Whether the audit log is set, to a file or to `off`.
    pub fn has_audit_log(&self) -> bool {
        self.audit_log.is_some()
    }

    /// Whether it has upstreams.
    pub fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// Returns a mistake if an upstream with TLS has no CA, which never works, or if a CA is set and no upstream uses TLS:
    /// its traffic would be in plain text unexpectedly.
    pub(super) fn trust_mistake(&self) -> Option<String> {
        let over_tls = self.upstreams.rows().find(|(_, upstream)| upstream.security() == Security::Tls);
        match (over_tls, &self.superlink_ca) {
            (Some((_, upstream)), None) => Some(format!(
                "expose: {upstream} speaks TLS; name the CA that signed its certificate: --superlink-ca FILE, or \
                 superlink_ca in [expose]"
            )),
            (None, Some(_)) if !self.upstreams.is_empty() => Some(
                "expose: superlink_ca is set, but no upstream speaks TLS; use https:// or grpcs://, or HOST:PORT without a \
                 scheme"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The destination of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// No audit log.
    Off,
    /// This file, and one beside it for peers that are not admitted: `audit.strangers.jsonl` beside `audit.jsonl`. At 16 MiB each
    /// is renamed to `.old`, which replaces the previous one.
    File(PathBuf),
}

/// Converts a path; `off` means [`AuditLog::Off`].
impl<P: Into<PathBuf>> From<P> for AuditLog {
    fn from(path: P) -> Self {
        let path = path.into();
        if path == Path::new("off") { Self::Off } else { Self::File(path) }
    }
}
