//! Both ends in one process, without a relay: what a test of a gRPC service needs.
//!
//! cargo run --example in_process --features transport

use flower_iroh_funnel::transport::{IrohConnector, IrohIncoming};
use iroh::{Endpoint, RelayMode, endpoint::presets};
use tonic::transport::Server;

mod hello;
use hello::{
    Greeter,
    v1::{HelloRequest, hello_client::HelloClient, hello_server::HelloServer},
};

const ALPN: &[u8] = b"example/hello/1";

async fn local_endpoint() -> Result<Endpoint, Box<dyn std::error::Error>> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).alpns(vec![ALPN.to_vec()]);
    Ok(builder.clear_ip_transports().bind_addr("127.0.0.1:0")?.bind().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (server, client) = (local_endpoint().await?, local_endpoint().await?);

    let incoming = IrohIncoming::new(server.clone(), ALPN);
    let serving = tokio::spawn(Server::builder().add_service(HelloServer::new(Greeter)).serve_with_incoming(incoming));

    let connector = IrohConnector::new(client.clone(), ALPN);
    connector.add_peer(server.addr());
    let channel = tonic::transport::Endpoint::from_shared(format!("iroh://{}", server.id()))?
        .connect_with_connector(connector)
        .await?;
    let request = HelloRequest { name: "neighbour".to_owned(), ..Default::default() };
    println!("{}", HelloClient::new(channel).unary(request).await?.into_inner().greeting);

    client.close().await;
    // The incoming ends with its endpoint, and the server with it.
    server.close().await;
    serving.await??;
    Ok(())
}
