//! The control socket of a funnel whose own runtime stands still.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use flower_iroh_funnel::{
    Exposed, Funnel, SecretKey,
    control::{ControlSocket, Outcome},
    roster::RosterFile,
};

use super::support::{guarded, loopback};

#[tokio::test]
async fn a_denial_is_in_force_while_the_funnels_runtime_stands_still_and_a_roster_is_not() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, roster) = (folder.path().join("secret.key"), folder.path().join("peers.toml"));
        let exposed = Exposed::new().local_superlink().roster(RosterFile::new(&roster));
        let config = loopback().key_file(&key_file).expose(exposed).build().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let control = ControlSocket::of_key_file(&key_file);
        let standing_still = control.clone();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let funnel = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let funnel = Funnel::new(config).await.unwrap();
                let serving = tokio::spawn({
                    let funnel = funnel.clone();
                    async move { funnel.serve().await }
                });
                while standing_still.status().await.is_err() {
                    tokio::task::yield_now().await;
                }
                ready.send(()).unwrap();
                released.recv().unwrap_err();
                funnel.shutdown();
                serving.await.unwrap().unwrap();
            });
        });
        is_ready.await.unwrap();
        let peer = SecretKey::generate().public();
        let start = Instant::now();
        let answer = control.deny(&peer.to_string(), &roster).await.unwrap();
        assert_eq!(answer.outcome, Outcome::InForce { peer: Some(peer) });
        eprintln!("denied in {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(10));
        let answer = control.reload(&roster).await.unwrap();
        assert!(matches!(answer.outcome, Outcome::NotInForce { .. }), "{answer:?}");
        drop(release);
        funnel.join().unwrap();
        assert!(control.status().await.unwrap_err().is_not_running());
    })
    .await;
}
