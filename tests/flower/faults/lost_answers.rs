//! Two nodes whose replies have an array in common, and an answer that is lost: it costs neither of them the round.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use flower_iroh_funnel::{
    node::{Node, NodeKey},
    proto::PushMessagesResponse,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint, Error as Broken},
};
use tower::Service;

use super::{
    pair::{End, Pair, Setting},
    restartable::Harm,
};
use crate::{
    flower::{Context, Error, FlowerRun, RunConfig, SuperLink, Venv},
    real_flower::in_turn,
    rust_supernode::Data,
    versions::{V1_41, venvs},
};

/// Between two looks at what tells nobody that it changed.
const LOOK: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_costs_no_node_the_round_when_replies_share_an_array() -> Result<(), Error> {
    in_turn(lose(None)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_with_the_inbound_funnel_costs_no_node_the_round_when_replies_share_an_array()
-> Result<(), Error> {
    in_turn(lose(Some(Harm::Killed))).await
}

async fn lose(harm: Option<Harm>) -> Result<(), Error> {
    let Some([venv]) = venvs([V1_41]).await? else { return Ok(()) };
    let superlink = SuperLink::start(&venv).await?;
    let mut pair = Pair::start(&superlink, Setting::default()).await?;
    let trained = train(&venv, &superlink, &mut pair, harm).await;
    trained.map_err(|error| pair.explain(superlink.explain(error)))?;
    pair.stop().await?;
    superlink.stop().await
}

async fn train(venv: &Venv, superlink: &SuperLink, pair: &mut Pair, harm: Option<Harm>) -> Result<(), Error> {
    let course = Arc::new(Course::default());
    let endpoint = Endpoint::from_shared(format!("http://{}", pair.dial())).context(|| "no address".into())?;
    let channel = endpoint.connect_lazy();
    let connection = |role| Connection { channel: channel.clone(), course: course.clone(), role };
    let register = |role| Node::builder(connection(role), NodeKey::generate()).register();
    let first = register(Role::First).await.context(|| "the first node is not registered".into())?;
    let second = register(Role::Second).await.context(|| "the second node is not registered".into())?;

    let timeout = Duration::from_secs(60);
    let config = RunConfig { rounds: 1, nodes: 2, evaluate: false, round_timeout: timeout, ..RunConfig::default() };
    let mut run = FlowerRun::submit(venv, superlink.control().addr, &config).await?;
    let answer_both = async {
        let second = async {
            let answered = answer(&second, 1).await;
            course.second_is_done.send_replace(true);
            answered
        };
        let harmed = async {
            course.is_lost.notified().await;
            if let Some(harm) = harm {
                pair.end(End::Inbound).suffer(harm).await?;
            }
            course.is_harmed.notify_one();
            Ok(())
        };
        tokio::try_join!(answer(&first, 0), second, harmed)
    };
    answer_both.await.map_err(|error| run.explain(error))?;
    let ids = [&first, &second].map(|node| node.id().to_string());
    let outcome = run.finish().await?;
    outcome.verify(config.rounds, &ids).map_err(|error| run.explain(error))?;
    for node in [first, second] {
        node.close().await.context(|| "a node does not leave".into())?;
    }
    Ok(())
}

/// Answers one message. What the nodes learn differs, and the payload that they return is the same.
async fn answer(node: &Node<Connection>, partition: u64) -> Result<(), Error> {
    let message = node.pull_message().await.context(|| "no message".into())?;
    let content = Data::new(partition).answer(&message);
    let content = content.map_err(|error| Error::new(format!("no answer: {error}")))?;
    let pushed = node.push_reply(message.reply(content)).await;
    pushed.context(|| format!("node {} lost its reply", node.id()))
}

/// What has happened: the first node has announced its reply, then the second one, whose answer is lost; the ServerApp has
/// both; the second node announces its reply again and pushes it; then the first one does.
#[derive(Default)]
struct Course {
    first_has_announced: Notify,
    is_lost: Notify,
    is_harmed: Notify,
    second_is_done: watch::Sender<bool>,
    /// Whether the second node has announced its reply, once.
    second_has_announced: AtomicBool,
}

#[derive(Clone, Copy)]
enum Role {
    First,
    Second,
}

/// A node's connection.
#[derive(Clone)]
struct Connection {
    channel: Channel,
    course: Arc<Course>,
    role: Role,
}

impl Connection {
    async fn make(mut self, request: Request<Body>) -> Result<Response<Body>, Broken> {
        let course = Arc::clone(&self.course);
        match (self.role, request.uri().path()) {
            (Role::First, "/flwr.proto.Fleet/PushMessages") => {
                let answer = send(&mut self.channel, request).await;
                course.first_has_announced.notify_one();
                answer
            }
            (Role::First, "/flwr.proto.Fleet/PushObject") => {
                course.second_is_done.subscribe().wait_for(|is_done| *is_done).await.expect("it is never closed");
                send(&mut self.channel, request).await
            }
            (Role::Second, "/flwr.proto.Fleet/PushMessages") if !course.second_has_announced.swap(true, Relaxed) => {
                course.first_has_announced.notified().await;
                self.lose_answer(request).await?;
                course.is_lost.notify_one();
                course.is_harmed.notified().await;
                Ok(Status::unavailable("the answer is lost").into_http())
            }
            _ => send(&mut self.channel, request).await,
        }
    }

    /// Announces a reply until the ServerApp has it, and forgets each answer. Before, each has a session of its own; after
    /// that the SuperLink asks for nothing, and the funnels give the last answer again or ask for all, in no session.
    async fn lose_answer(&mut self, request: Request<Body>) -> Result<(), Broken> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("the node has all of it").to_bytes();
        let mut last = String::new();
        loop {
            let request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
            let answer = send(&mut self.channel, request).await?.into_body().collect().await;
            let session = session(&answer.expect("the funnel answers").to_bytes());
            if session.is_empty() || session == last {
                return Ok(());
            }
            last = session;
            sleep(LOOK).await;
        }
    }
}

fn session(answer: &Bytes) -> String {
    PushMessagesResponse::decode(answer.slice(5..)).expect("it is an answer").session_id
}

async fn send(channel: &mut Channel, request: Request<Body>) -> Result<Response<Body>, Broken> {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    channel.call(request).await
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().make(request))
    }
}
