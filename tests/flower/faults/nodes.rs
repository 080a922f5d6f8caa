//! Nodes in Rust, each behind a funnel of its own, to which it speaks gRPC.

use std::net::SocketAddr;

use flower_iroh_funnel::node::{Node, NodeKey};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tonic::transport::{Channel, Endpoint};
use tracing::{Instrument, info_span};

use crate::{
    flower::{Context, Error},
    rust_supernode::Data,
};

pub(crate) struct RustNode {
    node: Node<Channel>,
    data: Data,
}

impl RustNode {
    pub(crate) async fn register(dial: SocketAddr, partition: usize) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{dial}")).context(|| format!("{dial} is no address"))?;
        let node = Node::builder(endpoint.connect_lazy(), NodeKey::generate()).register().await;
        let node = node.context(|| format!("the Rust node {partition} is not registered through {dial}"))?;
        Ok(Self { node, data: Data::new(partition as u64) })
    }

    pub(crate) fn id(&self) -> String {
        self.node.id().to_string()
    }

    async fn serve(&self) -> Error {
        let span = info_span!("node", id = self.id());
        let Err(error) = self.node.serve(async |message| self.data.answer(&message)).instrument(span).await;
        Error::new(format!("the Rust node {} ended: {error}", self.id()))
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        let id = self.id();
        self.node.close().await.context(|| format!("the Rust node {id} does not leave"))
    }
}

/// Lets all of them train, until one ends, which none should.
pub(crate) async fn serve(nodes: &[RustNode]) -> Error {
    let mut serving: FuturesUnordered<_> = nodes.iter().map(RustNode::serve).collect();
    match serving.next().await {
        Some(error) => error,
        None => std::future::pending().await,
    }
}
