//! A Fleet API that offers a node its own last reply as the next message, and keeps the objects.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use flower_iroh_funnel::proto::{
    ActivateNodeRequest, ActivateNodeResponse, ConfirmMessageReceivedRequest, ConfirmMessageReceivedResponse,
    DeactivateNodeRequest, DeactivateNodeResponse, GetFabRequest, GetFabResponse, GetRunRequest, GetRunResponse,
    Message, Metadata, ObjectTree, PullMessagesRequest, PullMessagesResponse, PullObjectRequest, PullObjectResponse,
    PushMessagesRequest, PushMessagesResponse, PushObjectRequest, PushObjectResponse, RegisterNodeFleetRequest,
    RegisterNodeFleetResponse, Run, SendNodeHeartbeatRequest, SendNodeHeartbeatResponse, UnregisterNodeFleetRequest,
    UnregisterNodeFleetResponse,
    fleet_server::{self, FleetServer},
};
use tonic::{Request, Response, Status};

pub(crate) const RUN: u64 = 11;
/// More than any message here.
pub(crate) const MAX_CALL_SIZE: usize = 64 << 20;

const NODE: u64 = 1;
/// In the year 2100 a message is still not too late.
const TTL: f64 = 5e9;

#[derive(Default)]
pub(crate) struct Fleet {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of what the last reply is made; the first message carries nothing.
    tree: Option<ObjectTree>,
    objects: HashMap<String, Bytes>,
}

pub(crate) fn server() -> FleetServer<Fleet> {
    FleetServer::new(Fleet::default()).max_decoding_message_size(MAX_CALL_SIZE)
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

fn collect(tree: &ObjectTree, ids: &mut Vec<String>) {
    ids.push(tree.object_id.clone());
    tree.children.iter().for_each(|child| collect(child, ids));
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl fleet_server::Fleet for Fleet {
    async fn register_node(&self, _: Request<RegisterNodeFleetRequest>) -> Answer<RegisterNodeFleetResponse> {
        Ok(Response::new(RegisterNodeFleetResponse { node_id: NODE }))
    }

    async fn activate_node(&self, _: Request<ActivateNodeRequest>) -> Answer<ActivateNodeResponse> {
        Ok(Response::new(ActivateNodeResponse { node_id: NODE }))
    }

    async fn deactivate_node(&self, _: Request<DeactivateNodeRequest>) -> Answer<DeactivateNodeResponse> {
        Ok(Response::new(DeactivateNodeResponse {}))
    }

    async fn unregister_node(&self, _: Request<UnregisterNodeFleetRequest>) -> Answer<UnregisterNodeFleetResponse> {
        Ok(Response::new(UnregisterNodeFleetResponse {}))
    }

    async fn send_node_heartbeat(&self, _: Request<SendNodeHeartbeatRequest>) -> Answer<SendNodeHeartbeatResponse> {
        Ok(Response::new(SendNodeHeartbeatResponse { success: true }))
    }

    async fn pull_messages(&self, _: Request<PullMessagesRequest>) -> Answer<PullMessagesResponse> {
        let metadata = Metadata {
            run_id: RUN,
            dst_node_id: NODE,
            ttl: TTL,
            message_type: "train".to_owned(),
            ..Metadata::default()
        };
        let message = Message { metadata: Some(metadata), content: None, error: None };
        let message_object_trees = self.state().tree.iter().cloned().collect();
        Ok(Response::new(PullMessagesResponse { reconnect: None, messages_list: vec![message], message_object_trees }))
    }

    async fn push_messages(&self, request: Request<PushMessagesRequest>) -> Answer<PushMessagesResponse> {
        let tree = request.into_inner().message_object_trees.pop();
        let mut objects_to_push = Vec::new();
        tree.iter().for_each(|tree| collect(tree, &mut objects_to_push));
        *self.state() = State { tree, objects: HashMap::new() };
        Ok(Response::new(PushMessagesResponse { objects_to_push, ..PushMessagesResponse::default() }))
    }

    async fn get_run(&self, _: Request<GetRunRequest>) -> Answer<GetRunResponse> {
        Ok(Response::new(GetRunResponse { run: Some(Run { run_id: RUN, ..Run::default() }) }))
    }

    async fn get_fab(&self, _: Request<GetFabRequest>) -> Answer<GetFabResponse> {
        Err(Status::unimplemented("there is no FAB"))
    }

    async fn push_object(&self, request: Request<PushObjectRequest>) -> Answer<PushObjectResponse> {
        let object = request.into_inner();
        self.state().objects.insert(object.object_id, object.object_content);
        Ok(Response::new(PushObjectResponse { stored: true }))
    }

    async fn pull_object(&self, request: Request<PullObjectRequest>) -> Answer<PullObjectResponse> {
        let content = self.state().objects.get(&request.get_ref().object_id).cloned();
        Ok(Response::new(PullObjectResponse {
            object_found: content.is_some(),
            object_available: content.is_some(),
            object_content: content.unwrap_or_default(),
        }))
    }

    async fn confirm_message_received(
        &self,
        _: Request<ConfirmMessageReceivedRequest>,
    ) -> Answer<ConfirmMessageReceivedResponse> {
        Ok(Response::new(ConfirmMessageReceivedResponse {}))
    }
}
