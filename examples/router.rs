//! gRPC beside another protocol, both on one iroh `Router`.
//!
//! cargo run --example router --features transport

use flower_iroh_funnel::transport::{IncomingLimits, IrohConnector, IrohIncoming};
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, presets},
    protocol::{AcceptError, ProtocolHandler, Router},
};
use tonic::transport::Server;

mod hello;
use hello::{
    Greeter,
    v1::{HelloRequest, hello_client::HelloClient, hello_server::HelloServer},
};

const GRPC: &[u8] = b"example/hello/1";
const ECHO: &[u8] = b"example/echo/1";
/// What the echo takes from one stream.
const ECHO_MAX: usize = 1024;

type BoxError = Box<dyn std::error::Error>;

#[derive(Debug)]
struct Echo;

impl ProtocolHandler for Echo {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let said = recv.read_to_end(ECHO_MAX).await.map_err(AcceptError::from_err)?;
        send.write_all(&said).await.map_err(AcceptError::from_err)?;
        send.finish()?;
        connection.closed().await;
        Ok(())
    }
}

async fn local_endpoint() -> Result<Endpoint, BoxError> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    Ok(builder.clear_ip_transports().bind_addr("127.0.0.1:0")?.bind().await?)
}

async fn echo(client: &Endpoint, server: EndpointAddr) -> Result<String, BoxError> {
    let connection = client.connect(server, ECHO).await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(b"echo").await?;
    send.finish()?;
    Ok(String::from_utf8(recv.read_to_end(ECHO_MAX).await?)?)
}

async fn greet(client: &Endpoint, server: EndpointAddr) -> Result<String, BoxError> {
    let connector = IrohConnector::new(client.clone(), GRPC);
    let uri = format!("iroh://{}", server.id);
    connector.add_peer(server);
    let channel = tonic::transport::Endpoint::from_shared(uri)?.connect_with_connector(connector).await?;
    let request = HelloRequest { name: "router".to_owned(), ..Default::default() };
    Ok(HelloClient::new(channel).unary(request).await?.into_inner().greeting)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (server, client) = (local_endpoint().await?, local_endpoint().await?);
    let (handler, incoming) = IrohIncoming::handler(IncomingLimits::default());
    let router = Router::builder(server.clone()).accept(GRPC, handler).accept(ECHO, Echo).spawn();
    let serving = tokio::spawn(Server::builder().add_service(HelloServer::new(Greeter)).serve_with_incoming(incoming));

    println!("{}", greet(&client, server.addr()).await?);
    println!("{}", echo(&client, server.addr()).await?);

    client.close().await;
    router.shutdown().await?;
    serving.await??;
    Ok(())
}
