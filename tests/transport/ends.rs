//! How streams, links and servers end, and what the other side sees of it.

use std::{
    io::ErrorKind,
    process::{Command, Stdio},
    sync::mpsc as blocking,
};

use flower_iroh_funnel::transport::{Code, IrohConnector, IrohStream};
use iroh::{SecretKey, endpoint::ConnectionError};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command as AsyncCommand,
};
use tonic::Status;

use crate::support::{
    ALPN, Client, Raw, TestClient, TestServer, close_code, greet, greet_anew, hello, loopback, named, run, until,
    within,
};

/// A unary call and a stream that have both reached the server and will not end by themselves.
struct InFlight {
    unary: tokio::task::JoinHandle<Status>,
    streaming: tokio::task::JoinHandle<Status>,
}

impl InFlight {
    async fn begin(hello: &Client) -> Self {
        let (mut first, mut second) = (hello.clone(), hello.clone());
        let unary = tokio::spawn(async move { first.unary(named("stuck")).await.unwrap_err() });
        let mut replies = second.server_stream(named("stuck")).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some());
        let streaming = tokio::spawn(async move { replies.message().await.unwrap_err() });
        Self { unary, streaming }
    }

    /// Both calls end as `UNAVAILABLE` with a message that contains all of `words`.
    async fn assert_unavailable(self, words: &[&str]) {
        for call in [self.unary, self.streaming] {
            let status = call.await.unwrap();
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            assert!(words.iter().all(|word| status.message().contains(word)), "{words:?}: {}", status.message());
        }
    }
}

#[test]
fn calls_in_flight_tell_the_code_and_reason_with_which_the_peer_closed_the_link() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let hello = client.hello(server.id());
        let calls = InFlight::begin(&hello).await;
        server.stuck().await;
        server.stuck().await;
        let link = server.links.recv().await.unwrap().upgrade().unwrap();
        link.close(Code::SHUTDOWN.into(), b"back at noon");
        let peer = server.id().fmt_short().to_string();
        calls.assert_unavailable(&[&peer, "closed by the peer", "shutdown (code 1)", "back at noon"]).await;
        greet_anew(&mut hello.clone()).await;
        server.close().await;
    });
}

#[test]
fn calls_in_flight_tell_that_the_peers_endpoint_was_closed() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let calls = InFlight::begin(&client.hello(server.id())).await;
        server.stuck().await;
        server.stuck().await;
        server.endpoint.close().await;
        calls.assert_unavailable(&["closed by the peer"]).await;
    });
}

#[test]
fn calls_in_flight_tell_that_the_link_was_closed_on_this_side() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let calls = InFlight::begin(&client.hello(server.id())).await;
        server.stuck().await;
        server.stuck().await;
        client.connector.open_link(server.id()).unwrap().close(Code::DONE, "");
        calls.assert_unavailable(&["closed by this side"]).await;
        server.dropped().await;
        server.dropped().await;
    });
}

#[test]
fn calls_in_flight_end_when_the_peers_process_is_killed() {
    run(async {
        let mut child = AsyncCommand::from(child_server()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr: iroh_tickets::endpoint::EndpointTicket = loop {
            if let Some(ticket) = lines.next_line().await.unwrap().unwrap().strip_prefix(TICKET) {
                break ticket.parse().unwrap();
            }
        };
        let addr = addr.endpoint_addr().clone();
        let client = TestClient::new().await;
        client.connector.add_peer(addr.clone());
        let mut hello = client.hello(addr.id);
        let calls = InFlight::begin(&hello).await;
        for _ in 0..2 {
            while lines.next_line().await.unwrap().unwrap() != STUCK {}
        }
        // SIGKILL: nothing of the peer says goodbye.
        child.kill().await.unwrap();
        calls.assert_unavailable(&[&addr.id.fmt_short().to_string(), "the peer fell silent"]).await;
        let status = greet(&mut hello).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(status.message().contains("cannot reach peer"), "{status:?}");
    });
}

const CHILD: &str = "TRANSPORT_TEST_CHILD";
const TICKET: &str = "ticket: ";
const STUCK: &str = "stuck";

/// This test binary once more, as a server and nothing else.
fn child_server() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ends::serves_as_a_child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1").stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Not a test: the other process of the test above.
#[test]
#[ignore = "a server, run by another test"]
fn serves_as_a_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    run(async {
        let mut server = TestServer::start().await;
        println!("\n{TICKET}{}", iroh_tickets::endpoint::EndpointTicket::new(server.addr()));
        loop {
            server.stuck().await;
            println!("{STUCK}");
        }
    });
}

#[test]
fn a_server_restarted_with_the_same_key_is_found_by_the_next_call() {
    run(async {
        let key = SecretKey::generate();
        let client = TestClient::new().await;
        let mut hello = client.hello(key.public());
        for restarts in 0..3 {
            let server = TestServer::with_key(key.clone()).await;
            client.lookup.set_endpoint_info(server.addr());
            greet_anew(&mut hello).await;
            server.close().await;
            // A client that knows its link to be lost, and one that does not, must both get through.
            if let (1, Some(link)) = (restarts, client.connector.open_link(key.public())) {
                link.closed().await;
            }
        }
    });
}

#[test]
fn a_graceful_shutdown_lets_calls_end_and_takes_no_new_ones() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let (requests, receiver) = tokio::sync::mpsc::unbounded_channel();
        let receiver = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        let mut replies = client.hello(server.id()).bidi(receiver).await.unwrap().into_inner();
        server.stop.take().unwrap().send(()).unwrap();
        for turn in 0..10 {
            requests.send(named(&turn.to_string())).unwrap();
            assert_eq!(replies.message().await.unwrap().unwrap().greeting, format!("Hello, {turn}!"));
        }
        drop(requests);
        assert!(replies.message().await.unwrap().is_none());
        server.serving.await.unwrap().unwrap();
        server.endpoint.close().await;
    });
}

/// iroh keeps a few tasks for a minute after the first link to a peer; one left by every cycle would come to more.
const CYCLES: usize = 10;

#[test]
fn nothing_is_left_when_the_last_user_lets_go() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(within(async {
        let mut server = TestServer::start().await;
        let endpoint = loopback().bind().await.unwrap();
        let before = runtime.metrics().num_alive_tasks();
        for cycle in 1..=CYCLES {
            let connector = IrohConnector::new(endpoint.clone(), ALPN);
            connector.add_peer(server.addr());
            let mut hello = hello(&connector, server.id());
            greet(&mut hello).await.unwrap();
            let replies = hello.server_stream(named("stuck")).await.unwrap().into_inner();
            server.stuck().await;
            let link = server.links.recv().await.unwrap();
            let end = link.closed();
            drop((hello, replies));
            server.dropped().await;

            // The connector alone holds the link now.
            assert!(connector.open_link(server.id()).is_some());
            drop(connector);
            let end = end.await.expect("the link was open when it was asked").reason;
            assert_eq!(close_code(&end), Some(Code::DONE), "{end:?}");
            until(|| link.upgrade().is_none()).await;
            assert_eq!(server.watch.handshakes(), cycle);
        }
        until(|| runtime.metrics().num_alive_tasks() < before + CYCLES).await;
        endpoint.close().await;
        server.close().await;
    }));
    let metrics = runtime.metrics();
    runtime.block_on(within(until(|| metrics.num_alive_tasks() == 0)));
}

#[test]
fn a_shutdown_reads_as_end_of_file_after_all_data() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;
        let sent: Vec<u8> = (0..5_000_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            raw.dialled.write_all(&sent).await.unwrap();
            raw.dialled.shutdown().await.unwrap();
            // Everything is delivered: neither the stream nor its link is needed any more.
            drop(raw.dialled);
            raw.client.endpoint.close().await;
        });
        let mut received = Vec::new();
        raw.accepted.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        writing.await.unwrap();
        assert_eq!(raw.accepted.read(&mut [0; 8]).await.unwrap(), 0, "it stays ended");
    });
}

#[test]
fn every_end_but_shutdown_reads_as_an_error_that_names_it() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;

        let (dialled, mut accepted) = raw.open().await;
        drop(dialled);
        assert_cut(&mut accepted, ErrorKind::ConnectionReset, "cancelled (code 4)").await;

        let (dialled, mut accepted) = raw.open().await;
        dialled.reset(Code::OVERLOADED);
        assert_cut(&mut accepted, ErrorKind::ConnectionReset, "overloaded (code 2)").await;

        let (mut dialled, accepted) = raw.open().await;
        drop(accepted);
        assert_cut(&mut dialled, ErrorKind::ConnectionReset, "cancelled (code 4)").await;

        // A lost task is no clean end either.
        let (dialled, mut accepted) = raw.open().await;
        let task = tokio::spawn(async move {
            let mut dialled = dialled;
            dialled.write_all(b"half of it").await.unwrap();
            panic!("on purpose: the stream is dropped by unwinding");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_cut(&mut accepted, ErrorKind::ConnectionReset, "cancelled (code 4)").await;

        raw.dialled.link().close(Code::SHUTDOWN, "for the night");
        assert_cut(&mut raw.accepted, ErrorKind::ConnectionReset, "shutdown (code 1): for the night").await;
        assert_cut(&mut raw.dialled, ErrorKind::NotConnected, "closed by this side").await;
        raw.close().await;
    });
}

/// Reading fails, again and again, and so does writing.
async fn assert_cut(stream: &mut IrohStream, kind: ErrorKind, words: &str) {
    let peer = stream.link().peer().fmt_short().to_string();
    let mut rest = Vec::new();
    let err = stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(err.kind(), kind, "{err}");
    let text = err.to_string();
    assert!(text.contains(&peer) && text.contains(words), "{text}");
    assert!(stream.read(&mut [0; 1]).await.is_err(), "no end of file follows an error");
    let err = loop {
        // The peer's STOP_SENDING may come a little after its RESET_STREAM.
        match stream.write(b"more").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(err) => break err,
        }
    };
    assert!(err.to_string().contains(words), "{err}");
    for _ in 0..2 {
        assert!(stream.shutdown().await.is_err(), "what was written did not arrive");
    }
}

#[test]
fn a_cancelled_shutdown_goes_on_where_it_was() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;
        raw.dialled.write_all(b"all of it").await.unwrap();
        {
            let shutdown = raw.dialled.shutdown();
            tokio::pin!(shutdown);
            let _ = futures_util::poll!(shutdown.as_mut());
        }
        raw.dialled.shutdown().await.unwrap();
        raw.dialled.shutdown().await.expect("a second shutdown finds the first");
        assert_eq!(raw.dialled.write(b"too late").await.unwrap_err().kind(), ErrorKind::NotConnected);
        let mut received = String::new();
        raw.accepted.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "all of it");
        raw.close().await;
    });
}

#[test]
fn links_die_with_the_runtime_that_served_them() {
    let (addr, receiver) = blocking::channel();
    let (stop, stopped) = blocking::channel::<()>();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(TestServer::start());
        addr.send(server.addr()).unwrap();
        let _ = stopped.recv();
        drop(runtime);
    });
    run(async move {
        let addr = receiver.recv().unwrap();
        let client = TestClient::new().await;
        client.connector.add_peer(addr.clone());
        let calls = InFlight::begin(&client.hello(addr.id)).await;
        drop(stop);
        calls.assert_unavailable(&["link to"]).await;
        let lost = client.connector.open_link(addr.id);
        assert!(lost.is_none(), "a dead link is not handed out");
    });
    serving.join().unwrap();
}

#[test]
fn a_link_says_how_it_ended() {
    run(async {
        let raw = Raw::new(loopback(), loopback()).await;
        let (here, there) = (raw.dialled.link().clone(), raw.accepted.link().clone());
        assert!(here.close_reason().is_none());
        there.close(Code::REFUSED, "not on\nthe list");
        let lost = here.closed().await;
        assert_eq!((lost.peer(), lost.code()), (raw.server.id(), Some(Code::REFUSED)));
        assert_eq!(lost.peer_reason().unwrap(), "not on the list");
        let source = std::error::Error::source(&lost).unwrap().downcast_ref::<ConnectionError>();
        assert!(matches!(source, Some(ConnectionError::ApplicationClosed(_))));
        assert_eq!(there.closed().await.code(), None, "this side closed it");
        raw.close().await;
    });
}
