//! The server of every competitor.

use std::net::IpAddr;

use flower_iroh_funnel::transport::{IrohIncoming, quic_config_with};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::{
    io::{AsyncReadExt, stdin},
    net::TcpListener,
};
use tonic::transport::server::TcpIncoming;

use super::Kind;
use crate::{
    congestion,
    failure::Failure,
    peer::{grpc, iroh_endpoint, raw, tcp},
};

/// Serves until stdin ends.
pub(super) async fn serve(kind: Kind, addr: IpAddr, congestion_control: Option<&str>) -> Result<(), Failure> {
    match kind {
        Kind::Tcp => {
            let listener = TcpListener::bind((addr, 0)).await?;
            congestion::choose(&listener, congestion_control)?;
            println!("ready {}", listener.local_addr()?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tokio::select! {
                served = grpc::server().serve_with_incoming(incoming) => Ok(served?),
                () = end() => Ok(()),
            }
        }
        Kind::Iroh => {
            let settings = quic_config_with(congestion::of_quic(congestion_control)?);
            let endpoint = iroh_endpoint(addr, grpc::ALPN, Some(settings)).await?;
            println!("ready {}", EndpointTicket::new(endpoint.addr()));
            tokio::select! {
                served = grpc::server().serve_with_incoming(IrohIncoming::new(endpoint, grpc::ALPN)) => Ok(served?),
                () = end() => Ok(()),
            }
        }
        Kind::Raw => {
            let endpoint = iroh_endpoint(addr, raw::ALPN, None).await?;
            println!("ready {}", EndpointTicket::new(endpoint.addr()));
            tokio::select! {
                () = raw::serve(endpoint) => Err("the endpoint is closed".into()),
                () = end() => Ok(()),
            }
        }
        Kind::Sink => {
            let listener = TcpListener::bind((addr, 0)).await?;
            println!("ready {}", listener.local_addr()?);
            tokio::select! {
                served = tcp::serve(listener) => Ok(served?),
                () = end() => Ok(()),
            }
        }
    }
}

/// Whoever started this process holds the other end of its stdin as long as it lives.
async fn end() {
    let mut rest = Vec::new();
    let _ = stdin().read_to_end(&mut rest).await;
}
