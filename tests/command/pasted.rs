//! Tickets and invitations as operators paste them, and where they may be read.

use std::{ffi::OsString, fs, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    peers::{Office, call},
    sides::{guarded, http_server, response_head, words},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flower-iroh-funnel");
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Whether a text has a piece of 8 characters of an invitation's secret, in whatever case.
fn tells(text: &str, invitation: &str) -> bool {
    let (text, secret) = (text.to_lowercase(), &invitation["invite".len()..][..54]);
    (0..=secret.len() - 8).any(|at| text.contains(&secret[at..at + 8]))
}

async fn invited() -> (Office, FunnelProcess) {
    let superlink = http_server(|mut socket, _| async move {
        socket.write_all(response_head(0).as_bytes()).await.unwrap();
    });
    let office = Office::new();
    let expose = office.words(&["expose", "--superlink", &format!("http://{}", superlink.await)]);
    let inbound = FunnelProcess::start(expose).await.unwrap();
    (office, inbound)
}

/// A site that joins with `words`, and with a file as its stdin.
async fn joins(stdin: &std::path::Path, arguments: Vec<OsString>) -> FunnelProcess {
    let mut launcher = Command::new("sh");
    launcher.args(["-c", r#"exec "$@" < "$0""#]).arg(stdin);
    FunnelProcess::start_by(launcher, arguments).await.unwrap()
}

#[tokio::test]
async fn a_pasted_invitation_is_read_from_stdin_and_stands_on_no_command_line() {
    guarded(async {
        let (office, inbound) = invited().await;
        let printed = office.type_in(&["invite", "st-mary"]).await;
        assert!(printed.contains("run: flower-iroh-funnel join - "), "{printed}");
        let invitation = printed.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap();
        let command = printed.lines().last().unwrap().to_owned() + printed.lines().nth(2).unwrap();
        assert!(!tells(&command, invitation), "{command}");

        // As it was printed and saved, and spoilt on its way.
        let file = office.file("pasted");
        fs::write(
            &file,
            format!("\u{feff}> {}", printed.replacen(&invitation[..70], &invitation[..70].to_uppercase(), 1)),
        )
        .unwrap();
        for arguments in [vec!["join".to_owned(), "-".to_owned()], vec!["join".into(), format!("@{}", file.display())]]
        {
            let site = office.file("site.key").into_os_string();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(LISTEN).chain(["-vvv"]).collect();
            let site = joins(&file, words(&arguments, &[("--key-file", &site)])).await;
            assert_eq!(call(&site).await, "200");
            let line = fs::read(format!("/proc/{}/cmdline", site.id().unwrap())).unwrap_or_default();
            assert!(!tells(&String::from_utf8_lossy(&line), invitation));
            assert!(!tells(&site.stderr(), invitation));
            site.stop().await.unwrap();
        }
        assert!(!tells(&inbound.stderr(), invitation));
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn lines_on_stdin_are_read_until_they_are_an_invitation_although_stdin_stays_open() {
    guarded(async {
        let (office, inbound) = invited().await;
        let invitation = office.invite("site").await;
        let (begin, end) = invitation.split_at(60);
        let fifo = office.file("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().await.unwrap().success());
        let site = office.file("site.key").into_os_string();
        let arguments: Vec<_> = ["join", "-"].into_iter().chain(LISTEN).collect();
        let starting = tokio::spawn({
            let (fifo, arguments) = (fifo.clone(), words(&arguments, &[("--key-file", &site)]));
            async move { joins(&fifo, arguments).await }
        });
        let mut pipe = tokio::fs::File::options().write(true).open(&fifo).await.unwrap();
        pipe.write_all(format!("\n\"{begin}\n").as_bytes()).await.unwrap();
        pipe.flush().await.unwrap();
        pipe.write_all(format!("{end}\"\n").as_bytes()).await.unwrap();
        pipe.flush().await.unwrap();
        let site = starting.await.unwrap();
        assert_eq!(call(&site).await, "200");
        drop(pipe);
        site.stop().await.unwrap();
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_invitation_as_an_argument_works_with_a_note_also_where_a_shell_has_split_it() {
    guarded(async {
        let (office, inbound) = invited().await;
        let invitation = office.invite("site").await;
        let (begin, end) = invitation.split_at(60);
        let site = office.file("site.key").into_os_string();
        let arguments: Vec<_> = ["join", begin, end].into_iter().chain(LISTEN).collect();
        let site = FunnelProcess::start(words(&arguments, &[("--key-file", &site)])).await.unwrap();
        assert_eq!(call(&site).await, "200");
        site.logged("join - reads it from stdin").await.unwrap();
        assert!(!site.stderr().contains("WARN") || !tells(&site.stderr(), &invitation));
        site.stop().await.unwrap();
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn whatever_is_pasted_wherever_no_output_has_a_piece_of_its_secret() {
    guarded(async {
        let office = Office::new();
        let id = endpoint_id(&office.file("secret.key")).await.unwrap();
        assert_eq!(id.len(), 64);
        let invitation = office.invite("site").await;
        let upper = invitation.to_uppercase();
        let spoilt = [
            invitation[..invitation.len() - 9].to_owned(),
            invitation[10..].to_owned(),
            invitation[10..40].to_owned(),
            upper[..80].to_owned(),
            upper[3..60].to_owned(),
            format!("\u{201c}{}\u{201d}", &invitation[..50]),
            format!("\"{upper}0\""),
            invitation.replacen("invite", "invjte", 1),
            format!("{} --", &invitation[..99]),
            format!("{invitation}\n{invitation}x"),
        ];
        let config = office.file("spoilt.toml");
        for text in &spoilt {
            fs::write(
                &config,
                format!("key_file = {:?}\n[[peer]]\npeer = {text:?}\nlisten = {text:?}\n", office.file("secret.key")),
            )
            .unwrap();
            let config = config.to_str().unwrap();
            let lines: [&[&str]; 13] = [
                &["join", "-vvv", text],
                &["join", "-vvv", "--listen", text, text],
                &["join", "--tls", "--passthrough", text],
                &["join", "x", "--colour", text],
                &[text],
                &["expose", text],
                &["expose", "--allow", text],
                &["expose", "--superlink", text, "--bind", text],
                &["peers", "deny", text],
                &["peers", "allow", text, "--apis", text],
                &["invite", text, "--hours", text],
                &["invite", text],
                &["run", "-vvv", "--config", config],
            ];
            // What is short enough is a valid name, however it looks.
            let is_name = text.chars().count() <= 64;
            for line in lines.into_iter().filter(|line| !(is_name && line[0] == "invite")) {
                let (status, stdout, stderr) = run_for_output(office.words(line)).await.unwrap();
                assert!(!status.success(), "{line:?}: {stdout} {stderr}");
                let output = stdout + &stderr;
                assert!(!tells(&output, &invitation), "{line:?}: {output}");
            }
            let mut join = Command::new(PROGRAM);
            join.args(office.words(&["join", "-vvv", "-"])).stdin(Stdio::piped());
            join.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut join = join.spawn().unwrap();
            let mut stdin = join.stdin.take().unwrap();
            let _ = stdin.write_all(text.as_bytes()).await;
            drop(stdin);
            let output = timeout(std::time::Duration::from_secs(60), join.wait_with_output()).await.unwrap().unwrap();
            assert_eq!(output.status.code(), Some(64));
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!tells(&output, &invitation), "{text:?}: {output}");
        }
        for file in fs::read_dir(office.folder.path()).unwrap().map(|file| file.unwrap().path()) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            assert!(file.ends_with("spoilt.toml") || !tells(&text, &invitation), "{}", file.display());
        }
    })
    .await;
}
