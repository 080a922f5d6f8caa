//! Hosts in network namespaces of the tests' own, for those who are root on Linux.

use std::process::Command;

use nix::unistd::geteuid;
use patchbay::Device;

/// Whether there can be any. Says what is missing, and fails where `CI` is `true`.
pub(crate) fn available() -> bool {
    match missing() {
        None => true,
        Some(missing) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have network namespaces: {missing}");
            eprintln!("skipped: no networks to test in: {missing}");
            false
        }
    }
}

fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("they need root, to make network namespaces".into());
    }
    match Command::new("nft").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("the command nft does not work ({}); install nftables", output.status)),
        Err(error) => Some(format!("the command nft cannot be run ({error}); install nftables")),
    }
}

/// Does `work` on a host: the sockets it opens and the processes it starts are the host's.
pub(crate) async fn on<T: Send + 'static>(host: &Device, work: impl Future<Output = T> + Send + 'static) -> T {
    host.spawn(|_| work).expect("the lab runs").await.unwrap()
}
