//! A Flower node in Rust: trains beside Python's SuperNodes, directly over iroh, without a funnel of its own.
//!
//! cargo run --release --example rust_supernode -- <TICKET> [--partition N] [--key FILE]
//!     [--node-key FILE] [--relay default|off|URL]
//!
//! TICKET is the ticket that `flower-iroh-funnel expose` prints, or @FILE; --key FILE keeps the endpoint's id, so that it
//! can be allowed. --node-key FILE has a key that was registered with `flwr supernode register`; without it the node
//! registers with a new one, until Ctrl-C. The app is examples/flower_quickstart/app.

use std::error::Error;

use flower_iroh_funnel::{
    ALPN, Relay, RelayMode,
    address_lookup::parse_peer,
    identity,
    node::{Array, ArrayRecord, Message, MetricRecord, Node, NodeKey, RecordDict},
    transport::{IrohConnector, LostLink, LostLinkLayer, quic_config},
};
use iroh::{Endpoint, endpoint::presets};
use ndarray::{Array1, Array2, ArrayView1, Ix1, array};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tower::Layer;

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let supernode = SuperNode::start(Options::parse(std::env::args().skip(1))?).await?;
    println!("node {} is active; Ctrl-C ends it", supernode.node.id());
    tokio::select! {
        refused = supernode.serve() => refused?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    supernode.close().await
}

pub(crate) struct Options {
    pub(crate) ticket: String,
    pub(crate) partition: u64,
    pub(crate) key: Option<String>,
    pub(crate) node_key: Option<String>,
    pub(crate) relay: RelayMode,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let usage = "usage: rust_supernode <TICKET> [--partition N] [--key FILE] [--node-key FILE] [--relay RELAY]";
        let ticket = args.next().filter(|ticket| !ticket.starts_with('-')).ok_or(usage)?;
        let mut options = Self { ticket, partition: 0, key: None, node_key: None, relay: RelayMode::Default };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(usage)?;
            match name.as_str() {
                "--partition" => options.partition = value.parse()?,
                "--key" => options.key = Some(value),
                "--node-key" => options.node_key = Some(value),
                "--relay" => options.relay = Relay::mode(vec![value.parse()?])?,
                _ => return Err(usage.into()),
            }
        }
        Ok(options)
    }
}

pub(crate) struct SuperNode {
    endpoint: Endpoint,
    pub(crate) node: Node<LostLink<Channel>>,
    data: Data,
}

impl SuperNode {
    /// Dials the funnel and joins the SuperLink behind it.
    pub(crate) async fn start(options: Options) -> Result<Self, BoxError> {
        let superlink = parse_peer(&options.ticket)?;
        let mut builder = match options.relay {
            RelayMode::Default => Endpoint::builder(presets::N0),
            relay => Endpoint::builder(presets::Minimal).relay_mode(relay),
        };
        if let Some(file) = &options.key {
            builder = builder.secret_key(identity::load_or_create(file.as_ref())?);
        }
        let endpoint = builder.transport_config(quic_config()).bind().await?;
        println!("endpoint {}", endpoint.id());
        let connector = IrohConnector::new(endpoint.clone(), ALPN);
        connector.add_peer(superlink.addr().clone());
        let lost_link = LostLinkLayer::new();
        let channel = Channel::from_shared(format!("iroh://{}", superlink.addr().id))?
            .connect_with_connector_lazy(connector.reporting_to(&lost_link));
        let channel = lost_link.layer(channel);
        let node = match &options.node_key {
            Some(file) => Node::builder(channel, NodeKey::load(file)?).activate().await?,
            None => Node::builder(channel, NodeKey::generate()).register().await?,
        };
        Ok(Self { endpoint, node, data: Data::new(options.partition) })
    }

    pub(crate) async fn serve(&self) -> Result<(), BoxError> {
        match self.node.serve(async |message| self.data.answer(&message)).await? {}
    }

    pub(crate) async fn close(self) -> Result<(), BoxError> {
        let closed = self.node.close().await;
        self.endpoint.close().await;
        Ok(closed?)
    }
}

/// One part of the data: points on a plane that the model must find.
pub(crate) struct Data {
    partition: u64,
    x: Array2<f32>,
    y: Array1<f32>,
}

impl Data {
    pub(crate) fn new(partition: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(100 + partition);
        let x = Array2::from_shape_simple_fn((64, 4), || 4.0 * random.f32() - 2.0);
        let y = x.dot(&array![1.0, -2.0, 3.0, 0.5]);
        Self { partition, x, y }
    }

    pub(crate) fn answer(&self, message: &Message) -> Result<RecordDict, BoxError> {
        let arrays = message.content()?.arrays("arrays")?;
        let model = arrays.array("0")?.to_ndarray::<f32>()?.into_dimensionality::<Ix1>()?;
        match message.message_type() {
            "train" => Ok(self.train(model, arrays)?),
            "evaluate" => Ok(RecordDict::new().with("metrics", self.metrics(model.view()))),
            other => Err(format!("this node trains and evaluates; it does not support {other:?}").into()),
        }
    }

    /// Twenty steps of gradient descent. The payload, which proves that nothing is lost, grows by one.
    fn train(&self, mut model: Array1<f32>, arrays: &ArrayRecord) -> Result<RecordDict, BoxError> {
        let payload = arrays.array("1")?.to_ndarray::<f32>()?;
        let hash = Sha256::digest(payload.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        let hash = hash[..6].iter().fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
        for _ in 0..20 {
            model -= &(self.x.t().dot(&(self.x.dot(&model) - &self.y)) * (0.05 * 2.0 / self.x.nrows() as f32));
        }
        let metrics = self.metrics(model.view()).with("partition-id", self.partition).with("payload-in-sha", hash);
        let arrays = ArrayRecord::from_arrays([Array::from_ndarray(&model), Array::from_ndarray(&(payload + 1.0))]);
        Ok(RecordDict::new().with("arrays", arrays).with("metrics", metrics))
    }

    fn metrics(&self, model: ArrayView1<f32>) -> MetricRecord {
        let loss = (self.x.dot(&model) - &self.y).mapv(|error| error * error).mean().unwrap_or_default();
        MetricRecord::new().with("num-examples", self.x.nrows()).with("loss", loss)
    }
}
