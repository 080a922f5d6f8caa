//! TLS on the local port and towards upstreams: what passes, and how everything else ends.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc};

use flower_iroh_funnel::{Api, Exposed, Funnel, SecretKey, Upstream as Address, identity};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::{self, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    certificates::{Ca, Certificate, LOCAL_NAMES},
    secure::{Front, connect, roots, send},
    support::{Body, LocalClient, Pair, Upstream, detail, grpc_call, guarded, http_call, loopback},
};

const HTTP_PATH: &str = "/v1/fleet/pull-messages";
const GRPC_PATH: &str = "/flwr.proto.Fleet/PullMessages";
const FRAME: &[u8] = b"\0\0\0\0\x01x";

/// A folder with the CA's certificate in `ca.pem`.
fn folder_with(ca: &Ca) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    folder
}

fn exposed(folder: &TempDir, upstreams: &[String]) -> Exposed {
    let exposed = Exposed::new().superlink_ca(folder.path().join("ca.pem"));
    let parse = |url: &String| url.parse::<Address>().unwrap();
    upstreams.iter().map(parse).fold(exposed, |exposed, upstream| exposed.upstream(Api::Fleet, upstream))
}

/// A pair whose local port speaks TLS, and its CA.
async fn pair_with_local_tls(folder: &TempDir, exposed: Exposed) -> (Pair, RootCertStore) {
    let key_file = folder.path().join("secret.key");
    let key = identity::load_or_create(&key_file).unwrap();
    let outbound = loopback().key_file(key_file).local_tls();
    let pair = Pair::between(loopback(), outbound, key, exposed, &[Api::Fleet]).await;
    (pair, roots(&std::fs::read(folder.path().join("secret.ca.pem")).unwrap()))
}

async fn body(response: Response<Incoming>) -> Vec<u8> {
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes().into()
}

#[tokio::test]
async fn calls_of_both_wires_pass_with_tls_on_both_sides() {
    guarded(async {
        let (ca, echo) = (Ca::new(), Upstream::echo().await);
        let front = Front::start(&ca.sign(&LOCAL_NAMES), echo.addr).await;
        let folder = folder_with(&ca);
        let urls = [format!("https://{}", front.addr), format!("grpcs://localhost:{}", front.addr.port())];
        let (pair, roots) = pair_with_local_tls(&folder, exposed(&folder, &urls)).await;
        for name in ["127.0.0.1", "localhost"] {
            let stream = connect(pair.dial, roots.clone(), name, b"h2").await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            assert_eq!(body(send(stream, grpc_call(GRPC_PATH, FRAME)).await).await, FRAME);
            let stream = connect(pair.dial, roots.clone(), name, b"http/1.1").await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(body(send(stream, http_call(HTTP_PATH, "x")).await).await, b"x");
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn health_is_asked_over_tls_and_a_name_without_a_scheme_stands_for_it_where_a_ca_is_named() {
    guarded(async {
        let (ca, echo) = (Ca::new(), Upstream::echo().await);
        let front = Front::start(&ca.sign(&LOCAL_NAMES), echo.addr).await;
        let folder = folder_with(&ca);
        let plain = Exposed::new().superlink_ca(folder.path().join("ca.pem"));
        let candidates = Address::candidates(&front.addr.to_string(), plain.default_security()).unwrap();
        let exposed = candidates.into_iter().fold(plain, Exposed::superlink);
        let pair = Pair::start(exposed, &[Api::Fleet]).await;
        let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
        assert_eq!(body(response).await, b"x");
        let health = Request::get("/health").body(Body::default()).unwrap();
        let response = LocalClient::http(pair.dial).send(health).await.unwrap();
        assert_eq!(response.headers()["x-path"], "/health");
        pair.stop().await;
    })
    .await;
}

/// What a call is told when the upstream's certificate, or the upstream, is not as it should be.
async fn refused(certificate: &Certificate, ca: &Ca, url: impl Fn(SocketAddr) -> String) -> String {
    let echo = Upstream::echo().await;
    let front = Front::start(certificate, echo.addr).await;
    let folder = folder_with(ca);
    let pair = Pair::start(exposed(&folder, &[url(front.addr)]), &[Api::Fleet]).await;
    let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let detail = detail(response).await;
    pair.stop().await;
    detail
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_right_gets_no_call_and_the_reason_says_what_to_do() {
    guarded(async {
        let (ca, other) = (Ca::new(), Ca::new());
        let good = ca.sign(&LOCAL_NAMES);
        let expired = ca.sign_until(&LOCAL_NAMES, OffsetDateTime::now_utc() - Duration::hours(1));
        let elsewhere = ca.sign(&["superlink.example"]);
        let https = |addr: SocketAddr| format!("https://{addr}");
        for (certificate, ca, part) in [
            (&good, &other, "did not sign its certificate; give the one that did with --superlink-ca"),
            (&expired, &ca, "its certificate has expired"),
            (&elsewhere, &ca, "its certificate is for other names"),
        ] {
            let told = refused(certificate, ca, https).await;
            assert!(told.contains(part) && told.contains("no TLS with the upstream at https://"), "{told}");
        }
        let told = refused(&good, &other, |addr| format!("grpcs://{addr}")).await;
        assert!(told.contains("--superlink-ca"), "{told}");
    })
    .await;
}

/// Shows a certificate, and signs with whatever key it has.
#[derive(Debug)]
struct Forger(Arc<CertifiedKey>);

impl ResolvesServerCert for Forger {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_server_that_has_the_certificate_and_not_its_key_is_refused() {
    guarded(async {
        let (ca, echo) = (Ca::new(), Upstream::echo().await);
        let (good, other) = (ca.sign(&LOCAL_NAMES), ca.sign(&LOCAL_NAMES));
        let folder = tempfile::tempdir().unwrap();
        // The certificate itself is given, and its CA is not.
        std::fs::write(folder.path().join("ca.pem"), &good.certificate).unwrap();
        for (key, expected) in [(&good.key, StatusCode::OK), (&other.key, StatusCode::SERVICE_UNAVAILABLE)] {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(good.certificate.as_bytes()).unwrap()];
            let forger = Forger(Arc::new(CertifiedKey::new(chain, any_supported_type(&key).unwrap())));
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(forger));
            let front = Front::with_config(config, echo.addr).await;
            let pair = Pair::start(exposed(&folder, &[format!("https://{}", front.addr)]), &[Api::Fleet]).await;
            let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
            assert_eq!(response.status(), expected);
            if expected != StatusCode::OK {
                let told = detail(response).await;
                assert!(told.contains("BadSignature"), "{told}");
            }
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_should_speak_tls_and_does_not_hears_nothing_in_the_open() {
    guarded(async {
        let folder = folder_with(&Ca::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (first, mut heard) = mpsc::unbounded_channel();
        let _upstream = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                // A funnel that stops breaks off its look.
                let Ok(byte) = socket.read_u8().await else { continue };
                let _ = first.send(byte);
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        }));
        let pair = Pair::start(exposed(&folder, &[url]), &[Api::Fleet]).await;
        let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
        let told = detail(response).await;
        assert!(told.contains("it does not speak TLS"), "{told}");
        // A funnel's look, and the call: each begins with the type of a record that belongs to TLS's handshake.
        for _ in 0..2 {
            assert_eq!(heard.recv().await, Some(22));
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_never_answers_the_handshake_costs_a_call_a_bounded_time() {
    guarded(async {
        let folder = folder_with(&Ca::new());
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", silent.local_addr().unwrap());
        let pair = Pair::start(exposed(&folder, &[url]), &[Api::Fleet]).await;
        let response = LocalClient::http(pair.dial).send(http_call(HTTP_PATH, "x")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let told = detail(response).await;
        assert!(told.contains("no connection within 5s, for its name, TCP and TLS"), "{told}");
        pair.stop().await;
    })
    .await;
}

/// A port with TLS, beside which a call goes on.
async fn local_port() -> (TempDir, Pair, RootCertStore, Upstream) {
    let echo = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let (pair, roots) = pair_with_local_tls(&folder, echo.both_wires()).await;
    (folder, pair, roots, echo)
}

async fn still_works(pair: &Pair, roots: RootCertStore) {
    let stream = connect(pair.dial, roots, "127.0.0.1", b"http/1.1").await.unwrap();
    assert_eq!(body(send(stream, http_call(HTTP_PATH, "x")).await).await, b"x");
}

#[tokio::test]
async fn a_client_without_tls_is_cut_off_and_others_go_on() {
    guarded(async {
        let (_folder, pair, roots, _echo) = local_port().await;
        for hello in
            [&b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let mut socket = TcpStream::connect(pair.dial).await.unwrap();
            socket.write_all(hello).await.unwrap();
            let mut answer = Vec::new();
            // Reset or closed, it ends.
            let _ = socket.read_to_end(&mut answer).await;
            // At most an alert of TLS, and nothing of HTTP.
            assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        }
        still_works(&pair, roots).await;
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_connects_and_never_says_hello_is_reset_and_so_is_one_that_says_half_of_it() {
    guarded(async {
        let (_folder, pair, roots, _echo) = local_port().await;
        let mut silent = TcpStream::connect(pair.dial).await.unwrap();
        let mut half = TcpStream::connect(pair.dial).await.unwrap();
        half.write_all(&[22, 3, 1]).await.unwrap();
        still_works(&pair, roots).await;
        let (mut first, mut second) = ([0], [0]);
        let (silent, half) = tokio::join!(silent.read(&mut first), half.read(&mut second));
        assert_eq!([silent, half].map(|end| end.unwrap_err().kind()), [ErrorKind::ConnectionReset; 2]);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_funnel_that_stops_resets_a_client_in_the_handshake() {
    guarded(async {
        let (_folder, pair, roots, _echo) = local_port().await;
        let mut half = TcpStream::connect(pair.dial).await.unwrap();
        half.write_all(&[22, 3, 1]).await.unwrap();
        // It is accepted when a later one is served.
        still_works(&pair, roots).await;
        pair.stop().await;
        assert_eq!(half.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_trusts_another_ca_or_dials_another_name_refuses_the_port() {
    guarded(async {
        let (_folder, pair, roots, _echo) = local_port().await;
        let other = self::roots(Ca::new().pem().as_bytes());
        let refused = connect(pair.dial, other, "127.0.0.1", b"h2").await.unwrap_err().to_string();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
        let refused = connect(pair.dial, roots.clone(), "superlink.example", b"h2").await.unwrap_err().to_string();
        assert!(refused.contains("not valid for name"), "{refused}");
        still_works(&pair, roots).await;
        pair.stop().await;
    })
    .await;
}

#[test]
fn tls_without_a_ca_and_a_ca_without_tls_are_mistakes() {
    let folder = folder_with(&Ca::new());
    let ca = folder.path().join("ca.pem");
    let allowed = |exposed: Exposed| exposed.allow(SecretKey::generate().public(), [Api::Fleet]);
    for (exposed, part) in [
        (Exposed::new().superlink("https://127.0.0.1:1".parse().unwrap()), "name the CA that signed its certificate"),
        (Exposed::new().superlink_ca(&ca).superlink("http://127.0.0.1:1".parse().unwrap()), "no upstream speaks TLS"),
        (Exposed::new().local_superlink().superlink_ca(&ca), "no upstream speaks TLS"),
    ] {
        let error = loopback().expose(allowed(exposed)).build().unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = loopback().local_tls().build().unwrap_err().to_string();
    assert!(error.contains("no key file is named"), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_reported_together_when_the_funnel_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = |name: &str| folder.path().join("missing").join(name);
    let exposed = Exposed::new().superlink_ca(missing("ca.pem")).local_superlink();
    let config = loopback().expose(exposed).relay_ca_file(missing("relay.pem")).build().unwrap();
    let error = Funnel::new(config).await.unwrap_err();
    assert!(!error.is_mistake(), "{error}");
    for part in
        ["2 files of this configuration", "superlink_ca: cannot use the CA file", "relay CA: cannot use the CA file"]
    {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(!folder.path().join("missing").exists());
}
