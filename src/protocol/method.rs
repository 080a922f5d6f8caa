//! The methods of Flower 1.20 to 1.42, in one table.

use super::{Api, Wire};

/// A method that some Flower has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    api: Api,
    name: &'static str,
    streams: bool,
}

impl Method {
    /// All of them, API by API.
    pub const ALL: &[Self] = &TABLE;

    /// The method in either spelling: `PullMessages`, `pull-messages`.
    pub fn find(api: Api, spelling: &str) -> Option<&'static Self> {
        TABLE.iter().find(|method| method.api == api && letters(method.name).eq(letters(spelling)))
    }

    /// The API it belongs to.
    pub fn api(&self) -> Api {
        self.api
    }

    /// Whether its reply is a stream of messages and not one message. Requests are one message always.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// The path of a call.
    pub fn path(&self, wire: Wire) -> String {
        match wire {
            Wire::Grpc => format!("/flwr.proto.{}/{}", self.api.service(), self.name),
            Wire::Http => format!("/v1/{}/{}", self.api, kebab(self.name)),
        }
    }
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase())
}

/// `BeginConnectorOAuth` as `begin-connector-oauth`: a word begins where a capital follows a small letter.
fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    let mut in_word = false;
    for letter in name.chars() {
        if in_word && letter.is_ascii_uppercase() {
            kebab.push('-');
        }
        in_word = !letter.is_ascii_uppercase();
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

const fn unary(api: Api, name: &'static str) -> Method {
    Method { api, name, streams: false }
}

const fn stream(api: Api, name: &'static str) -> Method {
    Method { api, name, streams: true }
}

/// Flower adds methods with every release: to carry a new one from wire to wire, add its row.
const TABLE: [Method; 141] = [
    unary(Api::Fleet, "ActivateNode"),
    unary(Api::Fleet, "ConfirmMessageReceived"),
    unary(Api::Fleet, "CreateNode"),
    unary(Api::Fleet, "DeactivateNode"),
    unary(Api::Fleet, "DeleteNode"),
    unary(Api::Fleet, "GetFab"),
    unary(Api::Fleet, "GetRun"),
    unary(Api::Fleet, "Join"),
    unary(Api::Fleet, "PullMessages"),
    unary(Api::Fleet, "PullObject"),
    unary(Api::Fleet, "PushMessages"),
    unary(Api::Fleet, "PushObject"),
    unary(Api::Fleet, "RegisterNode"),
    unary(Api::Fleet, "SendNodeHeartbeat"),
    unary(Api::Fleet, "SendReceive"),
    unary(Api::Fleet, "UnregisterNode"),
    unary(Api::Control, "AcceptInvitation"),
    unary(Api::Control, "AddApp"),
    unary(Api::Control, "AddNodeToFederation"),
    unary(Api::Control, "ArchiveFederation"),
    unary(Api::Control, "BeginConnectorOAuth"),
    unary(Api::Control, "CompleteConnectorOAuth"),
    unary(Api::Control, "ConfigureSimulationFederation"),
    unary(Api::Control, "CreateFederation"),
    unary(Api::Control, "CreateInvitation"),
    unary(Api::Control, "DeleteApp"),
    unary(Api::Control, "DisconnectConnector"),
    unary(Api::Control, "GetAuthTokens"),
    unary(Api::Control, "GetLoginDetails"),
    unary(Api::Control, "GetRunSeries"),
    unary(Api::Control, "ListAppAssociations"),
    unary(Api::Control, "ListApps"),
    unary(Api::Control, "ListAutomations"),
    unary(Api::Control, "ListConnectors"),
    unary(Api::Control, "ListFederations"),
    unary(Api::Control, "ListInvitations"),
    unary(Api::Control, "ListNodes"),
    unary(Api::Control, "ListRunSeries"),
    unary(Api::Control, "ListRunSeriesEvents"),
    unary(Api::Control, "ListRuns"),
    unary(Api::Control, "PullArtifacts"),
    unary(Api::Control, "RefreshAuthTokens"),
    unary(Api::Control, "RegisterNode"),
    unary(Api::Control, "RejectInvitation"),
    unary(Api::Control, "RemoveAccountFromFederation"),
    unary(Api::Control, "RemoveApp"),
    unary(Api::Control, "RemoveNodeFromFederation"),
    unary(Api::Control, "RevokeInvitation"),
    unary(Api::Control, "SetFederationIcon"),
    unary(Api::Control, "ShowFederation"),
    unary(Api::Control, "StartAutomation"),
    unary(Api::Control, "StartRun"),
    unary(Api::Control, "StopAutomation"),
    unary(Api::Control, "StopRun"),
    unary(Api::Control, "StoreApp"),
    stream(Api::Control, "StreamLogs"),
    stream(Api::Control, "StreamRunEvents"),
    unary(Api::Control, "UnregisterNode"),
    unary(Api::Control, "UpdateRunSeriesDescription"),
    unary(Api::Runtime, "AcquireTask"),
    unary(Api::Runtime, "ClaimTask"),
    unary(Api::Runtime, "ConfirmMessageReceived"),
    unary(Api::Runtime, "CreateTask"),
    unary(Api::Runtime, "GetCompactedContexts"),
    unary(Api::Runtime, "GetConnector"),
    unary(Api::Runtime, "GetNodes"),
    unary(Api::Runtime, "GetRun"),
    unary(Api::Runtime, "GetRunSeriesEvents"),
    unary(Api::Runtime, "PullMessages"),
    unary(Api::Runtime, "PullObject"),
    unary(Api::Runtime, "PullPendingTasks"),
    unary(Api::Runtime, "PullTaskInput"),
    unary(Api::Runtime, "PullTaskMessage"),
    unary(Api::Runtime, "PushLogs"),
    unary(Api::Runtime, "PushMessages"),
    unary(Api::Runtime, "PushObject"),
    unary(Api::Runtime, "PushTaskEvents"),
    unary(Api::Runtime, "PushTaskMessage"),
    unary(Api::Runtime, "PushTaskOutput"),
    unary(Api::Runtime, "PutCompactedContext"),
    unary(Api::Runtime, "RecordTaskUsage"),
    unary(Api::Runtime, "Responses"),
    unary(Api::Runtime, "SendTaskHeartbeat"),
    unary(Api::Runtime, "StartAutomation"),
    unary(Api::ServerAppIo, "ClaimTask"),
    unary(Api::ServerAppIo, "ConfirmMessageReceived"),
    unary(Api::ServerAppIo, "CreateTask"),
    unary(Api::ServerAppIo, "GetConnector"),
    unary(Api::ServerAppIo, "GetFab"),
    unary(Api::ServerAppIo, "GetFederationOptions"),
    unary(Api::ServerAppIo, "GetNodes"),
    unary(Api::ServerAppIo, "GetRun"),
    unary(Api::ServerAppIo, "GetRunStatus"),
    unary(Api::ServerAppIo, "ListAppsToLaunch"),
    unary(Api::ServerAppIo, "PullAppInputs"),
    unary(Api::ServerAppIo, "PullMessages"),
    unary(Api::ServerAppIo, "PullObject"),
    unary(Api::ServerAppIo, "PullPendingTasks"),
    unary(Api::ServerAppIo, "PullTaskInput"),
    unary(Api::ServerAppIo, "PullTaskMessage"),
    unary(Api::ServerAppIo, "PushAppOutputs"),
    unary(Api::ServerAppIo, "PushLogs"),
    unary(Api::ServerAppIo, "PushMessages"),
    unary(Api::ServerAppIo, "PushObject"),
    unary(Api::ServerAppIo, "PushTaskEvents"),
    unary(Api::ServerAppIo, "PushTaskMessage"),
    unary(Api::ServerAppIo, "PushTaskOutput"),
    unary(Api::ServerAppIo, "RecordTaskUsage"),
    unary(Api::ServerAppIo, "RequestToken"),
    unary(Api::ServerAppIo, "SendAppHeartbeat"),
    unary(Api::ServerAppIo, "SendTaskHeartbeat"),
    unary(Api::ServerAppIo, "StartAutomation"),
    unary(Api::ServerAppIo, "UpdateRunStatus"),
    unary(Api::ClientAppIo, "ClaimTask"),
    unary(Api::ClientAppIo, "ConfirmMessageReceived"),
    unary(Api::ClientAppIo, "CreateTask"),
    unary(Api::ClientAppIo, "GetNodes"),
    unary(Api::ClientAppIo, "GetRun"),
    unary(Api::ClientAppIo, "GetRunIdsWithPendingMessages"),
    unary(Api::ClientAppIo, "ListAppsToLaunch"),
    unary(Api::ClientAppIo, "PullAppInputs"),
    unary(Api::ClientAppIo, "PullClientAppInputs"),
    unary(Api::ClientAppIo, "PullMessage"),
    unary(Api::ClientAppIo, "PullMessages"),
    unary(Api::ClientAppIo, "PullObject"),
    unary(Api::ClientAppIo, "PullPendingTasks"),
    unary(Api::ClientAppIo, "PullTaskInput"),
    unary(Api::ClientAppIo, "PullTaskMessage"),
    unary(Api::ClientAppIo, "PushAppOutputs"),
    unary(Api::ClientAppIo, "PushClientAppOutputs"),
    unary(Api::ClientAppIo, "PushLogs"),
    unary(Api::ClientAppIo, "PushMessage"),
    unary(Api::ClientAppIo, "PushMessages"),
    unary(Api::ClientAppIo, "PushObject"),
    unary(Api::ClientAppIo, "PushTaskEvents"),
    unary(Api::ClientAppIo, "PushTaskMessage"),
    unary(Api::ClientAppIo, "PushTaskOutput"),
    unary(Api::ClientAppIo, "RecordTaskUsage"),
    unary(Api::ClientAppIo, "RequestToken"),
    unary(Api::ClientAppIo, "SendAppHeartbeat"),
    unary(Api::ClientAppIo, "SendTaskHeartbeat"),
];
