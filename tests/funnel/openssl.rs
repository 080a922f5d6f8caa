//! Certificates that OpenSSL makes: those that Flower's clients take, and those that are refused, with the command that makes
//! a right one.

use std::{path::Path, process::Stdio};

use flower_iroh_funnel::{Api, Exposed, Upstream as Address};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use super::{
    certificates::Certificate,
    secure::Front,
    support::{LocalClient, Pair, Upstream, detail, guarded, http_call},
};

const HTTP_PATH: &str = "/v1/fleet/pull-messages";
const FLOWERS_OWN: &str = "
openssl genrsa -out ca.key 2048
openssl req -new -x509 -key ca.key -sha256 -subj '/C=DE/O=CA' -days 365 -out ca.pem
openssl genrsa -out server.key 2048
openssl req -new -key server.key -out server.csr -subj '/C=DE/O=Flower/CN=localhost'
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > san
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 365 -sha256 -extfile san";
const SELF: &str =
    "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -keyout server.key -out server.pem -subj /CN=server";
const PYTHON: &str = "import socket, ssl, sys
context = ssl.create_default_context(cafile='ca.pem')
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain:
    context.wrap_socket(plain, server_hostname='127.0.0.1').close()";

async fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().await.unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn is_installed(program: &str) -> bool {
    let is_installed = Command::new(program).arg("version").stdin(Stdio::null()).output().await.is_ok();
    if !is_installed {
        eprintln!("skipped: {program} is not installed");
    }
    is_installed
}

fn exposed(folder: &Path, port: u16) -> Exposed {
    let upstream: Address = format!("https://127.0.0.1:{port}").parse().unwrap();
    Exposed::new().superlink_ca(folder.join("ca.pem")).upstream(Api::Fleet, upstream)
}

/// What a call is told of a server with the folder's certificate, which exchanges echoes; `None` if it is answered.
async fn call_by(folder: &Path, port: u16) -> Option<String> {
    let pair = Pair::start(exposed(folder, port), &[Api::Fleet]).await;
    let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
    let told = if response.status().is_success() { None } else { Some(detail(response).await) };
    pair.stop().await;
    told
}

async fn front(folder: &Path, echo: &Upstream) -> Front {
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    Front::start(&Certificate { certificate: read("server.pem"), key: read("server.key") }, echo.addr).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_signed_itself_and_stands_in_the_ca_file_is_taken_as_flowers_own_are() {
    guarded(async {
        if !is_installed("openssl").await {
            return;
        }
        let echo = Upstream::echo().await;
        for script in [
            FLOWERS_OWN.to_owned(),
            format!("{SELF} -addext subjectAltName=IP:127.0.0.1; cp server.pem ca.pem"),
            format!("{SELF} -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE; cp server.pem ca.pem"),
            format!("{FLOWERS_OWN}; mv ca.pem first; {SELF} -addext subjectAltName=IP:127.0.0.1; cat first server.pem > ca.pem"),
            format!("{SELF} -addext subjectAltName=IP:127.0.0.1; printf '\\357\\273\\277' > ca.pem; sed 's/$/\\r/' server.pem >> ca.pem"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            shell(folder.path(), &script).await;
            let front = front(folder.path(), &echo).await;
            assert_eq!(call_by(folder.path(), front.addr.port()).await, None, "{script}");
            if is_installed("python3").await && !script.contains("printf '\\357") {
                shell(folder.path(), &format!("python3 -c \"{PYTHON}\" {}", front.addr.port())).await;
            }
        }
    })
    .await;
}

/// `openssl s_server`, which has certificates that no other server takes.
struct Server {
    port: u16,
    _process: Child,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key"]);
        command.args(["-cipher", "DEFAULT:@SECLEVEL=0", "-www"]).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(port) = line.strip_prefix("ACCEPT 127.0.0.1:") {
                let port = port.parse().unwrap();
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self { port, _process: process };
            }
        }
        let mut stderr = String::new();
        process.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
        panic!("openssl s_server does not start: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_explained_and_the_command_in_the_reason_makes_one_that_is_taken() {
    guarded(async {
        if !is_installed("openssl").await {
            return;
        }
        let echo = Upstream::echo().await;
        let san = "-addext subjectAltName=IP:127.0.0.1";
        let own = "cp server.pem ca.pem";
        for (script, part) in [
            (
                "openssl req -new -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr; \
                 openssl x509 -req -in server.csr -signkey server.key -days 1 -out server.pem; cp server.pem ca.pem"
                    .to_owned(),
                "X.509 version 1",
            ),
            (format!("{SELF} -subj /CN=127.0.0.1; {own}"), "has no subjectAltName"),
            (format!("{SELF} -addext subjectAltName=DNS:localhost; {own}"), "its certificate is for other names"),
            (format!("{FLOWERS_OWN}; sed -i s/127.0.0.1/127.0.0.2/ san; {}", last_line(FLOWERS_OWN)), "for other names"),
            (format!("{SELF} {san}; {}; {own}", expired()), "its certificate has expired"),
            (format!("{} {san}; {own}", SELF.replace("2048", "1024")), "its key is too short"),
            (format!("{FLOWERS_OWN}; {} -sha1", last_line(FLOWERS_OWN).replace("-sha256", "")), "such as SHA-1"),
            (
                format!("{FLOWERS_OWN}; {}", last_line(FLOWERS_OWN).replace("-extfile san", "-extfile eku")).replace(
                    "openssl genrsa -out server.key",
                    "printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=clientAuth' > eku; openssl genrsa -out server.key",
                ),
                "not one for servers",
            ),
            (format!("{FLOWERS_OWN}; {SELF} {san}"), "its certificate is that of a CA"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            shell(folder.path(), &script).await;
            let server = Server::start(folder.path()).await;
            let told = call_by(folder.path(), server.port).await.expect(part);
            assert!(told.contains(part), "{part} is not in: {told}");
            let command = told.split_once("A right one: ").and_then(|(_, rest)| rest.split_once("; ")).expect(&told).0;
            assert_is_taken(command, &echo).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_and_a_key_that_is_not_understood_are_named() {
    guarded(async {
        if !is_installed("openssl").await {
            return;
        }
        let other = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -keyout other.key -out ca.pem -subj";
        for (script, part) in [
            (format!("{FLOWERS_OWN}; {other} /CN=other"), "openssl x509 -noout -issuer"),
            (format!("{FLOWERS_OWN}; {other} /C=DE/O=CA"), "did not sign its certificate"),
            (
                format!(
                    "{} -addext subjectAltName=IP:127.0.0.1; cp server.pem ca.pem",
                    SELF.replace("rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-521")
                ),
                "whose key is understood here",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            shell(folder.path(), &script).await;
            let server = Server::start(folder.path()).await;
            let told = call_by(folder.path(), server.port).await.expect(part);
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_without_a_certificate_says_what_is_in_it_and_the_command_in_the_reason_mends_it() {
    if !is_installed("openssl").await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shell(folder.path(), FLOWERS_OWN).await;
    let pkcs12 = "openssl pkcs12 -export -in server.pem -inkey server.key -out given -passout pass:";
    for (script, part) in [
        ("cp server.key given", "it has a private key"),
        ("cp server.csr given", "it has a request"),
        (": > given", "it is empty"),
        ("echo hello > given", "-----BEGIN CERTIFICATE-----"),
        ("openssl x509 -in ca.pem -outform der -out given", "it is in DER: "),
        ("openssl x509 -in ca.pem -trustout -out given", "OpenSSL's own form of one: "),
        ("openssl crl2pkcs7 -nocrl -certfile ca.pem -out given", "it is in PKCS#7: "),
        (pkcs12, "if that is PKCS#12: "),
    ] {
        shell(folder.path(), script).await;
        let told = mistake(&folder, "given").await.expect(part);
        assert!(told.contains(part), "{part} is not in: {told}");
        if let Some((_, command)) = told.split_once(": openssl ") {
            let silent = if script == pkcs12 { " -passin pass:" } else { "" };
            shell(folder.path(), &format!("openssl {}{silent}", command.lines().next().unwrap())).await;
            assert_eq!(mistake(&folder, "given.pem").await, None, "{command}");
        }
    }
}

/// What a funnel is told of its `superlink_ca`; `None` if it starts.
async fn mistake(folder: &TempDir, ca: &str) -> Option<String> {
    let exposed = Exposed::new()
        .superlink_ca(folder.path().join(ca))
        .upstream(Api::Fleet, "https://127.0.0.1:1".parse().unwrap());
    let config = super::support::loopback().expose(exposed).build().unwrap();
    match flower_iroh_funnel::Funnel::new(config).await {
        Ok(funnel) => {
            funnel.close().await;
            None
        }
        Err(error) => {
            assert!(error.is_mistake(), "{error}");
            Some(error.to_string())
        }
    }
}

async fn assert_is_taken(command: &str, echo: &Upstream) {
    let folder = tempfile::tempdir().unwrap();
    shell(folder.path(), command).await;
    std::fs::copy(folder.path().join("server.pem"), folder.path().join("ca.pem")).unwrap();
    let front = front(folder.path(), echo).await;
    assert_eq!(call_by(folder.path(), front.addr.port()).await, None, "{command}");
}

fn last_line(script: &str) -> &str {
    script.lines().last().unwrap()
}

/// Signs the certificate again, for a day that is over.
fn expired() -> &'static str {
    "openssl x509 -in server.pem -signkey server.key -days -1 -out again; mv again server.pem"
}
