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
const FLEET: [&str; 16] = [
    "activate-node", "confirm-message-received", "create-node", "deactivate-node", "delete-node", "get-fab",
    "get-run", "join", "pull-messages", "pull-object", "push-messages", "push-object", "register-node",
    "send-node-heartbeat", "send-receive", "unregister-node",
];

#[rustfmt::skip]
const CONTROL: [&str; 43] = [
    "accept-invitation", "add-app", "add-node-to-federation", "archive-federation", "begin-connector-oauth",
    "complete-connector-oauth", "configure-simulation-federation", "create-federation", "create-invitation",
    "delete-app", "disconnect-connector", "get-auth-tokens", "get-login-details", "get-run-series",
    "list-app-associations", "list-apps", "list-automations", "list-connectors", "list-federations",
    "list-invitations", "list-nodes", "list-run-series", "list-run-series-events", "list-runs", "pull-artifacts",
    "refresh-auth-tokens", "register-node", "reject-invitation", "remove-account-from-federation", "remove-app",
    "remove-node-from-federation", "revoke-invitation", "set-federation-icon", "show-federation",
    "start-automation", "start-run", "stop-automation", "stop-run", "store-app", "stream-logs",
    "stream-run-events", "unregister-node", "update-run-series-description",
];

#[rustfmt::skip]
const RUNTIME: [&str; 25] = [
    "acquire-task", "claim-task", "confirm-message-received", "create-task", "get-compacted-contexts",
    "get-connector", "get-nodes", "get-run", "get-run-series-events", "pull-messages", "pull-object",
    "pull-pending-tasks", "pull-task-input", "pull-task-message", "push-logs", "push-messages", "push-object",
    "push-task-events", "push-task-message", "push-task-output", "put-compacted-context", "record-task-usage",
    "responses", "send-task-heartbeat", "start-automation",
];

#[rustfmt::skip]
const SERVER_APP_IO: [&str; 29] = [
    "claim-task", "confirm-message-received", "create-task", "get-connector", "get-fab", "get-federation-options",
    "get-nodes", "get-run", "get-run-status", "list-apps-to-launch", "pull-app-inputs", "pull-messages",
    "pull-object", "pull-pending-tasks", "pull-task-input", "pull-task-message", "push-app-outputs", "push-logs",
    "push-messages", "push-object", "push-task-events", "push-task-message", "push-task-output",
    "record-task-usage", "request-token", "send-app-heartbeat", "send-task-heartbeat", "start-automation",
    "update-run-status",
];

#[rustfmt::skip]
const CLIENT_APP_IO: [&str; 28] = [
    "claim-task", "confirm-message-received", "create-task", "get-nodes", "get-run",
    "get-run-ids-with-pending-messages", "list-apps-to-launch", "pull-app-inputs", "pull-client-app-inputs",
    "pull-message", "pull-messages", "pull-object", "pull-pending-tasks", "pull-task-input", "pull-task-message",
    "push-app-outputs", "push-client-app-outputs", "push-logs", "push-message", "push-messages", "push-object",
    "push-task-events", "push-task-message", "push-task-output", "record-task-usage", "request-token",
    "send-app-heartbeat", "send-task-heartbeat",
];
