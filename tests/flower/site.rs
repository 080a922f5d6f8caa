//! A site without a funnel: its calls to a real SuperLink go as raw requests to the funnel there.

// The bench `fairness` includes this module by path.
#![allow(dead_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use flower_iroh_funnel::{
    ALPN, EndpointAddr, SecretKey, Timestamp,
    proto::{
        ActivateNodeRequest, ActivateNodeResponse, GetRunRequest, Node, RegisterNodeFleetRequest,
        SendNodeHeartbeatRequest,
    },
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use p384::{
    ecdsa::{DerSignature, SigningKey, signature::hazmat::PrehashSigner},
    elliptic_curve::Generate,
    pkcs8::{EncodePublicKey, LineEnding},
};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::{flower::Error, raw_peer::RawPeer};

/// A peer with one session, and the key of its node.
pub(crate) struct Site {
    peer: RawPeer,
    session: SendRequest<Full<Bytes>>,
    node_key: p384::SecretKey,
}

/// Calls that a site has under way all the time.
pub(crate) struct Flood {
    answered: Arc<AtomicU64>,
    calls: JoinSet<Error>,
}

impl Site {
    pub(crate) async fn new(key: SecretKey, funnel: EndpointAddr) -> Result<Self, Error> {
        let peer = RawPeer::new(key, funnel, ALPN).await;
        let session = peer.session().await.map_err(|error| Error::new(format!("no session: {error}")))?;
        Ok(Self { peer, session, node_key: p384::SecretKey::generate() })
    }

    /// Makes a call, which the SuperLink must answer with `expected`.
    async fn call(&self, method: &str, message: &impl Message, expected: StatusCode) -> Result<Bytes, Error> {
        let answer = call(self.session.clone(), method, self.signed(), message.encode_to_vec(), expected).await?;
        answer.ok_or_else(|| Error::new(format!("{method}: the SuperLink is not available")))
    }

    fn public_pem(&self) -> String {
        self.node_key.public_key().to_public_key_pem(LineEnding::LF).expect("a key has a PEM form")
    }

    /// The headers of node authentication, which are valid for five minutes.
    fn signed(&self) -> HeaderMap {
        let timestamp = Timestamp::now().to_string();
        let hash = Sha256::digest(timestamp.as_bytes());
        let signed = SigningKey::from(&self.node_key).sign_prehash(&hash);
        let signature: DerSignature = signed.expect("a SHA-256 is long enough for P-384");
        let text = |text: String| HeaderValue::try_from(text).expect("it is ASCII");
        let mut headers = HeaderMap::new();
        headers.insert("flwr-public-key", text(BASE64_STANDARD.encode(self.public_pem())));
        headers.insert("flwr-signature", text(BASE64_STANDARD.encode(signature.as_bytes())));
        headers.insert("flwr-timestamp", text(timestamp));
        headers
    }

    /// Registers a node.
    pub(crate) async fn node(&self) -> Result<Node, Error> {
        let key = self.public_pem().into_bytes();
        self.call("register-node", &RegisterNodeFleetRequest { public_key: key.clone().into() }, StatusCode::OK)
            .await?;
        let activate = ActivateNodeRequest { public_key: key.into(), heartbeat_interval: 30.0 };
        let activated = self.call("activate-node", &activate, StatusCode::OK).await?;
        let activated = ActivateNodeResponse::decode(activated).map_err(|error| Error::new(error.to_string()))?;
        Ok(Node { node_id: activated.node_id })
    }

    /// Sends a heartbeat, again if the SuperLink takes no more connections, and returns how long it took.
    pub(crate) async fn heartbeat(&self, node: &Node) -> Result<Duration, Error> {
        let beat = SendNodeHeartbeatRequest { node: Some(*node), heartbeat_interval: 30.0 };
        let (signed, beat) = (self.signed(), beat.encode_to_vec());
        let began = Instant::now();
        let send = || call(self.session.clone(), "send-node-heartbeat", signed.clone(), beat.clone(), StatusCode::OK);
        while send().await?.is_none() {}
        Ok(began.elapsed())
    }

    /// Keeps so many small calls under way.
    pub(crate) fn flood(&self, calls: usize, node: &Node) -> Flood {
        let answered = Arc::<AtomicU64>::default();
        let mut all = JoinSet::new();
        // A run that there is not: the SuperLink looks for it and says so.
        let (signed, message) = (self.signed(), GetRunRequest { node: Some(*node), run_id: 1 }.encode_to_vec());
        for _ in 0..calls {
            let (session, answered) = (self.session.clone(), Arc::clone(&answered));
            let (signed, message) = (signed.clone(), message.clone());
            all.spawn(async move {
                let get_run =
                    || call(session.clone(), "get-run", signed.clone(), message.clone(), StatusCode::FORBIDDEN);
                loop {
                    match get_run().await {
                        Ok(Some(_)) => answered.fetch_add(1, SeqCst),
                        Ok(None) => 0,
                        Err(error) => return error,
                    };
                }
            });
        }
        Flood { answered, calls: all }
    }

    pub(crate) async fn close(self) {
        self.peer.endpoint.close().await;
    }
}

impl Flood {
    /// How many of its calls were answered so far; an error if one was answered in another way than it should.
    pub(crate) fn answered(&mut self) -> Result<u64, Error> {
        match self.calls.try_join_next() {
            None => Ok(self.answered.load(SeqCst)),
            Some(Ok(error)) => Err(error),
            Some(Err(error)) => Err(Error::new(format!("a call of the flood panicked: {error}"))),
        }
    }
}

/// Makes a call. Returns `None` after a moment if the SuperLink takes no more connections.
async fn call(
    mut session: SendRequest<Full<Bytes>>,
    method: &str,
    signed: HeaderMap,
    message: Vec<u8>,
    expected: StatusCode,
) -> Result<Option<Bytes>, Error> {
    let mut request = Request::post(format!("http://superlink/v1/fleet/{method}"))
        .header(CONTENT_TYPE, "application/protobuf")
        .body(Full::from(message))
        .expect("it is a request");
    request.headers_mut().extend(signed);
    let failed = |error: hyper::Error| Error::new(format!("{method}: {error}"));
    session.ready().await.map_err(failed)?;
    let response = session.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        return Ok(None);
    }
    if status != expected {
        return Err(Error::new(format!("{method} was answered with {status}: {}", String::from_utf8_lossy(&body))));
    }
    Ok(Some(body))
}
