//! The Fleet API of a SuperLink in Rust: tonic's Fleet service over iroh, called by real SuperNodes of both wires through
//! an outbound funnel.

use std::{collections::HashMap, error::Error, net::SocketAddr, sync::Mutex, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{
    ALPN, Api, FlowerHttpLayer, Funnel, FunnelConfig, PeerConfig, RelayMode,
    proto::{
        fleet_server::{Fleet, FleetServer},
        *,
    },
    transport::{IrohIncoming, PeerInfo},
};
use iroh::{Endpoint, EndpointAddr, endpoint::presets};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use crate::{
    flower::{self, SuperNode},
    real_flower::{flower_venv, in_turn},
    versions::{V1_39, V1_42},
};

/// Longer than a SuperNode needs to start on a busy machine.
const NODE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a SuperNode polls before it is stopped.
const PULLS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn supernodes_of_both_wires_reach_a_fleet_service_in_rust() -> Result<(), flower::Error> {
    in_turn(async { reach_a_fleet_service().await.map_err(|error| flower::Error::new(error.to_string())) }).await
}

async fn reach_a_fleet_service() -> Result<(), Box<dyn Error>> {
    let endpoint = loopback_endpoint().await?;
    let (superlink, mut calls) = SuperLink::new();
    let server = tonic::transport::Server::builder()
        .layer(FlowerHttpLayer::new([Api::Fleet]))
        .add_service(FleetServer::new(superlink))
        .serve_with_incoming(IrohIncoming::new(endpoint.clone(), ALPN));
    let _server = AbortOnDropHandle::new(tokio::spawn(server));
    let (funnel, dial) = outbound(endpoint.addr()).await?;
    for version in [V1_39, V1_42] {
        let Some(venv) = flower_venv(version).await? else { return Ok(()) };
        let mut node = SuperNode::start(&venv, dial, 0, 1)?;
        let seen = tokio::time::timeout(NODE_TIMEOUT, polling(&mut calls, funnel.endpoint_id())).await;
        let id = seen.map_err(|_| node.explain(flower::Error::new(format!("{version} does not poll"))))?;
        assert_eq!(node.registered().await?, id.to_string());
        node.stop().await?;
        let left = tokio::time::timeout(NODE_TIMEOUT, leaving(&mut calls)).await;
        assert_eq!(left?, id, "{version}");
    }
    funnel.close().await;
    Ok(())
}

/// Waits until a node has registered, activated and polled, all through `funnel`.
async fn polling(calls: &mut mpsc::UnboundedReceiver<Call>, funnel: iroh::EndpointId) -> u64 {
    let (mut seen, mut pulls) = (HashMap::new(), 0);
    while let Some(call) = calls.recv().await {
        assert_eq!(call.peer, Some(funnel));
        seen.insert(call.method, call.node);
        pulls += usize::from(call.method == "PullMessages");
        if pulls >= PULLS {
            let ids: Vec<_> = ["RegisterNode", "ActivateNode", "PullMessages"].map(|method| seen.get(method)).into();
            assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]), "{seen:?}");
            return call.node;
        }
    }
    panic!("the service has ended");
}

/// Waits until a node unregisters.
async fn leaving(calls: &mut mpsc::UnboundedReceiver<Call>) -> u64 {
    while let Some(call) = calls.recv().await {
        if call.method == "UnregisterNode" {
            return call.node;
        }
    }
    panic!("the service has ended");
}

async fn loopback_endpoint() -> Result<Endpoint, Box<dyn Error>> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).clear_ip_transports();
    Ok(builder.alpns(vec![ALPN.to_vec()]).bind_addr("127.0.0.1:0")?.bind().await?)
}

/// An outbound funnel that serves as long as the test runs.
async fn outbound(superlink: EndpointAddr) -> Result<(Funnel, SocketAddr), Box<dyn Error>> {
    let config = FunnelConfig::builder()
        .relay_mode(RelayMode::Disabled)
        .bind_addr("127.0.0.1:0".parse()?)
        .flower_grpc_addr("127.0.0.1:0".parse()?)
        .peer(PeerConfig::new(superlink));
    let funnel = Funnel::new(config.build()?).await?;
    let serving = funnel.clone();
    tokio::spawn(async move { serving.serve().await });
    let dial = funnel.local_addrs()[0];
    Ok((funnel, dial))
}

/// A call that the service received.
#[derive(Debug)]
struct Call {
    method: &'static str,
    node: u64,
    peer: Option<iroh::EndpointId>,
}

/// Knows its nodes and has no messages for them.
struct SuperLink {
    /// Public keys in the order of their ids.
    nodes: Mutex<Vec<Bytes>>,
    calls: mpsc::UnboundedSender<Call>,
}

impl SuperLink {
    fn new() -> (Self, mpsc::UnboundedReceiver<Call>) {
        let (sender, calls) = mpsc::unbounded_channel();
        (Self { nodes: Mutex::default(), calls: sender }, calls)
    }

    fn note<T>(&self, method: &'static str, node: u64, request: &Request<T>) {
        let peer = request.extensions().get::<PeerInfo>().map(|peer| peer.id);
        // The test may have seen enough.
        let _ = self.calls.send(Call { method, node, peer });
    }

    /// The id of a key, a new one for a new key.
    fn id(&self, key: &Bytes) -> u64 {
        let mut nodes = self.nodes.lock().unwrap();
        let known = nodes.iter().position(|node| node == key);
        let index = known.unwrap_or_else(|| {
            nodes.push(key.clone());
            nodes.len() - 1
        });
        index as u64 + 1
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn nothing<T>() -> Answer<T> {
    Err(Status::permission_denied("there is no run"))
}

#[tonic::async_trait]
impl Fleet for SuperLink {
    async fn register_node(&self, request: Request<RegisterNodeFleetRequest>) -> Answer<RegisterNodeFleetResponse> {
        let node_id = self.id(&request.get_ref().public_key);
        self.note("RegisterNode", node_id, &request);
        Ok(Response::new(RegisterNodeFleetResponse { node_id }))
    }

    async fn activate_node(&self, request: Request<ActivateNodeRequest>) -> Answer<ActivateNodeResponse> {
        let node_id = self.id(&request.get_ref().public_key);
        self.note("ActivateNode", node_id, &request);
        Ok(Response::new(ActivateNodeResponse { node_id }))
    }

    async fn deactivate_node(&self, request: Request<DeactivateNodeRequest>) -> Answer<DeactivateNodeResponse> {
        self.note("DeactivateNode", request.get_ref().node_id, &request);
        Ok(Response::new(Default::default()))
    }

    async fn unregister_node(
        &self,
        request: Request<UnregisterNodeFleetRequest>,
    ) -> Answer<UnregisterNodeFleetResponse> {
        self.note("UnregisterNode", request.get_ref().node_id, &request);
        Ok(Response::new(Default::default()))
    }

    async fn send_node_heartbeat(
        &self,
        _request: Request<SendNodeHeartbeatRequest>,
    ) -> Answer<SendNodeHeartbeatResponse> {
        Ok(Response::new(SendNodeHeartbeatResponse { success: true }))
    }

    async fn pull_messages(&self, request: Request<PullMessagesRequest>) -> Answer<PullMessagesResponse> {
        let node = request.get_ref().node.as_ref().map_or(0, |node| node.node_id);
        self.note("PullMessages", node, &request);
        Ok(Response::new(Default::default()))
    }

    async fn push_messages(&self, _request: Request<PushMessagesRequest>) -> Answer<PushMessagesResponse> {
        nothing()
    }

    async fn get_run(&self, _request: Request<GetRunRequest>) -> Answer<GetRunResponse> {
        nothing()
    }

    async fn get_fab(&self, _request: Request<GetFabRequest>) -> Answer<GetFabResponse> {
        nothing()
    }

    async fn push_object(&self, _request: Request<PushObjectRequest>) -> Answer<PushObjectResponse> {
        nothing()
    }

    async fn pull_object(&self, _request: Request<PullObjectRequest>) -> Answer<PullObjectResponse> {
        nothing()
    }

    async fn confirm_message_received(
        &self,
        _request: Request<ConfirmMessageReceivedRequest>,
    ) -> Answer<ConfirmMessageReceivedResponse> {
        nothing()
    }
}
