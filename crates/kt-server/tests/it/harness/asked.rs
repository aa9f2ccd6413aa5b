//! What tests ask, and what they are answered.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use tower::ServiceExt;

use super::{PEER, TestApi};
use crate::documented::require_documented;

impl TestApi {
    /// A request to be sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> TestRequest<'_> {
        TestRequest {
            api: self,
            builder: Request::builder().method(method).uri(path),
            body: None,
            text: None,
            peer: PEER,
        }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::GET, path)
    }

    /// `POST` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::POST, path) }
    }

    /// `PATCH` with a JSON body.
    pub(crate) fn patch(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::PATCH, path) }
    }

    /// `PUT` with a JSON body.
    pub(crate) fn put(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::PUT, path) }
    }
}

/// A request under construction.
pub(crate) struct TestRequest<'a> {
    api: &'a TestApi,
    builder: axum::http::request::Builder,
    body: Option<Value>,
    text: Option<String>,
    peer: &'a str,
}

impl<'a> TestRequest<'a> {
    /// With this bearer.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With this header.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    /// With this JSON body, if any.
    pub(crate) fn body(self, body: Option<Value>) -> Self {
        Self { body, ..self }
    }

    /// With this text as its body, said to be of this kind; of none, where that is empty.
    pub(crate) fn text(self, kind: &str, text: &str) -> Self {
        let request = if kind.is_empty() { self } else { self.header("content-type", kind) };
        Self { text: Some(text.to_owned()), ..request }
    }

    /// From this address and port.
    pub(crate) fn from(self, peer: &'a str) -> Self {
        Self { peer, ..self }
    }

    /// The answer.
    pub(crate) async fn send(self) -> Answer {
        let peer: SocketAddr = self.peer.parse().unwrap();
        let names_host = self.builder.headers_ref().is_some_and(|headers| headers.contains_key(header::HOST));
        let builder = self.builder.extension(ConnectInfo(peer));
        let builder = if names_host { builder } else { builder.header(header::HOST, "localhost:8080") };
        let request = match self.body {
            Some(body) => builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string()))
                .unwrap(),
            None => builder.body(self.text.map_or_else(Body::empty, Body::from)).unwrap(),
        };
        let asked = (request.method().clone(), request.uri().path().to_owned());
        let answer = Answer::read(self.api.router.clone().oneshot(request).await.unwrap()).await;
        require_documented(&asked.0, &asked.1, answer.status);
        answer
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    /// The body as it was sent.
    pub(crate) body: String,
}

impl Answer {
    /// The whole of an answer.
    pub(crate) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status, headers: parts.headers, json, body }
    }

    /// The text at this place of the body.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {}", self.json))
    }

    /// The access token that it carries.
    pub(crate) fn access_token(&self) -> &str {
        self.text("/access_token")
    }

    /// Its status and the code of its error.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text("/error/code"))
    }
}
