//! The upstream: a SuperLink's HTTP API with nothing to do.

use std::convert::Infallible;

use bytes::Bytes;
use flower_iroh_funnel::proto::PullMessagesResponse;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::{failure::Failure, role};

/// Serves until stdin ends.
pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", listener.local_addr()?);
    tokio::select! {
        failed = accept(listener) => failed,
        () = role::end() => Ok(()),
    }
}

async fn accept(listener: TcpListener) -> Result<(), Failure> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve_socket(socket));
    }
}

/// A connection that breaks is told by whoever called over it.
async fn serve_socket(socket: TcpStream) {
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    // As Flower answers whoever looks whether it is there.
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Ok(response);
    }
    match request.into_body().collect().await {
        Ok(_) => {
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/protobuf"));
            *response.body_mut() = Full::from(PullMessagesResponse::default().encode_to_vec());
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}
