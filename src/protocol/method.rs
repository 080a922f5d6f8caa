//! The methods of Flower 1.20 to 1.42, in one table.

use super::{Api, Wire};

/// A method of some version of Flower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    api: Api,
    name: &'static str,
    kind: MethodKind,
}

/// What a call of a method moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    /// A small request and reply that do not wait behind others: a heartbeat, which is late after a few seconds, or a poll, of
    /// which the funnel makes one at a time.
    Prompt,
    /// A small request and reply.
    Small,
    /// The messages of a node, with the ids of all their objects, and a small reply.
    Messages,
    /// Megabytes, such as a model or an app, in either direction.
    Bulk,
    /// Megabytes of JSON, or a stream of events, and no messages of protobuf: in HTTP alone.
    Json,
    /// A small request, and a reply that is a stream of messages.
    Stream,
    /// Messages in both directions for as long as a client takes part, with pauses of any length.
    Conversation,
}

impl Method {
    /// All methods, API by API.
    pub const ALL: &[Self] = &TABLE;

    /// Finds a method by either spelling: `PullMessages`, `pull-messages`.
    pub fn find(api: Api, spelling: &str) -> Option<&'static Self> {
        TABLE.iter().find(|method| method.api == api && is_spelled(method.name, spelling))
    }

    /// Returns the API it belongs to.
    pub fn api(&self) -> Api {
        self.api
    }

    /// Returns whether its reply is a stream of messages and not one message. A request is always one message.
    pub fn streams(&self) -> bool {
        self.kind == MethodKind::Stream
    }

    /// Returns whether it may move megabytes, such as a model or an app, or take long.
    pub fn is_bulk(&self) -> bool {
        matches!(self.kind, MethodKind::Bulk | MethodKind::Json | MethodKind::Stream | MethodKind::Conversation)
    }

    pub(crate) fn kind(&self) -> MethodKind {
        self.kind
    }

    /// Returns its name as gRPC spells it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the path of its calls in a wire.
    pub fn path(&self, wire: Wire) -> String {
        match wire {
            Wire::Grpc => format!("/flwr.proto.{}/{}", self.api.service(), self.name),
            Wire::Http => format!("/v1/{}/{}", self.api, kebab(self.name)),
        }
    }
}

/// Returns whether a spelling is that of a name. It decides on most names by their first letters: it runs for every call.
fn is_spelled(name: &str, spelling: &str) -> bool {
    const CASE: u8 = 0x20;
    let (written, own) = (spelling.as_bytes(), name.as_bytes());
    written == own
        || (written.len() >= own.len() && written[0] | CASE == own[0] | CASE && letters(name).eq(letters(spelling)))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase())
}

/// Spells `BeginConnectorOAuth` as `begin-connector-oauth`: a word begins where a capital follows a small letter.
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

const fn method(api: Api, name: &'static str, kind: MethodKind) -> Method {
    Method { api, name, kind }
}

const fn unary(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Small)
}

const fn prompt(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Prompt)
}

const fn messages(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Messages)
}

const fn bulk(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Bulk)
}

const fn stream(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Stream)
}

const fn conversation(api: Api, name: &'static str) -> Method {
    method(api, name, MethodKind::Conversation)
}

/// Flower adds methods with every release: to translate a new one from wire to wire, add its row.
const TABLE: [Method; 141] = [
    unary(Api::Fleet, "ActivateNode"),
    unary(Api::Fleet, "ConfirmMessageReceived"),
    unary(Api::Fleet, "CreateNode"),
    unary(Api::Fleet, "DeactivateNode"),
    unary(Api::Fleet, "DeleteNode"),
    bulk(Api::Fleet, "GetFab"),
    unary(Api::Fleet, "GetRun"),
    conversation(Api::Fleet, "Join"),
    prompt(Api::Fleet, "PullMessages"),
    bulk(Api::Fleet, "PullObject"),
    messages(Api::Fleet, "PushMessages"),
    bulk(Api::Fleet, "PushObject"),
    unary(Api::Fleet, "RegisterNode"),
    prompt(Api::Fleet, "SendNodeHeartbeat"),
    bulk(Api::Fleet, "SendReceive"),
    unary(Api::Fleet, "UnregisterNode"),
    unary(Api::Control, "AcceptInvitation"),
    bulk(Api::Control, "AddApp"),
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
    bulk(Api::Control, "PullArtifacts"),
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
    bulk(Api::Control, "StartRun"),
    unary(Api::Control, "StopAutomation"),
    unary(Api::Control, "StopRun"),
    bulk(Api::Control, "StoreApp"),
    stream(Api::Control, "StreamLogs"),
    stream(Api::Control, "StreamRunEvents"),
    unary(Api::Control, "UnregisterNode"),
    unary(Api::Control, "UpdateRunSeriesDescription"),
    unary(Api::Runtime, "AcquireTask"),
    unary(Api::Runtime, "ClaimTask"),
    unary(Api::Runtime, "ConfirmMessageReceived"),
    unary(Api::Runtime, "CreateTask"),
    bulk(Api::Runtime, "GetCompactedContexts"),
    unary(Api::Runtime, "GetConnector"),
    unary(Api::Runtime, "GetNodes"),
    unary(Api::Runtime, "GetRun"),
    unary(Api::Runtime, "GetRunSeriesEvents"),
    unary(Api::Runtime, "PullMessages"),
    bulk(Api::Runtime, "PullObject"),
    unary(Api::Runtime, "PullPendingTasks"),
    bulk(Api::Runtime, "PullTaskInput"),
    bulk(Api::Runtime, "PullTaskMessage"),
    bulk(Api::Runtime, "PushLogs"),
    messages(Api::Runtime, "PushMessages"),
    bulk(Api::Runtime, "PushObject"),
    unary(Api::Runtime, "PushTaskEvents"),
    bulk(Api::Runtime, "PushTaskMessage"),
    bulk(Api::Runtime, "PushTaskOutput"),
    bulk(Api::Runtime, "PutCompactedContext"),
    unary(Api::Runtime, "RecordTaskUsage"),
    method(Api::Runtime, "Responses", MethodKind::Json),
    prompt(Api::Runtime, "SendTaskHeartbeat"),
    unary(Api::Runtime, "StartAutomation"),
    unary(Api::ServerAppIo, "ClaimTask"),
    unary(Api::ServerAppIo, "ConfirmMessageReceived"),
    unary(Api::ServerAppIo, "CreateTask"),
    unary(Api::ServerAppIo, "GetConnector"),
    bulk(Api::ServerAppIo, "GetFab"),
    unary(Api::ServerAppIo, "GetFederationOptions"),
    unary(Api::ServerAppIo, "GetNodes"),
    unary(Api::ServerAppIo, "GetRun"),
    unary(Api::ServerAppIo, "GetRunStatus"),
    unary(Api::ServerAppIo, "ListAppsToLaunch"),
    bulk(Api::ServerAppIo, "PullAppInputs"),
    unary(Api::ServerAppIo, "PullMessages"),
    bulk(Api::ServerAppIo, "PullObject"),
    unary(Api::ServerAppIo, "PullPendingTasks"),
    bulk(Api::ServerAppIo, "PullTaskInput"),
    bulk(Api::ServerAppIo, "PullTaskMessage"),
    bulk(Api::ServerAppIo, "PushAppOutputs"),
    bulk(Api::ServerAppIo, "PushLogs"),
    messages(Api::ServerAppIo, "PushMessages"),
    bulk(Api::ServerAppIo, "PushObject"),
    unary(Api::ServerAppIo, "PushTaskEvents"),
    bulk(Api::ServerAppIo, "PushTaskMessage"),
    bulk(Api::ServerAppIo, "PushTaskOutput"),
    unary(Api::ServerAppIo, "RecordTaskUsage"),
    unary(Api::ServerAppIo, "RequestToken"),
    prompt(Api::ServerAppIo, "SendAppHeartbeat"),
    prompt(Api::ServerAppIo, "SendTaskHeartbeat"),
    unary(Api::ServerAppIo, "StartAutomation"),
    unary(Api::ServerAppIo, "UpdateRunStatus"),
    unary(Api::ClientAppIo, "ClaimTask"),
    unary(Api::ClientAppIo, "ConfirmMessageReceived"),
    unary(Api::ClientAppIo, "CreateTask"),
    unary(Api::ClientAppIo, "GetNodes"),
    unary(Api::ClientAppIo, "GetRun"),
    unary(Api::ClientAppIo, "GetRunIdsWithPendingMessages"),
    unary(Api::ClientAppIo, "ListAppsToLaunch"),
    bulk(Api::ClientAppIo, "PullAppInputs"),
    bulk(Api::ClientAppIo, "PullClientAppInputs"),
    bulk(Api::ClientAppIo, "PullMessage"),
    unary(Api::ClientAppIo, "PullMessages"),
    bulk(Api::ClientAppIo, "PullObject"),
    unary(Api::ClientAppIo, "PullPendingTasks"),
    bulk(Api::ClientAppIo, "PullTaskInput"),
    bulk(Api::ClientAppIo, "PullTaskMessage"),
    bulk(Api::ClientAppIo, "PushAppOutputs"),
    bulk(Api::ClientAppIo, "PushClientAppOutputs"),
    bulk(Api::ClientAppIo, "PushLogs"),
    bulk(Api::ClientAppIo, "PushMessage"),
    messages(Api::ClientAppIo, "PushMessages"),
    bulk(Api::ClientAppIo, "PushObject"),
    unary(Api::ClientAppIo, "PushTaskEvents"),
    bulk(Api::ClientAppIo, "PushTaskMessage"),
    bulk(Api::ClientAppIo, "PushTaskOutput"),
    unary(Api::ClientAppIo, "RecordTaskUsage"),
    unary(Api::ClientAppIo, "RequestToken"),
    prompt(Api::ClientAppIo, "SendAppHeartbeat"),
    prompt(Api::ClientAppIo, "SendTaskHeartbeat"),
];
