//! The methods Flower has had, to notice those it adds.

use super::Api;

/// Whether some Flower from 1.20 to 1.42 has this method. Both spellings are one name here: `PullMessages`,
/// `pull-messages`.
///
/// Flower adds methods with every release, so an unknown one passes; this only tells that there is news.
pub fn is_known_method(api: Api, method: &str) -> bool {
    known(api).iter().any(|name| letters(name).eq(letters(method)))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase())
}

fn known(api: Api) -> &'static [&'static str] {
    match api {
        Api::Fleet => &FLEET,
        Api::Control => &CONTROL,
        Api::Runtime => &RUNTIME,
        Api::ServerAppIo => &SERVER_APP_IO,
        Api::ClientAppIo => &CLIENT_APP_IO,
    }
}

#[rustfmt::skip]
const FLEET: [&str; 14] = [
    "activate-node", "confirm-message-received", "deactivate-node", "get-fab", "get-run", "join", "pull-messages",
    "pull-object", "push-messages", "push-object", "register-node", "send-node-heartbeat", "send-receive",
    "unregister-node",
];

#[rustfmt::skip]
const CONTROL: [&str; 41] = [
    "accept-invitation", "add-app", "add-node-to-federation", "archive-federation", "begin-connector-oauth",
    "complete-connector-oauth", "configure-simulation-federation", "create-federation", "create-invitation",
    "disconnect-connector", "get-auth-tokens", "get-login-details", "get-run-series", "list-app-associations",
    "list-apps", "list-automations", "list-connectors", "list-federations", "list-invitations", "list-nodes",
    "list-run-series", "list-run-series-events", "list-runs", "pull-artifacts", "refresh-auth-tokens", "register-
    node", "reject-invitation", "remove-account-from-federation", "remove-app", "remove-node-from-federation",
    "revoke-invitation", "set-federation-icon", "show-federation", "start-automation", "start-run", "stop-
    automation", "stop-run", "stream-logs", "stream-run-events", "unregister-node", "update-run-series-
    description",
];

#[rustfmt::skip]
const RUNTIME: [&str; 24] = [
    "acquire-task", "claim-task", "confirm-message-received", "create-task", "get-compacted-contexts", "get-
    connector", "get-nodes", "get-run-series-events", "pull-messages", "pull-object", "pull-pending-tasks", "pull-
    task-input", "pull-task-message", "push-logs", "push-messages", "push-object", "push-task-events", "push-task-
    message", "push-task-output", "put-compacted-context", "record-task-usage", "responses", "send-task-
    heartbeat", "start-automation",
];

#[rustfmt::skip]
const SERVER_APP_IO: [&str; 21] = [
    "claim-task", "confirm-message-received", "create-task", "get-connector", "get-federation-options", "get-
    nodes", "get-run", "pull-messages", "pull-object", "pull-pending-tasks", "pull-task-input", "pull-task-
    message", "push-logs", "push-messages", "push-object", "push-task-events", "push-task-message", "push-task-
    output", "record-task-usage", "send-task-heartbeat", "start-automation",
];

#[rustfmt::skip]
const CLIENT_APP_IO: [&str; 20] = [
    "claim-task", "confirm-message-received", "create-task", "get-nodes", "get-run", "pull-message", "pull-
    messages", "pull-object", "pull-pending-tasks", "pull-task-input", "pull-task-message", "push-logs", "push-
    message", "push-messages", "push-object", "push-task-events", "push-task-message", "push-task-output",
    "record-task-usage", "send-task-heartbeat",
];
