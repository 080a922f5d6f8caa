//! What an operator can get wrong, and what he reads then.

use std::{fs, path::Path};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run},
    sides::words,
};

/// `EX_USAGE`.
const USAGE: Option<i32> = Some(64);

#[tokio::test]
async fn id_prints_the_same_id_alone_and_makes_a_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key");
    let id = endpoint_id(&key).await.unwrap();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(endpoint_id(&key).await.unwrap(), id);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn every_mistake_of_a_command_line_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key").into_os_string();
    let arguments = [
        "expose",
        "--superlink",
        "ftp://x:1",
        "--upstream",
        "fleet",
        "--upstream",
        "tree=http://x:1",
        "--allow",
        "nobody",
        "--bind",
        "here",
        "--relay",
        "maybe",
    ];
    let mut arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    arguments.extend(["--key-file".into(), key]);
    let (status, stderr) = run(arguments).await.unwrap();
    assert_eq!(status.code(), USAGE, "{stderr}");
    for part in ["--superlink", "--upstream fleet:", "--upstream tree", "--allow nobody", "--bind here", "--relay"] {
        assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_file_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("funnel.toml");
    let key = folder.path().join("secret.key");
    fs::write(&file, format!("key_file = {key:?}\nalpn = 3\ncolour = 1\n[[peer]]\npeer = \"x\"\n")).unwrap();
    let (status, stderr) = run(["run".into(), "--config".into(), file.into_os_string()]).await.unwrap();
    assert_eq!(status.code(), USAGE, "{stderr}");
    for part in ["alpn:", "colour:", "peer[0].peer:"] {
        assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
    }
}

#[tokio::test]
async fn usage_that_is_no_usage_ends_with_64() {
    for arguments in [&["fly"][..], &[], &["join"], &["expose", "--colour"], &["run"]] {
        let (status, stderr) = run(arguments.iter().map(Into::into)).await.unwrap();
        assert_eq!(status.code(), USAGE, "{arguments:?}: {stderr}");
    }
    let (status, _) = run(["--version".into()]).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn what_names_no_peer_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key").into_os_string();
    let id = endpoint_id(Path::new(&key)).await.unwrap();
    for (peer, part) in [
        ("endpointabc", "copy it again"),
        ("nobody", "neither a ticket, an invitation nor an endpoint id"),
        (&*id, "that is this funnel itself"),
    ] {
        let (status, stderr) = run(words(&["join", peer], &[("--key-file", &key)])).await.unwrap();
        assert_eq!(status.code(), USAGE, "{stderr}");
        assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_others_can_read_and_one_that_cannot_be_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key");
    endpoint_id(&key).await.unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = endpoint_id(&key).await.unwrap_err();
    assert!(error.contains("chmod 600"), "{error}");
    // Root reads everything but a folder.
    let error = endpoint_id(folder.path()).await.unwrap_err();
    assert!(error.contains("cannot use the key file"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_ends_the_process_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).into_os_string();
    let peer = endpoint_id(Path::new(&file("other.key"))).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let arguments = words(&["join", &peer, "--listen", &listen], &[("--key-file", &file("secret.key"))]);
    let (status, stderr) = run(arguments).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains(&listen) && stderr.contains("choose another port"), "{stderr}");
}

#[tokio::test]
async fn a_refused_join_keeps_waiting_and_says_what_the_other_side_has_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).into_os_string();
    let (key, ticket) = (file("join.key"), file("ticket"));
    let id = endpoint_id(Path::new(&key)).await.unwrap();
    let _inbound = FunnelProcess::start(words(
        &["expose", "--superlink", "http://127.0.0.1:9"],
        &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
    ))
    .await
    .unwrap();
    let at_ticket = format!("@{}", ticket.to_str().unwrap());
    let arguments = words(&["join", &at_ticket, "--listen", "127.0.0.1:0"], &[("--key-file", &key)]);
    let outbound = FunnelProcess::spawn(arguments).unwrap();
    outbound.logged(&format!("--allow {id}")).await.unwrap();
    assert!(outbound.stop().await.unwrap().success() || cfg!(not(unix)));
}

#[tokio::test]
async fn a_file_makes_a_funnel_and_its_peers_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let joiner = endpoint_id(&path("join.key")).await.unwrap();
    let exposing = format!(
        "key_file = {:?}\nrelay_mode = \"off\"\nbind_addr = \"127.0.0.1:0\"\n[expose]\n[[expose.allow]]\npeer = \
         \"{joiner}\"\n",
        path("expose.key")
    );
    fs::write(path("expose.toml"), exposing).unwrap();
    let inbound = FunnelProcess::start(["run".into(), "--config".into(), path("expose.toml").into_os_string()]);
    let inbound = inbound.await.unwrap();
    let ticket = inbound.stdout_line("ticket ").unwrap();

    let joining = format!("key_file = {:?}\n[[peer]]\nname = \"hospital\"\npeer = \"{ticket}\"\n", path("join.key"));
    fs::write(path("join.toml"), joining).unwrap();
    let (config, key) = (path("join.toml").into_os_string(), path("join.key").into_os_string());
    let arguments =
        words(&["join", "hospital", "--listen", "127.0.0.1:0"], &[("--config", &config), ("--key-file", &key)]);
    let outbound = FunnelProcess::start(arguments).await.unwrap();
    assert!(outbound.ready_line().contains("fleet"), "{}", outbound.ready_line());
}
