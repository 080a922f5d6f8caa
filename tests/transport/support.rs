//! Endpoints on loopback, a server that reports what happens to it, and a client.

use std::{
    fmt,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flower_iroh_funnel::transport::{
    Code, IncomingLimits, IrohConnector, IrohIncoming, IrohStream, LostLink, LostLinkLayer, PeerInfo, quic_config,
};
use futures_util::{Stream, StreamExt};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    address_lookup::memory::MemoryLookup,
    endpoint::{
        AfterHandshakeOutcome, BeforeConnectOutcome, Builder, Connection, ConnectionError, EndpointHooks,
        WeakConnectionHandle, presets,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, Server},
};
use tower::Layer;

use crate::hello::{
    Greeter,
    v1::{
        HelloReply, HelloRequest,
        hello_client::HelloClient,
        hello_server::{Hello, HelloServer},
    },
};

pub(crate) const ALPN: &[u8] = b"test/hello/1";
/// Ends a test that hangs. Nothing is measured with it.
const HANG: Duration = Duration::from_secs(300);

pub(crate) type Client = HelloClient<LostLink<Channel>>;

/// Runs a test on two workers.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(within(test))
}

/// Runs a test where it can stop the clock: on its own thread alone.
pub(crate) fn run_on_one_thread<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(within(test))
}

pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, test).await.expect("the test hangs")
}

/// An endpoint on loopback without relay and without any address lookup.
pub(crate) fn loopback() -> Builder {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).transport_config(quic_config());
    builder.clear_ip_transports().bind_addr("127.0.0.1:0").unwrap()
}

/// Sees every link of an endpoint, on either side, and pins none.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    links: mpsc::UnboundedSender<WeakConnectionHandle>,
    handshakes: Arc<AtomicUsize>,
    dials: Arc<AtomicUsize>,
}

impl Watch {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<WeakConnectionHandle>) {
        let (links, seen) = mpsc::unbounded_channel();
        (Self { links, handshakes: Arc::default(), dials: Arc::default() }, seen)
    }

    /// Handshakes that were completed.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// Dials that were begun.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl EndpointHooks for Watch {
    async fn before_connect<'a>(&'a self, _remote: &'a EndpointAddr, _alpn: &'a [u8]) -> BeforeConnectOutcome {
        self.dials.fetch_add(1, Ordering::SeqCst);
        BeforeConnectOutcome::Accept
    }

    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        self.handshakes.fetch_add(1, Ordering::SeqCst);
        let _ = self.links.send(connection.weak_handle());
        AfterHandshakeOutcome::accept()
    }
}

/// What happens inside a [`Probe`].
#[derive(Debug)]
pub(crate) enum Event {
    /// A call that will not end by itself reached its handler.
    Stuck(PeerInfo),
    /// The caller of such a call is gone, or its link.
    Dropped,
}

/// The hello service, with names that ask for something else than a greeting.
///
/// - `stuck`: the call pends; a stream does so after its first reply.
/// - `fail`: ends with [`Probe::failure`].
/// - `refuse`, in a bidi call: the call ends, whatever the client has yet to say.
/// - `peer`: the greeting is what the handler knows about its caller.
/// - `metadata`: the request's metadata come back in the response's.
#[derive(Clone)]
pub(crate) struct Probe {
    events: mpsc::UnboundedSender<Event>,
}

type Replies = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

impl Probe {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, seen) = mpsc::unbounded_channel();
        (Self { events }, seen)
    }

    fn stuck(&self, request: &Request<HelloRequest>) -> Stuck {
        let peer = request.extensions().get::<PeerInfo>().expect("every request knows its peer").clone();
        let _ = self.events.send(Event::Stuck(peer));
        Stuck(self.events.clone())
    }

    /// A status with everything a trailer may carry.
    pub(crate) fn failure() -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert("reason", "asked for".parse().unwrap());
        metadata.insert_bin("reason-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 159, 255]));
        Status::with_details_and_metadata(
            tonic::Code::FailedPrecondition,
            "it shall fail",
            vec![1, 2, 3].into(),
            metadata,
        )
    }
}

struct Stuck(mpsc::UnboundedSender<Event>);

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Dropped);
    }
}

fn describe(request: &Request<HelloRequest>) -> HelloReply {
    let peer = request.extensions().get::<PeerInfo>().expect("every request knows its peer");
    let path = peer.path.as_ref().map(ToString::to_string).unwrap_or_default();
    HelloReply { greeting: format!("{}|{}|{path}", peer.id, String::from_utf8_lossy(&peer.alpn)), ..Default::default() }
}

#[tonic::async_trait]
impl Hello for Probe {
    async fn unary(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        match request.get_ref().name.as_str() {
            "stuck" => {
                let _stuck = self.stuck(&request);
                pending().await
            }
            "fail" => Err(Self::failure()),
            "peer" => Ok(Response::new(describe(&request))),
            "metadata" => {
                let metadata = request.metadata().clone();
                let mut response = Greeter.unary(request).await?;
                *response.metadata_mut() = metadata;
                Ok(response)
            }
            _ => Greeter.unary(request).await,
        }
    }

    type ServerStreamStream = Replies;

    async fn server_stream(&self, request: Request<HelloRequest>) -> Result<Response<Replies>, Status> {
        let replies: Replies = match request.get_ref().name.as_str() {
            "stuck" => {
                let stuck = self.stuck(&request);
                let first = futures_util::stream::iter([Ok(HelloReply::default())]);
                let rest = futures_util::stream::once(async move {
                    let _stuck = stuck;
                    pending().await
                });
                Box::pin(first.chain(rest))
            }
            "fail" => Box::pin(futures_util::stream::iter([Ok(HelloReply::default()), Err(Self::failure())])),
            _ => return Greeter.server_stream(request).await,
        };
        Ok(Response::new(replies))
    }

    async fn client_stream(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<HelloReply>, Status> {
        Greeter.client_stream(request).await
    }

    type BidiStream = Replies;

    async fn bidi(&self, request: Request<Streaming<HelloRequest>>) -> Result<Response<Replies>, Status> {
        let replies = Greeter.bidi(request).await?.into_inner().map(|reply| match reply {
            Ok(reply) if reply.greeting == "Hello, refuse!" => Err(Status::resource_exhausted("no more")),
            other => other,
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// A [`Probe`] served over iroh.
pub(crate) struct TestServer {
    pub(crate) endpoint: Endpoint,
    pub(crate) watch: Watch,
    /// Links in the order of their handshakes.
    pub(crate) links: mpsc::UnboundedReceiver<WeakConnectionHandle>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(loopback(), IncomingLimits::default()).await
    }

    pub(crate) async fn with_key(key: SecretKey) -> Self {
        Self::with(loopback().secret_key(key), IncomingLimits::default()).await
    }

    pub(crate) async fn with(builder: Builder, limits: IncomingLimits) -> Self {
        let (watch, links) = Watch::new();
        let (probe, events) = Probe::new();
        let endpoint = builder.alpns(vec![ALPN.to_vec()]).hooks(watch.clone()).bind().await.unwrap();
        let incoming = IrohIncoming::with_limits(endpoint.clone(), ALPN, limits);
        let service =
            HelloServer::new(probe).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
        let (stop, stopped) = oneshot::channel();
        let serving =
            tokio::spawn(Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, async {
                let _ = stopped.await;
            }));
        Self { endpoint, watch, links, events, stop: Some(stop), serving }
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.endpoint.id()
    }

    pub(crate) fn addr(&self) -> EndpointAddr {
        self.endpoint.addr()
    }

    /// Waits until a call that does not end by itself has reached its handler.
    pub(crate) async fn stuck(&mut self) -> PeerInfo {
        match self.events.recv().await.unwrap() {
            Event::Stuck(peer) => peer,
            Event::Dropped => panic!("a call ended"),
        }
    }

    /// Waits until such a call has been dropped.
    pub(crate) async fn dropped(&mut self) {
        assert!(matches!(self.events.recv().await.unwrap(), Event::Dropped));
    }

    pub(crate) async fn close(self) {
        self.endpoint.close().await;
        self.serving.await.unwrap().unwrap();
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestServer({})", self.id().fmt_short())
    }
}

/// The client side: an endpoint, its connector, and how often it dialled.
pub(crate) struct TestClient {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: IrohConnector,
    pub(crate) watch: Watch,
    pub(crate) links: mpsc::UnboundedReceiver<WeakConnectionHandle>,
    pub(crate) lookup: MemoryLookup,
}

impl TestClient {
    pub(crate) async fn new() -> Self {
        Self::with(loopback(), ALPN).await
    }

    pub(crate) async fn knowing(server: &TestServer) -> Self {
        let client = Self::new().await;
        client.connector.add_peer(server.addr());
        client
    }

    pub(crate) async fn with(builder: Builder, alpn: &[u8]) -> Self {
        let (watch, links) = Watch::new();
        let lookup = MemoryLookup::new();
        let endpoint = builder.address_lookup(lookup.clone()).hooks(watch.clone()).bind().await.unwrap();
        Self { connector: IrohConnector::new(endpoint.clone(), alpn), endpoint, watch, links, lookup }
    }

    pub(crate) fn channel(&self, peer: EndpointId) -> Channel {
        target(peer).connect_with_connector_lazy(self.connector.clone())
    }

    pub(crate) fn hello(&self, peer: EndpointId) -> Client {
        hello(&self.connector, peer)
    }
}

pub(crate) fn hello(connector: &IrohConnector, peer: EndpointId) -> Client {
    let lost_link = LostLinkLayer::new();
    let channel = target(peer).connect_with_connector_lazy(connector.reporting_to(&lost_link));
    HelloClient::new(lost_link.layer(channel))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
}

pub(crate) fn target(peer: EndpointId) -> tonic::transport::Endpoint {
    tonic::transport::Endpoint::from_shared(format!("iroh://{peer}")).unwrap()
}

pub(crate) fn named(name: &str) -> HelloRequest {
    HelloRequest { name: name.to_owned(), ..Default::default() }
}

pub(crate) async fn greet(client: &mut Client) -> Result<String, Status> {
    Ok(client.unary(named("peer to peer")).await?.into_inner().greeting)
}

/// The first call after a link has died. hyper may not have noticed yet: it then fails, as unavailable and at once.
pub(crate) async fn greet_anew(client: &mut Client) {
    while let Err(status) = greet(client).await {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(!status.message().contains("cannot reach"), "{status:?}");
    }
}

/// A link between two endpoints, without gRPC: a stream's two ends and what keeps them alive.
pub(crate) struct Raw {
    pub(crate) client: TestClient,
    pub(crate) server: Endpoint,
    pub(crate) incoming: IrohIncoming,
    pub(crate) dialled: IrohStream,
    pub(crate) accepted: IrohStream,
}

impl Raw {
    pub(crate) async fn new(server: Builder, client: Builder) -> Self {
        let server = server.alpns(vec![ALPN.to_vec()]).bind().await.unwrap();
        let client = TestClient::with(client, ALPN).await;
        client.connector.add_peer(server.addr());
        let mut incoming = IrohIncoming::new(server.clone(), ALPN);
        let (dialled, accepted) = open(&client, server.id(), &mut incoming).await;
        Self { client, server, incoming, dialled, accepted }
    }

    /// Another stream on the same link.
    pub(crate) async fn open(&mut self) -> (IrohStream, IrohStream) {
        open(&self.client, self.server.id(), &mut self.incoming).await
    }

    /// The dialling side's connection, for its counters.
    pub(crate) async fn connection(&mut self) -> Connection {
        self.client.links.recv().await.unwrap().upgrade().unwrap()
    }

    pub(crate) async fn close(self) {
        self.client.endpoint.close().await;
        self.server.close().await;
    }
}

async fn open(client: &TestClient, peer: EndpointId, incoming: &mut IrohIncoming) -> (IrohStream, IrohStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut dialled = client.connector.open(peer).await.unwrap();
    // A stream is invisible to the peer before its first byte.
    dialled.write_all(b"!").await.unwrap();
    let Ok(mut accepted) = incoming.next().await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'!');
    (dialled, accepted)
}

/// Waits for a count that nobody announces.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// The code with which `error` says the peer closed the link.
pub(crate) fn close_code(error: &ConnectionError) -> Option<Code> {
    match error {
        ConnectionError::ApplicationClosed(close) => Code::from_wire(close.error_code),
        _ => None,
    }
}
