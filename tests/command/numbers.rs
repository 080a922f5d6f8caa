//! Numbers that are zero or nonsense, where an operator types them.

use crate::{funnel_process::run, sides::words};

const PEER: &str = "0ba2ff40c4d0b25bf5c26a13c0b3c2b6d8f79cc6a4d4a0c1a9a0a2b1a54d5e0c";

#[tokio::test]
async fn numbers_outside_of_their_ranges_are_refused_where_they_are_typed() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key").into_os_string();
    let nonsense = ["0", "-1", "1.5", "99999999999", "NaN", "inf"];
    let rates = ["0", "-1", "0.001", "99999999999", "NaN", "inf", "1e-300"];
    let ports = ["x:0", "x:65536", "x:-1", "x:"];
    let rows: [(&[&str], &str, &[&str], &str); 10] = [
        (&["invite", "site", "--uses"], "", &nonsense, "from 1 to 10000"),
        (&["invite", "site", "--hours"], "", &nonsense, "from 1 to 8760"),
        (&["relay", "--http", "--open", "--max-clients"], "", &nonsense, "from 1 to 1000000"),
        (&["relay", "--http", "--open", "--client-rate"], "", &rates, "from 0.01 to 4095 MiB/s"),
        (&["relay", "--http", "--open", "--metrics"], "", &["0", "127.0.0.1:0"], "from 1 to 65535"),
        (&["expose", "--superlink"], "http://", &ports, "scheme://host:port"),
        (&["expose", "--passthrough"], "", &ports, "HOST:PORT"),
        (&["expose", "--relay"], "", &["https://x:0"], "from 1 to 65535"),
        (&["join", PEER, "--lookup"], "", &["dns:x@127.0.0.1:0", "pkarr:http://x:0"], "--lookup"),
        (&["join", PEER, "--listen"], "", &["127.0.0.1:65536", "127.0.0.1:-1"], "ADDRESS:PORT"),
    ];
    for (command, scheme, values, part) in rows {
        for value in values {
            let value = format!("{scheme}{value}");
            let mut words = words(command, &[]);
            // Last, so that the value follows its option.
            words.drain(command.len()..);
            words.extend([value.clone().into(), "--key-file".into(), key.clone()]);
            let (status, stderr) = run(words).await.unwrap();
            assert_eq!(status.code(), Some(64), "{command:?} {value}: {stderr}");
            assert!(stderr.contains(part), "{command:?} {value}: {part} is not in {stderr}");
        }
    }
    assert!(!folder.path().join("peers.toml").exists(), "nothing was written");
}
