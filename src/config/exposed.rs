//! What is offered to peers, and to whom.

use std::path::{Path, PathBuf};

use iroh::EndpointId;

use super::Grant;
use crate::{
    admission::{AccessList, roster::RosterFile},
    protocol::{Api, ApiSet},
    upstream::{InvalidUpstream, PassthroughTarget, Security, Upstream, Upstreams},
};

/// What is offered to peers: upstreams, and who may call them. Nobody may until told so.
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
    /// Nothing, to nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the file with the CA (PEM) by which upstreams with TLS are known; to be said before
    /// [`local_superlink`](Self::local_superlink), which then is one with TLS.
    #[must_use]
    pub fn superlink_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.superlink_ca = Some(path.into());
        self
    }

    /// How an upstream is spoken to that is named without a scheme: over TLS if there is a CA.
    pub fn default_security(&self) -> Security {
        if self.superlink_ca.is_some() { Security::Tls } else { Security::Plain }
    }

    /// Offers a SuperLink on this machine at its default ports (8000, 9092, 9093), whatever its version.
    #[must_use]
    pub fn local_superlink(mut self) -> Self {
        self.upstreams = Upstreams::local_superlink(self.default_security());
        self.looks_for_superlink = true;
        self
    }

    /// Offers a SuperLink: over HTTP it serves all its APIs, over gRPC its Fleet API.
    #[must_use]
    pub fn superlink(mut self, upstream: Upstream) -> Self {
        self.upstreams.add_superlink(&upstream);
        self
    }

    /// Names the upstream of one API, in the wire it speaks.
    #[must_use]
    pub fn upstream(mut self, api: Api, upstream: Upstream) -> Self {
        self.upstreams.add(api, upstream);
        self
    }

    /// Adds the upstreams of one API that a text means: a URL, or `host:port` for one in each wire.
    ///
    /// # Errors
    /// The text is neither.
    pub fn add_upstreams(&mut self, api: Api, text: &str) -> Result<(), InvalidUpstream> {
        for upstream in Upstream::candidates(text, self.default_security())? {
            self.upstreams.add(api, upstream);
        }
        Ok(())
    }

    /// Adds the SuperLink that a text means: a URL, or `host:port` for one in each wire.
    ///
    /// # Errors
    /// The text is neither.
    pub fn add_superlink(&mut self, text: &str) -> Result<(), InvalidUpstream> {
        for upstream in Upstream::candidates(text, self.default_security())? {
            self.upstreams.add_superlink(&upstream);
        }
        Ok(())
    }

    /// Gives a peer the rights of a grant.
    #[must_use]
    pub fn grant(mut self, grant: Grant) -> Self {
        let Grant { peer, rights } = grant;
        self.access.allow(peer, rights.apis);
        if rights.passthrough {
            self.access.allow_passthrough(peer);
        }
        self
    }

    /// Lets `peer` call `apis`.
    #[must_use]
    pub fn allow(mut self, peer: EndpointId, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow(peer, apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Lets `peer` pass bytes through to what [`passthrough`](Self::passthrough) names, and with them every API that is
    /// served there, Control and Runtime included. The funnel neither checks nor logs what is called.
    #[must_use]
    pub fn allow_passthrough(mut self, peer: EndpointId) -> Self {
        self.access.allow_passthrough(peer);
        self
    }

    /// Names where the bytes of those peers go: a SuperLink with TLS, which they speak with it from end to end.
    #[must_use]
    pub fn passthrough(mut self, target: PassthroughTarget) -> Self {
        self.passthrough = Some(target);
        self
    }

    /// Lets every peer call `apis`, whoever it is.
    #[must_use]
    pub fn allow_any(mut self, apis: impl IntoIterator<Item = Api>) -> Self {
        self.access.allow_any(apis.into_iter().collect::<ApiSet>());
        self
    }

    /// Lets in whom the roster names, besides those that [`allow`](Self::allow) names, takes its invitations, and follows
    /// its changes while the funnel serves. When peers were seen is written to a file beside it (`.seen.json`).
    #[must_use]
    pub fn roster(mut self, roster: RosterFile) -> Self {
        self.roster = Some(roster);
        self
    }

    /// Writes who was let in to what, and who was not: JSON lines, without what calls carried.
    #[must_use]
    pub fn audit_log(mut self, audit_log: impl Into<AuditLog>) -> Self {
        self.audit_log = Some(audit_log.into());
        self
    }

    /// The roster, if one was named.
    pub fn roster_file(&self) -> Option<&RosterFile> {
        self.roster.as_ref()
    }

    /// Whether a file for the audit log was named, or `off`.
    pub fn has_audit_log(&self) -> bool {
        self.audit_log.is_some()
    }

    /// Whether upstreams were named.
    pub fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// TLS without a CA can never work, and a CA without TLS is a secret told in the open.
    pub(super) fn untold_trust(&self) -> Option<String> {
        let over_tls = self.upstreams.rows().find(|(_, upstream)| upstream.security() == Security::Tls);
        match (over_tls, &self.superlink_ca) {
            (Some((_, upstream)), None) => Some(format!(
                "expose: {upstream} speaks TLS; name the CA that signed its certificate: --superlink-ca FILE, or \
                 superlink_ca in [expose]"
            )),
            (None, Some(_)) if !self.upstreams.is_empty() => Some(
                "expose: superlink_ca is named, and no upstream speaks TLS; write https:// or grpcs://, or HOST:PORT \
                 alone"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// Nowhere.
    Off,
    /// To this file. Past 16 MiB it becomes `.1`, in the place of the one before.
    File(PathBuf),
}

/// `off`, or a file.
impl<P: Into<PathBuf>> From<P> for AuditLog {
    fn from(path: P) -> Self {
        let path = path.into();
        if path == Path::new("off") { Self::Off } else { Self::File(path) }
    }
}
