//! Upstreams whose process does not read for a while, and upstreams whose host is dead.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use flower_iroh_funnel::{Api, Exposed};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::support::{Body, LocalClient, Pair, Upstream, grpc_call, guarded, http_call};

/// More than all buffers on the way hold before the process that reads.
const UPLOAD: usize = 24 << 20;
/// The part that is read before the process stands still.
const READ_BEFORE: usize = 1 << 20;
/// Past every limit for unacknowledged data that there is: 10 s.
const STANDSTILL: Duration = Duration::from_secs(26);

/// In front of an upstream: each connection with an upload is not read for a while in the middle.
struct Sleepy {
    addr: SocketAddr,
    slept: Arc<AtomicBool>,
    _serving: AbortOnDropHandle<()>,
}

impl Sleepy {
    async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, slept) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let serving = tokio::spawn({
            let slept = Arc::clone(&slept);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    connections.spawn(forward(socket, upstream, Arc::clone(&slept)));
                }
            }
        });
        Self { addr, slept, _serving: AbortOnDropHandle::new(serving) }
    }
}

async fn forward(socket: TcpStream, upstream: SocketAddr, slept: Arc<AtomicBool>) {
    let onward = TcpStream::connect(upstream).await.unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (socket.into_split(), onward.into_split());
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let (mut read, mut buffer) = (0, vec![0; 64 << 10]);
    while let Ok(length) = from_client.read(&mut buffer).await {
        if length == 0 || to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
        let before = read;
        read += length;
        if before < READ_BEFORE && read >= READ_BEFORE {
            sleep(STANDSTILL).await;
            slept.store(true, SeqCst);
        }
    }
    drop(to_server);
    let _ = answers.await;
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_outlasts_an_upstream_that_does_not_read_for_26_s_in_both_wires() {
    guarded(async {
        let model = vec![7; UPLOAD];
        let uploads = [
            (LocalClient::http as fn(_) -> _, "http", http_call("/v1/fleet/push-object", model.clone())),
            (LocalClient::grpc, "grpc", grpc_call("/flwr.proto.Fleet/PushObject", framed(&model))),
        ];
        let uploads = uploads.map(|(client, wire, call)| tokio::spawn(upload(client, wire, call)));
        for upload in uploads {
            upload.await.unwrap();
        }
    })
    .await;
}

async fn upload(client: fn(SocketAddr) -> LocalClient, wire: &str, call: http::Request<Body>) {
    let echo = Upstream::echo().await;
    let sleepy = Sleepy::start(echo.addr).await;
    let url = format!("{wire}://{}", sleepy.addr).parse().unwrap();
    let pair = Pair::start(Exposed::new().upstream(Api::Fleet, url), &[Api::Fleet]).await;
    let sent = call.size_hint_exact();
    let response = client(pair.dial).send(call).await.unwrap();
    assert_eq!(response.status(), 200, "{wire}");
    let received = response.into_body().collect().await.unwrap();
    if let Some(trailers) = received.trailers() {
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    }
    assert_eq!(received.to_bytes().len() as u64, sent, "{wire}");
    assert!(sleepy.slept.load(SeqCst), "{wire}: the upstream never stood still");
    pair.stop().await;
}

trait SizeHint {
    fn size_hint_exact(&self) -> u64;
}

impl SizeHint for http::Request<Body> {
    fn size_hint_exact(&self) -> u64 {
        use http_body::Body as _;
        self.body().size_hint().exact().unwrap()
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_superlink_whose_host_is_dead_is_noticed_in_the_middle_of_an_upload() {
    use patchbay::Lab;
    use tokio::process::Command;

    use super::{
        namespaces::{available, on},
        support::piecewise,
    };

    if !available() {
        return;
    }
    guarded(async {
        let lab = Lab::builder().allow_real_root().build().await.unwrap();
        let router = lab.add_router("router").build().await.unwrap();
        let superlink = lab.add_device("superlink").iface("eth0", router.id()).build().await.unwrap();
        let site = lab.add_device("site").iface("eth0", router.id()).build().await.unwrap();
        let addr = SocketAddr::from((superlink.ip().unwrap(), 9092));
        let _upstream =
            on(&superlink, async move { Upstream::on(TcpListener::bind(addr).await.unwrap(), super::support::echo) })
                .await;
        let (cut, is_cut) = tokio::sync::oneshot::channel();
        let calling = tokio::spawn({
            let site = site.clone();
            async move {
                on(&site, async move {
                    let url = format!("http://{addr}").parse().unwrap();
                    let pair = Pair::start(Exposed::new().upstream(Api::Fleet, url), &[Api::Fleet]).await;
                    let client = LocalClient::http(pair.dial);
                    let honest = client.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
                    assert_eq!(honest.status(), 200);
                    let (pieces, body) = piecewise();
                    let call = http_call("/v1/fleet/push-object", "").map(|_| body);
                    pieces.send(Ok(http_body::Frame::data(vec![1; 1 << 20].into()))).await.unwrap();
                    let mut response = client.send(call).await.unwrap();
                    assert_eq!(response.status(), 200);
                    // The upstream has the beginning, and echoes it.
                    response.body_mut().frame().await.unwrap().unwrap();
                    cut.send(()).unwrap();
                    let started = std::time::Instant::now();
                    let writing = async {
                        while pieces.send(Ok(http_body::Frame::data(vec![1; 1 << 20].into()))).await.is_ok() {}
                    };
                    let reading = async { while let Some(Ok(_)) = response.body_mut().frame().await {} };
                    tokio::join!(writing, reading);
                    let noticed = started.elapsed();
                    pair.stop().await;
                    noticed
                })
                .await
            }
        });
        is_cut.await.unwrap();
        let mut drop_all = Command::new("nft");
        drop_all.arg(
            "add table inet dead; add chain inet dead input { type filter hook input priority 0; policy drop; }; \
             add chain inet dead output { type filter hook output priority 0; policy drop; }",
        );
        assert!(superlink.spawn_command(drop_all).unwrap().wait().await.unwrap().success());
        let noticed = calling.await.unwrap();
        assert!(noticed < Duration::from_secs(40), "{noticed:?}");
    })
    .await;
}
