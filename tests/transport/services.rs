//! tonic's own services, and gRPC beside another protocol.

use flower_iroh_funnel::transport::{IncomingLimits, IrohIncoming};
use futures_util::StreamExt;
use iroh::{
    endpoint::Connection,
    protocol::{AcceptError, ProtocolHandler, Router},
};
use tonic::transport::Server;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    hello::{DESCRIPTORS, Greeter, v1::hello_server::HelloServer},
    support::{ALPN, TestClient, TestServer, greet, loopback, named, run},
};

#[test]
fn health_is_checked_and_watched() {
    run(async {
        let endpoint = loopback().alpns(vec![ALPN.to_vec()]).bind().await.unwrap();
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_serving::<HelloServer<Greeter>>().await;
        let incoming = IrohIncoming::new(endpoint.clone(), ALPN);
        let serving = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let client = TestClient::new().await;
        client.connector.add_peer(endpoint.addr());

        let mut health = HealthClient::new(client.channel(endpoint.id()));
        let request = HealthCheckRequest { service: "hello.v1.Hello".to_owned() };
        let status = health.check(request.clone()).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
        let mut watched = health.watch(request).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        reporter.set_not_serving::<HelloServer<Greeter>>().await;
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        endpoint.close().await;
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn reflection_lists_and_describes_the_service() {
    run(async {
        let endpoint = loopback().alpns(vec![ALPN.to_vec()]).bind().await.unwrap();
        let service = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()
            .unwrap();
        let incoming = IrohIncoming::new(endpoint.clone(), ALPN);
        let serving = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let client = TestClient::new().await;
        client.connector.add_peer(endpoint.addr());

        let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let requests = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("hello.v1.Hello".to_owned()),
        ];
        let mut reflection = ServerReflectionClient::new(client.channel(endpoint.id()));
        let replies = reflection.server_reflection_info(tokio_stream::iter(requests.map(ask))).await.unwrap();
        let mut replies = replies.into_inner().map(|reply| reply.unwrap().message_response.unwrap());
        let Some(MessageResponse::ListServicesResponse(list)) = replies.next().await else { panic!("no list") };
        assert!(list.service.iter().any(|service| service.name == "hello.v1.Hello"));
        let Some(MessageResponse::FileDescriptorResponse(file)) = replies.next().await else { panic!("no file") };
        assert!(!file.file_descriptor_proto.is_empty());
        endpoint.close().await;
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn handlers_know_who_calls_how_and_from_where() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let reply = client.hello(server.id()).unary(named("peer")).await.unwrap().into_inner();
        let mut fields = reply.greeting.split('|');
        assert_eq!(fields.next().unwrap(), client.endpoint.id().to_string());
        assert_eq!(fields.next().unwrap().as_bytes(), ALPN);
        let from = client.endpoint.bound_sockets()[0].to_string();
        let path = fields.next().unwrap();
        assert!(path.starts_with(&format!("direct {from}, round trip ")), "{path}");
        server.close().await;
    });
}

const ECHO: &[u8] = b"test/echo/1";

#[derive(Debug)]
struct Echo;

impl ProtocolHandler for Echo {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let (mut send, mut recv) = connection.accept_bi().await?;
        tokio::io::copy(&mut recv, &mut send).await?;
        send.finish()?;
        connection.closed().await;
        Ok(())
    }
}

#[test]
fn a_router_serves_grpc_beside_another_protocol() {
    run(async {
        let (handler, incoming) = IrohIncoming::handler(IncomingLimits::default());
        let router = Router::builder(loopback().bind().await.unwrap()).accept(ALPN, handler).accept(ECHO, Echo).spawn();
        let serving =
            tokio::spawn(Server::builder().add_service(HelloServer::new(Greeter)).serve_with_incoming(incoming));
        let client = TestClient::new().await;
        let server = router.endpoint().addr();
        client.connector.add_peer(server.clone());
        let mut hello = client.hello(server.id);

        let echo = client.endpoint.connect(server, ECHO).await.unwrap();
        let (mut send, mut recv) = echo.open_bi().await.unwrap();
        send.write_all(b"both").await.unwrap();
        greet(&mut hello).await.unwrap();
        send.write_all(b" at once").await.unwrap();
        greet(&mut hello).await.unwrap();
        send.finish().unwrap();
        assert_eq!(recv.read_to_end(64).await.unwrap(), b"both at once");

        router.shutdown().await.unwrap();
        serving.await.unwrap().expect("the incoming ends with its router");
        let status = greet(&mut hello).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    });
}
