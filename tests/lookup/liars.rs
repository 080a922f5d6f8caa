//! Servers that do not answer, that answer what is no answer, and that lie.

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt, net::UdpSocket};

use crate::{
    funnel_process::FunnelProcess,
    parties::{Parties, direct_addr, reaches, stop},
    server::{NameServer, dns_lookup, pkarr},
    sides::guarded,
};

/// As long as a signature, a time and nothing else.
const UNSIGNED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 76\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef000000000000";
/// Repeated without end: a body with no length.
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// A nameserver that answers every question with what `answer` makes of it.
async fn nameserver(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 1500];
        while let Ok((length, asker)) = socket.recv_from(&mut question).await {
            if let Some(answer) = answer(&question[..length]) {
                let _ = socket.send_to(&answer, asker).await;
            }
        }
    });
    addr
}

/// A TXT record in answer to a question, well formed.
fn txt(question: &[u8], text: &str) -> Option<Vec<u8>> {
    // The name and four more bytes; what follows in the question (EDNS) is not answered.
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let mut answer = question.get(..12 + name + 4)?.to_vec();
    answer[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0]);
    let length = u8::try_from(text.len()).unwrap();
    answer.extend([0, length + 1, length]);
    answer.extend(text.as_bytes());
    Some(answer)
}

/// A nameserver that says of every peer that it is at `addr`.
async fn liar(addr: SocketAddr) -> String {
    dns_lookup(nameserver(move |question| txt(question, &format!("addr={addr}"))).await)
}

/// A pkarr server that answers every request with `answer`, which may be nothing.
async fn web_server(answer: &'static [u8], times: usize) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                if crate::sides::read_head(&mut socket).await.is_none() {
                    return;
                }
                for _ in 0..times {
                    if socket.write_all(answer).await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            });
        }
    });
    pkarr(addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_answer_or_answer_nonsense_cost_a_bounded_time_and_are_named() {
    guarded(async {
        let silent = dns_lookup(nameserver(|_| None).await);
        let noise = dns_lookup(nameserver(|question| Some(question.iter().map(|byte| byte ^ 0x5a).collect())).await);
        let no_record = dns_lookup(nameserver(|question| txt(question, "hello")).await);
        let mute = web_server(b"", 0).await;
        let broken = web_server(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", 1).await;
        let unsigned = web_server(UNSIGNED, 1).await;
        let endless = web_server(ENDLESS, usize::MAX).await;
        let parties = Parties::new();
        let id = parties.id("expose.key").await;
        let lookups = [&silent, &noise, &no_record, &mute, &broken, &unsigned, &endless];
        let options: Vec<_> = lookups.iter().map(|lookup| format!("--lookup {lookup}")).collect();
        let outbound = parties.join(&id, &options.join(" "));
        for said in [
            format!("{silent} did not answer"),
            format!("{noise} "),
            format!("{no_record} answered with an invalid record"),
            format!("{mute} did not answer within 5 s"),
            format!("{broken} answered 500"),
            format!("{unsigned} did not answer with a record signed by that peer"),
            format!("{endless} did not answer with a record signed by that peer"),
        ] {
            outbound.logged(&said).await.unwrap();
        }
        stop([outbound]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_in_the_place_of_a_peer_is_not_taken_for_it() {
    guarded(async {
        let (parties, others) = (Parties::new(), Parties::new());
        let (id, other) = (parties.id("expose.key").await, others.expose("").await);
        let lie = liar(direct_addr(&other)).await;
        let outbound = parties.join(&id, &format!("--lookup {lie}"));
        let told = format!("another endpoint answers at its address ({lie} says it is at {})", direct_addr(&other));
        outbound.logged(&told).await.unwrap();
        stop([outbound, other]).await;

        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nowhere = nobody.local_addr().unwrap();
        let lie = liar(nowhere).await;
        let outbound = parties.join(&id, &format!("--lookup {lie}"));
        outbound.logged(&format!("answering during the handshake ({lie} says it is at {nowhere})")).await.unwrap();
        stop([outbound]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_tls_in_a_record_gets_no_request_unless_it_is_allowed() {
    guarded(async {
        let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = service.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = service.accept().await {
                // The test may have ended.
                let _ = seen.send(crate::sides::read_head(&mut socket).await);
            }
        });
        let parties = Parties::new();
        let id = parties.id("expose.key").await;
        let join = async |record: String, options: &str| {
            let lie = dns_lookup(nameserver(move |question| txt(question, &record)).await);
            let line = format!("join {id} --listen 127.0.0.1:0 --lookup {lie} {options}");
            // At an own relay nobody answers; without any, iroh dials none.
            let common = ["--bind", "127.0.0.1:0", "--relay", "https://127.0.0.1:1"];
            (FunnelProcess::spawn(parties.words_with(&line, "join.key", &common)).unwrap(), lie)
        };
        let (outbound, lie) = join(format!("relay=http://{addr}/"), "").await;
        outbound.logged(&format!("{lie} says that its relay is http://{addr}, which is not https")).await.unwrap();
        assert!(!outbound.stderr().contains("the peer's relay"), "{}", outbound.stderr());
        stop([outbound]).await;
        assert!(requests.try_recv().is_err());

        let (outbound, lie) = join(format!("relay=http://{addr}/"), "--allow-http-relay").await;
        requests.recv().await.unwrap();
        outbound.logged(&format!("the peer's relay, from {lie}: http://{addr}")).await.unwrap();
        stop([outbound]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_lie_the_truth_of_another_lookup_is_found() {
    guarded(async {
        let (server, parties, others) = (NameServer::start().await, Parties::new(), Parties::new());
        let inbound = parties.expose(&format!("--publish {},addresses", server.pkarr())).await;
        inbound.logged("published where this funnel is").await.unwrap();
        let other = others.expose("").await;
        let id = parties.id("expose.key").await;
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for lie in [liar(nobody.local_addr().unwrap()).await, liar(direct_addr(&other)).await] {
            let outbound = parties.join(&id, &format!("-v --lookup {lie} --lookup {}", server.dns()));
            let outbound = reaches(outbound).await;
            stop([outbound]).await;
        }
        stop([inbound, other]).await;
        server.stop().await;
    })
    .await;
}
