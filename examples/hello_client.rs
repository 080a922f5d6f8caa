//! Calls a hello server by its ticket.
//!
//! cargo run --example hello_client --features transport -- <TICKET> [NAME]

use flower_iroh_funnel::transport::{IrohConnector, LostLinkLayer, quic_config};
use iroh::{Endpoint, EndpointAddr, endpoint::presets};
use iroh_tickets::endpoint::EndpointTicket;
use tower::Layer;

#[allow(dead_code)]
mod hello;
use hello::v1::{HelloRequest, hello_client::HelloClient};

const ALPN: &[u8] = b"example/hello/1";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let ticket: EndpointTicket = args.next().ok_or("usage: hello_client <TICKET> [NAME]")?.parse()?;
    let name = args.next().unwrap_or_else(|| "world".to_owned());
    let server = EndpointAddr::from(ticket);

    let endpoint = Endpoint::builder(presets::N0).transport_config(quic_config()).bind().await?;
    let connector = IrohConnector::new(endpoint.clone(), ALPN);
    connector.add_peer(server.clone());
    let lost_link = LostLinkLayer::new();
    let channel = tonic::transport::Endpoint::from_shared(format!("iroh://{}", server.id))?
        .connect_with_connector(connector.reporting_to(&lost_link))
        .await?;
    let mut client = HelloClient::new(lost_link.layer(channel));

    let reply = client.unary(HelloRequest { name: name.clone(), ..Default::default() }).await?;
    println!("{}", reply.into_inner().greeting);
    if let Some(path) = connector.open_link(server.id).and_then(|link| link.path()) {
        println!("path: {path}");
    }
    let mut replies = client.server_stream(HelloRequest { name, count: 3, ..Default::default() }).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        println!("{}", reply.greeting);
    }
    endpoint.close().await;
    Ok(())
}
