//! A peer that is no funnel.

// Several test files include this module by path, and each uses a part of it.
#![allow(dead_code)]

use std::{error::Error, net::Ipv4Addr};

use flower_iroh_funnel::{EndpointAddr, RelayMode, SecretKey, transport::IrohConnector};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use iroh::{
    Endpoint,
    endpoint::{Builder, presets},
};

/// An endpoint that stays on loopback.
pub(crate) fn on_loopback(key: SecretKey) -> Builder {
    at(Ipv4Addr::LOCALHOST, key)
}

/// An endpoint with one address, on any port.
pub(crate) fn at(source: Ipv4Addr, key: SecretKey) -> Builder {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).secret_key(key);
    builder.clear_ip_transports().bind_addr((source, 0)).unwrap()
}

/// A peer without a funnel, who can send an inbound funnel whatever he likes.
pub(crate) struct RawPeer {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: IrohConnector,
    peer: EndpointAddr,
}

impl RawPeer {
    pub(crate) async fn new(key: SecretKey, peer: EndpointAddr, alpn: &[u8]) -> Self {
        let endpoint = on_loopback(key).bind().await.unwrap();
        let connector = IrohConnector::new(endpoint.clone(), alpn);
        connector.add_peer(peer.clone());
        Self { endpoint, connector, peer }
    }

    /// One request on a session of its own, with the authority that it names, or else the peer's.
    pub(crate) async fn send<B>(&self, request: Request<B>) -> hyper::Result<Response<Incoming>>
    where
        B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        self.send_on(&mut self.session().await?, request).await
    }

    pub(crate) async fn session<B>(&self) -> hyper::Result<SendRequest<B>>
    where
        B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let stream = self.connector.open(self.peer.id).await.unwrap();
        let (requests, session) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(session);
        Ok(requests)
    }

    pub(crate) async fn send_on<B>(
        &self,
        requests: &mut SendRequest<B>,
        mut request: Request<B>,
    ) -> hyper::Result<Response<Incoming>>
    where
        B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let authority = request.uri().authority().map_or(self.peer.id.to_string(), ToString::to_string);
        let uri = format!("http://{authority}{}", request.uri().path_and_query().unwrap());
        *request.uri_mut() = uri.parse().unwrap();
        requests.send_request(request).await
    }
}
