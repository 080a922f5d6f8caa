//! What a site that may call the Fleet API reaches of a SuperLink that has all its APIs on one port.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{ALPN, SecretKey};
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::time::sleep;

use crate::flower::{Context, Error, SuperLink};
use crate::funnel_process::FunnelProcess;
use crate::funnels::{LOOPBACK, strings};
use crate::raw_peer::RawPeer;
use crate::real_flower::in_turn;
use crate::versions::{V1_42, venvs};

/// Every path of Flower 1.20 to 1.42, taken from its packages.
const PATHS: &str = include_str!("../data/flower_methods.tsv");

/// Addresses for documentation (RFC 5737), which nobody has.
const CHOSEN: &str = "203.0.113.9";
const BELIEVED: &str = "203.0.113.8";

/// Between two looks at a log.
const LOOK: Duration = Duration::from_millis(20);

/// The APIs that the site may not call, by how their paths begin in each wire.
const SHUT: [&str; 7] = [
    "/v1/control/",
    "/v1/runtime/",
    "/flwr.proto.Control/",
    "/flwr.proto.Exec/",
    "/flwr.proto.Runtime/",
    "/flwr.proto.ServerAppIo/",
    "/flwr.proto.ClientAppIo/",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_fleet_alone_never_reaches_control_or_runtime_of_a_real_superlink() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_42]).await? else { return Ok(()) };
        let superlink = SuperLink::start(&venv).await?;
        let checked = check(&superlink).await;
        checked.map_err(|error| superlink.explain(error))?;
        superlink.stop().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_superlink_logs_no_client_address_that_a_site_has_chosen() -> Result<(), Error> {
    in_turn(async {
        let Some([venv]) = venvs([V1_42]).await? else { return Ok(()) };
        let superlink = SuperLink::start(&venv).await?;
        let checked = chooses_an_address(&superlink).await;
        checked.map_err(|error| superlink.explain(error))?;
        superlink.stop().await
    })
    .await
}

async fn chooses_an_address(superlink: &SuperLink) -> Result<(), Error> {
    let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
    let (site, ticket) = (SecretKey::generate(), dir.path().join("ticket"));
    let inbound = expose(superlink, &site, dir.path(), &ticket).await?;
    let text = std::fs::read_to_string(&ticket).context(|| "no ticket".into())?;
    let ticket: EndpointTicket = text.trim().parse().context(|| "no ticket".into())?;
    let hostile = RawPeer::new(site, ticket.into(), ALPN).await;
    let path = "/v1/fleet/pull-messages";
    let request = Request::post(path).header(CONTENT_TYPE, "application/protobuf").header("x-forwarded-for", CHOSEN);
    let request = request.body(Full::<Bytes>::default()).context(|| "no request".into())?;
    hostile.send(request).await.context(|| format!("{path} is not answered"))?;
    hostile.endpoint.close().await;
    inbound.stop().await.map_err(Error::new)?;

    // Without a funnel the SuperLink believes it.
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::get(format!("http://{}{path}", superlink.fleet().addr)).header("x-forwarded-for", BELIEVED);
    let request = request.body(Full::default()).context(|| "no request".into())?;
    client.request(request).await.context(|| "the SuperLink does not answer".into())?;
    while !superlink.logged()?.contains(BELIEVED) {
        sleep(LOOK).await;
    }
    let log = superlink.logged()?;
    match log.lines().find(|line| line.contains("POST") && line.contains(path)) {
        Some(line) if !log.contains(CHOSEN) && line.contains("127.0.0.1") => Ok(()),
        line => Err(Error::new(format!("the call is logged as {line:?}"))),
    }
}

async fn check(superlink: &SuperLink) -> Result<(), Error> {
    let dir = tempfile::tempdir().context(|| "no temporary directory".into())?;
    let (site, ticket) = (SecretKey::generate(), dir.path().join("ticket"));
    let inbound = expose(superlink, &site, dir.path(), &ticket).await?;
    serves_every_api_on_one_port(superlink).await?;
    let text = std::fs::read_to_string(&ticket).context(|| "no ticket".into())?;
    let ticket: EndpointTicket = text.trim().parse().context(|| "no ticket".into())?;
    let hostile = RawPeer::new(site, ticket.into(), ALPN).await;
    let shut = PATHS.lines().filter_map(|line| line.split('\t').next());
    let shut: Vec<_> = shut.filter(|path| SHUT.iter().any(|api| path.starts_with(api))).collect();
    for path in &shut {
        for content_type in ["application/protobuf", "application/grpc"] {
            is_refused(&hostile, path, content_type).await?;
        }
    }
    if shut.len() < 150 {
        return Err(Error::new(format!("only {} paths were tried", shut.len())));
    }
    is_let_through(&hostile, "/v1/fleet/pull-messages").await?;
    hostile.endpoint.close().await;
    inbound.stop().await.map_err(Error::new)?;
    reached_nothing_shut(superlink).await
}

async fn expose(superlink: &SuperLink, site: &SecretKey, dir: &Path, ticket: &Path) -> Result<FunnelProcess, Error> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (key, addr) = (text(&dir.join("secret.key")), superlink.fleet().addr.to_string());
    let site = site.public().to_string();
    let mut arguments = strings(["expose", "--superlink", &addr, "--allow", &site, "--key-file", &key]);
    arguments.extend(strings(["--ticket-file", &text(ticket)]));
    arguments.extend(strings(LOOPBACK));
    FunnelProcess::start(arguments).await.map_err(Error::new)
}

/// Asked for nothing with GET, a path that is there answers 405, and changes nothing.
async fn serves_every_api_on_one_port(superlink: &SuperLink) -> Result<(), Error> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for path in ["/v1/fleet/pull-messages", "/v1/control/list-runs", "/v1/runtime/pull-messages"] {
        let request = Request::get(format!("http://{}{path}", superlink.fleet().addr)).body(Full::default());
        let request = request.context(|| "no request".into())?;
        let answer = client.request(request).await.context(|| "the SuperLink does not answer".into())?;
        expect(answer.status(), StatusCode::METHOD_NOT_ALLOWED, path)?;
    }
    Ok(())
}

async fn is_refused(hostile: &RawPeer, path: &str, content_type: &str) -> Result<(), Error> {
    let answer = call(hostile, path, content_type).await?;
    match content_type {
        "application/grpc" if answer.headers().get("grpc-status").is_some_and(|status| status == "7") => Ok(()),
        _ => expect(answer.status(), StatusCode::FORBIDDEN, path),
    }
}

/// The SuperLink itself answers, whatever it thinks of an empty call.
async fn is_let_through(hostile: &RawPeer, path: &str) -> Result<(), Error> {
    let answer = call(hostile, path, "application/protobuf").await?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context(|| "the answer breaks".into())?.to_bytes();
    let said = String::from_utf8_lossy(&body);
    if status == StatusCode::SERVICE_UNAVAILABLE || said.contains("--allow") {
        return Err(Error::new(format!("{path} answered {status}: {said}")));
    }
    Ok(())
}

async fn call(
    hostile: &RawPeer,
    path: &str,
    content_type: &str,
) -> Result<http::Response<hyper::body::Incoming>, Error> {
    let request = Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, content_type);
    let request = request.body(Full::<Bytes>::default()).context(|| "no request".into())?;
    hostile.send(request).await.context(|| format!("{path} is not answered"))
}

/// The SuperLink logs each call that reaches it, in this order and perhaps late; GET is this test's own.
async fn reached_nothing_shut(superlink: &SuperLink) -> Result<(), Error> {
    // A file tells nobody that it grew.
    while !superlink.logged()?.contains("POST /v1/fleet/pull-messages") {
        sleep(LOOK).await;
    }
    let log = superlink.logged()?;
    let reached = log.lines().find(|line| line.contains("POST") && SHUT.iter().any(|api| line.contains(api)));
    reached.map_or(Ok(()), |line| Err(Error::new(format!("a call reached the SuperLink: {line}"))))
}

fn expect(status: StatusCode, expected: StatusCode, path: &str) -> Result<(), Error> {
    if status == expected { Ok(()) } else { Err(Error::new(format!("{path} answered {status}, not {expected}"))) }
}
