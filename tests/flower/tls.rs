//! TLS everywhere, and SuperNodes that are known by their keys: what a hospital runs.

use std::fs;
use std::path::Path;

use crate::certificates::{Ca, LOCAL_NAMES};
use crate::flower::{Certificates, Cli, Context, Dial, Error, NodeKey, SuperLink, SuperNode, Venv, Version};
use crate::funnels::Funnels;
use crate::real_flower::in_turn;
use crate::training::{NODES, train_and_check};
use crate::versions::{V1_39, V1_42, venvs};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_keys_train_over_http_with_tls_on_both_sides() -> Result<(), Error> {
    in_turn(trains_with_tls(V1_42, V1_42)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_keys_train_over_grpc_with_tls_on_both_sides() -> Result<(), Error> {
    in_turn(trains_with_tls(V1_39, V1_39)).await
}

/// A node's signature is over the time alone, so that a call may be translated.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the rest of the matrix: --include-ignored"]
async fn nodes_with_keys_train_over_grpc_with_a_superlink_over_http_with_tls_on_both_sides() -> Result<(), Error> {
    in_turn(trains_with_tls(V1_42, V1_39)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the rest of the matrix: --include-ignored"]
async fn nodes_with_keys_train_with_tls_from_end_to_end_through_funnels_that_cannot_read_it() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_42]).await? else { return Ok(()) };
        let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
        let certificates = certificates(dir.path()).context(|| "cannot write the certificates".into())?;
        let superlink = SuperLink::start_with_tls(&venv, &certificates).await?;
        let funnels = Funnels::start_with_passthrough(&superlink, &certificates.ca).await?;
        let dial = Dial { addr: funnels.dial(), root_certificates: Some(certificates.ca) };
        let trained = train(&venv, dir.path(), dial).await;
        trained.map_err(|error| funnels.explain(superlink.explain(error)))?;
        funnels.stop().await?;
        superlink.stop().await
    })
    .await
}

async fn trains_with_tls(superlink: Version, nodes: Version) -> Result<(), Error> {
    let Some([superlink, nodes]) = venvs([superlink, nodes]).await? else { return Ok(()) };
    let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
    let certificates = certificates(dir.path()).context(|| "cannot write the certificates".into())?;
    let superlink = SuperLink::start_with_tls(&superlink, &certificates).await?;
    let funnels = Funnels::start_with_tls(&superlink, &certificates.ca).await?;
    let trained = train(&nodes, dir.path(), funnels.dial_with_tls()?).await;
    trained.map_err(|error| funnels.explain(superlink.explain(error)))?;
    funnels.stop().await?;
    superlink.stop().await
}

/// A SuperLink's own, which are no business of the funnel that it stands behind.
fn certificates(dir: &Path) -> std::io::Result<Certificates> {
    let ca = Ca::new();
    let superlink = ca.sign(&LOCAL_NAMES);
    let write = |name: &str, pem: String| {
        let path = dir.join(name);
        fs::write(&path, pem).map(|()| path)
    };
    Ok(Certificates {
        ca: write("ca.pem", ca.pem())?,
        certificate: write("superlink.pem", superlink.certificate)?,
        key: write("superlink.key", superlink.key)?,
    })
}

async fn train(venv: &Venv, dir: &Path, dial: Dial) -> Result<(), Error> {
    let cli = Cli::new(venv, dial.clone())?;
    let mut nodes = Vec::new();
    for partition in 0..NODES {
        let key = registered_key(venv, dir, &cli, &format!("node-{partition}")).await?;
        nodes.push(SuperNode::start_with_key(venv, dial.clone(), &key, partition, NODES)?);
    }
    let trained = train_and_check(venv, &dial, &mut nodes).await;
    trained.map_err(|error| nodes.iter().fold(error, |error, node| node.explain(error)))?;
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

async fn registered_key(venv: &Venv, dir: &Path, cli: &Cli, name: &str) -> Result<NodeKey, Error> {
    let key = NodeKey::make(venv, dir, name).await?;
    let answer = cli.ask(&format!("supernode register {}", key.public.display())).await?;
    if answer.succeeded {
        return Ok(key);
    }
    Err(Error::new(format!("the SuperLink takes no key: {}", answer.printed)))
}
