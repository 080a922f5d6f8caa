//! Who is let in while a funnel serves: invitations, the roster and its changes, and what is noted down of it.

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use flower_iroh_funnel::{
    ALPN, Api, EndpointAddr, EndpointId, Exposed, Funnel, Invitation, PeerConfig, SecretKey, Timestamp,
    roster::{Roster, RosterFile},
    transport::Code,
};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use super::support::{LocalClient, RawPeer, Running, Upstream, guarded, http_call, join, loopback, piecewise};

const DAY: Duration = Duration::from_secs(86_400);

/// An inbound funnel with a roster, and the folder that it is in.
struct Inviting {
    running: Running,
    roster: RosterFile,
    addr: EndpointAddr,
    folder: tempfile::TempDir,
}

impl Inviting {
    async fn start(exposed: Exposed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roster = RosterFile::new(folder.path().join("peers.toml"));
        let exposed = exposed.roster(roster.clone()).audit_log(folder.path().join("audit.jsonl"));
        let running = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let addr = running.funnel.endpoint_addr().await;
        Self { running, roster, addr, folder }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        self.roster.update(|roster| Ok::<_, Infallible>(change(roster))).unwrap().unwrap()
    }

    fn invite(&self, apis: impl IntoIterator<Item = Api>, uses: u32, expires: Timestamp) -> Invitation {
        let invitation = Invitation::new(self.addr.clone());
        let (name, uses) = ("site".parse().unwrap(), NonZeroU32::new(uses).unwrap());
        self.change(|roster| roster.invite(&invitation, name, apis.into_iter().collect(), uses, expires)).unwrap();
        invitation
    }

    fn allow(&self, peer: EndpointId, apis: impl IntoIterator<Item = Api>) {
        self.change(|roster| roster.allow(peer, None, apis.into_iter().collect())).unwrap();
    }

    async fn stop(self) -> tempfile::TempDir {
        self.running.stop().await;
        self.folder
    }
}

async fn join_invited(invitation: Invitation, key: SecretKey) -> Running {
    Running::start(loopback().secret_key(key).peer(PeerConfig::invited(invitation)).build().unwrap()).await
}

/// Waits until there is no link, for a reason that has `part` in it.
async fn trouble(outbound: &Running, peer: EndpointId, part: &str) {
    let conn = outbound.funnel.peer(peer);
    let (told, mut heard) = mpsc::unbounded_channel();
    loop {
        let listen = conn.ready(|failure| drop(told.send(failure.to_string())));
        tokio::select! {
            Some(failure) = heard.recv() => if failure.contains(part) { return },
            // It stands, until the news of its end are through.
            _ = listen => tokio::task::yield_now().await,
        }
    }
}

async fn status(outbound: &Running, path: &str) -> u16 {
    let client = LocalClient::http(outbound.funnel.local_addrs()[0]);
    client.send(http_call(path, "x")).await.unwrap().status().as_u16()
}

/// A call under way: its answer's body, of which the first piece has come, and what keeps it from ending.
async fn call_under_way(site: &Running, path: &str) -> (Incoming, impl Sized + use<>) {
    let (pieces, body) = piecewise();
    pieces.send(Ok(Frame::data("x".into()))).await.unwrap();
    let client = LocalClient::http(site.funnel.local_addrs()[0]);
    let mut body = client.send(http_call(path, "").map(|_| body)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    (body, (pieces, client))
}

#[tokio::test]
async fn an_invitation_lets_its_bearer_in_for_good_and_nobody_after_it() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let invitation = inviting.invite([Api::Fleet], 1, Timestamp::now().plus(DAY));
        let key = SecretKey::generate();
        let site = join_invited(invitation.clone(), key.clone()).await;
        site.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        assert_eq!(status(&site, "/v1/fleet/pull-messages").await, 200);
        assert_eq!(status(&site, "/v1/control/list-runs").await, 403);
        let roster = inviting.roster.load().unwrap();
        assert_eq!(roster.find("site").unwrap().id, key.public());
        assert!(roster.invitations().is_empty());

        let second = join_invited(invitation.clone(), SecretKey::generate()).await;
        trouble(&second, inviting.addr.id, "refuses the invitation: it is expired, revoked or already used").await;
        trouble(&second, inviting.addr.id, "does not admit this funnel").await;
        second.stop().await;

        site.stop().await;
        let again = join_invited(invitation, key).await;
        again.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        again.stop().await;
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_invitation_that_is_over_or_withdrawn_lets_nobody_in() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let over = inviting.invite([Api::Fleet], 1, Timestamp::now());
        let late = join_invited(over, SecretKey::generate()).await;
        trouble(&late, inviting.addr.id, "refuses the invitation").await;
        late.stop().await;
        inviting.change(|roster| roster.withdraw("site"));
        let withdrawn = inviting.invite([Api::Fleet], 1, Timestamp::now().plus(DAY));
        inviting.change(|roster| roster.withdraw("site"));
        let late = join_invited(withdrawn, SecretKey::generate()).await;
        trouble(&late, inviting.addr.id, "refuses the invitation").await;
        late.stop().await;
        assert!(inviting.roster.load().unwrap().peers().is_empty());
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_shut_out_loses_its_link_and_the_call_under_way() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let exposed = Exposed::new().superlink(upstream.url("http")).allow_any([Api::Fleet]);
        let inviting = Inviting::start(exposed).await;
        let key = SecretKey::generate();
        let site = join(inviting.addr.clone(), key.clone()).await;
        site.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        let (mut body, _calling) = call_under_way(&site, "/v1/fleet/any-stream").await;
        inviting.change(|roster| roster.deny(key.public()));
        assert!(body.frame().await.unwrap().is_err());
        trouble(&site, inviting.addr.id, "does not admit this funnel").await;
        assert_eq!(status(&site, "/v1/fleet/pull-messages").await, 503);

        inviting.change(|roster| roster.remove(key.public()));
        site.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        assert_eq!(status(&site, "/v1/fleet/pull-messages").await, 200);
        site.stop().await;
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_loses_an_api_loses_its_calls_there_and_keeps_the_others() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let key = SecretKey::generate();
        inviting.allow(key.public(), [Api::Fleet, Api::Control]);
        let site = join(inviting.addr.clone(), key.clone()).await;
        let conn = site.funnel.peer(inviting.addr.id);
        assert!(conn.ready(|_| {}).await.offers("control"));
        let (mut logs, _calling) = call_under_way(&site, "/v1/control/stream-logs").await;
        inviting.allow(key.public(), [Api::Fleet]);
        assert!(logs.frame().await.unwrap().is_err());
        while conn.ready(|_| {}).await.offers("control") {
            tokio::task::yield_now().await;
        }
        assert_eq!(status(&site, "/v1/fleet/pull-messages").await, 200);
        assert_eq!(status(&site, "/v1/control/list-runs").await, 403);
        site.stop().await;
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_roster_leaves_the_one_before_in_force() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let (key, other) = (SecretKey::generate(), SecretKey::generate());
        inviting.allow(key.public(), [Api::Fleet]);
        let site = join(inviting.addr.clone(), key).await;
        site.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        std::fs::write(inviting.roster.path(), "[[peer").unwrap();
        // A second funnel refuses to start with it, and this one, which has had time to see it, goes on.
        let exposed = Exposed::new().superlink(upstream.url("http")).roster(inviting.roster.clone());
        let config = loopback().expose(exposed).build().unwrap();
        let error = Funnel::new(config).await.unwrap_err();
        assert!(error.is_mistake() && error.to_string().contains("a mistake in the roster"), "{error}");
        let stranger = join(inviting.addr.clone(), other.clone()).await;
        trouble(&stranger, inviting.addr.id, "does not admit this funnel").await;
        assert_eq!(status(&site, "/v1/fleet/pull-messages").await, 200);

        std::fs::write(inviting.roster.path(), format!("[[peer]]\nid = \"{}\"\n", other.public())).unwrap();
        stranger.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        trouble(&site, inviting.addr.id, "does not admit this funnel").await;
        site.stop().await;
        stranger.stop().await;
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_stranger_on_the_enrolments_alpn_learns_nothing_whatever_it_sends() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let alpn = [ALPN, b"/enrol"].concat();
        let mut answers = Vec::new();
        for is_inviting in [false, true] {
            if is_inviting {
                inviting.invite([Api::Fleet], 1, Timestamp::now().plus(DAY));
            }
            for secret in [vec![0; 32], vec![7; 4096]] {
                let raw = RawPeer::new(SecretKey::generate(), inviting.addr.clone(), &alpn).await;
                let link = raw.connector.link(inviting.addr.id).await.unwrap();
                // Dropped, it would be reset before it is read.
                let mut stream = link.open().await.unwrap();
                stream.write_all(&secret).await.unwrap();
                stream.flush().await.unwrap();
                let lost = link.closed().await;
                answers.push((lost.code(), lost.peer_reason().map(|reason| reason.into_owned())));
                raw.endpoint.close().await;
            }
        }
        assert_eq!(answers[0].0, Some(Code::REFUSED));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert!(inviting.roster.load().unwrap().peers().is_empty());
        inviting.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what_and_holds_neither_payloads_nor_secrets() {
    const PAYLOAD: &str = "weights-of-a-model";
    guarded(async {
        let upstream = Upstream::echo().await;
        let inviting = Inviting::start(Exposed::new().superlink(upstream.url("http"))).await;
        let invitation = inviting.invite([Api::Fleet], 1, Timestamp::now().plus(DAY));
        let key = SecretKey::generate();
        let site = join_invited(invitation.clone(), key.clone()).await;
        site.funnel.peer(inviting.addr.id).ready(|_| {}).await;
        let client = LocalClient::http(site.funnel.local_addrs()[0]);
        for path in ["/v1/fleet/pull-messages", "/v1/fleet/pull-messages", "/v1/control/list-runs"] {
            let mut call = http_call(path, PAYLOAD);
            call.headers_mut().insert("flwr-signature", "c2lnbmF0dXJl".parse().unwrap());
            client.send(call).await.unwrap();
        }
        site.stop().await;
        let folder = inviting.stop().await;

        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |event: &str, method: &str, outcome: &str| -> u64 {
            let of_site = lines.iter().filter(|line| line["peer"] == key.public().to_string());
            let wanted = of_site.filter(|line| line["event"] == event && line["outcome"] == outcome);
            let wanted = wanted.filter(|line| method.is_empty() || line["method"] == method);
            wanted.map(|line| line["count"].as_u64().unwrap()).sum()
        };
        assert_eq!(count("link", "", "denied"), 0, "the invitation goes first: {text}");
        assert_eq!(count("enrol", "", "allowed"), 1, "{text}");
        assert!(count("link", "", "allowed") >= 1, "{text}");
        assert_eq!(count("call", "PullMessages", "allowed"), 2, "{text}");
        assert_eq!(count("call", "ListRuns", "denied"), 1, "{text}");
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let written = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for secret in [PAYLOAD, "c2lnbmF0dXJl", &invitation.to_string(), &secret_in(&invitation)] {
                assert!(!written.contains(secret), "{written}");
            }
        }
    })
    .await;
}

/// The part of an invitation's text that holds its secret and nothing else: 32 bytes are 51 characters of base32.
fn secret_in(invitation: &Invitation) -> String {
    let text = invitation.to_string();
    text["invite".len() + 2..][..48].to_owned()
}
