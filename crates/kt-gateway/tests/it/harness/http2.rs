//! A client of HTTP/2 with prior knowledge.

use std::net::Ipv4Addr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use serde_json::Value;

use super::TestGateway;

/// A client's end of one connection.
pub(crate) struct Client(SendRequest<Bytes>);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).expect("a refusal is JSON");
        assert_eq!(body["error"]["request_id"].as_str(), Some(self.request_id()));
        body["error"]["code"].as_str().expect("a refusal has a code").to_owned()
    }

    pub(crate) fn request_id(&self) -> &str {
        self.headers["x-kt-request-id"].to_str().expect("an id is text")
    }
}

impl Client {
    pub(crate) async fn connect(gateway: &TestGateway, source: Ipv4Addr) -> Self {
        Self::connect_with(h2::client::Builder::new(), gateway, source).await
    }

    /// A client that has room for nothing of any answer's content.
    pub(crate) async fn without_room(gateway: &TestGateway) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(0);
        Self::connect_with(builder, gateway, Ipv4Addr::LOCALHOST).await
    }

    async fn connect_with(builder: h2::client::Builder, gateway: &TestGateway, source: Ipv4Addr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("an address of this machine");
        let tcp = socket.connect(gateway.gateway.address()).await.expect("the gateway listens");
        let (send, connection) = builder.handshake(tcp).await.expect("the gateway speaks HTTP/2");
        // It ends with the runtime of its test.
        tokio::spawn(connection);
        Self(send)
    }

    /// Sends a request's head; its body is still to be sent unless `ends`.
    pub(crate) async fn begin(
        &self,
        request: http::Request<()>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut send = self.0.clone().ready().await.expect("the connection is open");
        send.send_request(request, ends).expect("the request can be sent")
    }

    pub(crate) async fn ask(&self, request: http::Request<()>, body: &[u8]) -> Answer {
        let (response, mut send) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            // A gateway that has refused already may take no more.
            let _ = send.send_data(Bytes::copy_from_slice(body), true);
        }
        whole(response).await
    }
}

pub(crate) async fn whole(response: ResponseFuture) -> Answer {
    let (parts, mut content) = response.await.expect("there is an answer").into_parts();
    let mut body = Vec::new();
    while let Some(piece) = next(&mut content).await {
        body.extend_from_slice(&piece);
    }
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) async fn next(content: &mut RecvStream) -> Option<Bytes> {
    let piece = content.data().await?.expect("the answer is whole");
    content.flow_control().release_capacity(piece.len()).expect("it was taken");
    Some(piece)
}

pub(crate) fn request(method: &str, target: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(format!("http://gateway.test{target}"))
}

pub(crate) fn chat() -> http::request::Builder {
    request("POST", "/v1/chat/completions").header("content-type", "application/json")
}

pub(crate) fn done(builder: http::request::Builder) -> http::Request<()> {
    builder.body(()).expect("the request is well-formed")
}
