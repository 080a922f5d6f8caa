//! A gRPC server that anybody who has its ticket can call.
//!
//! cargo run --example hello_server --features transport
//! cargo run --example hello_server --features transport -- --local    (no relay, no internet: this machine only)

use std::time::Duration;

use flower_iroh_funnel::transport::{IrohIncoming, quic_config};
use iroh::{Endpoint, RelayMode, endpoint::presets};
use iroh_tickets::endpoint::EndpointTicket;
use tonic::transport::Server;

mod hello;
use hello::{Greeter, v1::hello_server::HelloServer};

const ALPN: &[u8] = b"example/hello/1";
/// A relay answers within a second or two; without internet there is none to wait for.
const ONLINE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let local = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--local") => true,
        Some(other) => return Err(format!("unknown argument {other:?}").into()),
    };
    let endpoint = if local {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        builder.clear_ip_transports().bind_addr("127.0.0.1:0")?
    } else {
        Endpoint::builder(presets::N0)
    };
    let endpoint = endpoint.alpns(vec![ALPN.to_vec()]).transport_config(quic_config()).bind().await?;
    if !local && tokio::time::timeout(ONLINE, endpoint.online()).await.is_err() {
        eprintln!("no relay answers: only peers with a direct path can call");
    }
    println!("cargo run --example hello_client --features transport -- {}", EndpointTicket::new(endpoint.addr()));

    let incoming = IrohIncoming::new(endpoint.clone(), ALPN);
    let stopped = async {
        tokio::signal::ctrl_c().await.ok();
    };
    Server::builder().add_service(HelloServer::new(Greeter)).serve_with_incoming_shutdown(incoming, stopped).await?;
    endpoint.close().await;
    Ok(())
}
