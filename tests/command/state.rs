//! The files of earlier releases: this one reads them. Each folder of `tests/data/state` was written by that release.

use std::{fs, path::Path};

use flower_iroh_funnel::{EndpointAddr, Hello, Invitation};
use iroh_tickets::endpoint::EndpointTicket;
use serde_json::Value;

use crate::{funnel_process::FunnelProcess, peers::Office, sides::guarded};

/// The id of the funnel whose files they are.
const FUNNEL: &str = "24033bfc63420e24055873598ed9b6e65cad24b8ce9fda3e8ffc63d26b24d5cc";
const ALLOWED: &str = "94529b24c835c5c7954b2aed599692c7e6a0056b98e3537e6b2111510fffe7d5";
const DENIED: &str = "1962a363c221a41f34d548d31ac4b1df59ffc509297605842eb642a000922e55";
const INVITED: &str = "c32693c029a8ff67f9313326f193a83c08ec4c1101471bc8f08f11e492e9829d";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state/0.1.0").join(name)).unwrap()
}

/// An operator's folder with the files of that release.
fn office() -> Office {
    let office = Office::new();
    for name in ["secret.key", "peers.toml", "peers.seen.json", "audit.jsonl"] {
        fs::write(office.file(name), read(name)).unwrap();
        #[cfg(unix)]
        fs::set_permissions(office.file(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    office
}

#[tokio::test]
async fn the_state_of_0_1_0_is_read_and_what_it_took_away_stays_taken_away() {
    guarded(async {
        let office = office();
        assert_eq!(office.type_in(&["id"]).await.trim(), FUNNEL);
        let listed = office.peers().await;
        let of = |id: &str| listed.iter().find(|peer| peer["id"] == id).unwrap();
        assert_eq!(
            (of(ALLOWED)["standing"].as_str(), of(ALLOWED)["name"].as_str()),
            (Some("allowed"), Some("st. mary"))
        );
        assert_eq!(of(ALLOWED)["sent"], 10_539);
        assert_eq!(of(DENIED)["standing"], "denied");
        let invitations: Vec<_> = listed.iter().filter(|peer| peer["id"] == Value::Null).collect();
        assert_eq!(invitations.len(), 1);
        assert_eq!(invitations[0]["name"], "several");

        // The funnel starts with it, records the denial, and goes on with the audit log.
        let inbound = FunnelProcess::start(office.words(&["expose"])).await.unwrap();
        while !fs::read_to_string(office.file("peers.revoked.toml")).is_ok_and(|ledger| ledger.contains(DENIED)) {
            tokio::task::yield_now().await;
        }
        // A ticket for the next invitation is in the status.
        assert!(office.invite("next").await.parse::<Invitation>().unwrap().addr().addrs.len() == 1);
        inbound.stop().await.unwrap();
        assert!(fs::read_to_string(office.file("audit.jsonl")).unwrap().starts_with(&read("audit.jsonl")));

        // The invitation of which one peer has used a part is revoked with it, as before.
        let said = office.type_in(&["peers", "deny", INVITED]).await;
        assert!(said.contains("its invitation, which had uses left, is revoked"), "{said}");
    })
    .await;
}

#[test]
fn what_0_1_0_sends_is_read() {
    let ticket: EndpointTicket = read("ticket.txt").trim().parse().unwrap();
    assert_eq!(EndpointAddr::from(ticket).id.to_string(), FUNNEL);
    let invitation: Invitation = read("invitation.txt").trim().parse().unwrap();
    assert_eq!(invitation.addr().id.to_string(), FUNNEL);
    let hello: Hello = serde_json::from_str(&read("hello.json")).unwrap();
    assert_eq!((hello.version.as_str(), hello.start), ("0.1.0", Some(2_291_145_994)));
    assert!(hello.offers("fleet") && hello.offers("control") && !hello.offers("runtime"));
    assert_eq!(hello.to_string(), "fleet (http up, grpc not served), control (http unknown, grpc down)");
}
