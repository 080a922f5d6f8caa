//! Without any internet, in a network namespace of the test's own. Needs root on Linux, `unshare` and `ip`.
#![cfg(target_os = "linux")]

use iroh_tickets::endpoint::EndpointTicket;
use tokio::process::Command;

use crate::{funnel_process::FunnelProcess, sides::guarded};

/// A namespace with one address and nobody to talk to; the rest of the command line runs in it.
const ALONE: &str = "ip link add one type veth peer name two && ip addr add 10.77.0.1/24 dev one && ip link set lo up \
                     && ip link set one up && ip link set two up";

fn alone(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &format!("{ALONE} && {script}"), "sh"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn with_default_relays_and_no_internet_a_funnel_starts_and_its_ticket_has_direct_addresses() {
    guarded(async {
        let possible = alone("true").output().await.is_ok_and(|output| output.status.success());
        if !possible {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must be able to make network namespaces");
            eprintln!("skipped: needs root, unshare and ip to make a network namespace");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("secret.key").into_os_string();
        let arguments = ["expose".into(), "--allow-any".into(), "--key-file".into(), key];
        let funnel = FunnelProcess::start_by(alone(r#"exec "$@""#), arguments).await.unwrap();
        let ticket: EndpointTicket = funnel.stdout_line("ticket ").unwrap().parse().unwrap();
        let addr = ticket.endpoint_addr();
        assert!(addr.ip_addrs().any(|addr| addr.ip().to_string() == "10.77.0.1"), "{addr:?}");
        assert!(funnel.stop().await.unwrap().success());
    })
    .await;
}
