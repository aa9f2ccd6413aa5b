//! A browser without a window: it keeps cookies, and sends what the pages' script would send.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use tower::ServiceExt;

use crate::harness::{Answer, PASSWORD, PEER, TestApi};

/// Where the console is.
pub(crate) const ORIGIN: &str = "http://localhost:3000";

/// The header that carries a form's token.
pub(crate) const CSRF: &str = "x-keeptrusts-csrf-token";

/// A browser with its cookies.
pub(crate) struct Browser<'a> {
    api: &'a TestApi,
    cookies: Mutex<BTreeMap<String, String>>,
    peer: &'a str,
}

impl TestApi {
    /// A browser that has never been here.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { api: self, cookies: Mutex::default(), peer: PEER }
    }

    /// A browser in which somebody with [`PASSWORD`] is signed in.
    pub(crate) async fn signed_in(&self, email: &str) -> Browser<'_> {
        let browser = self.browser();
        let answer = browser.sign_in(email, PASSWORD).await;
        assert_eq!(answer.leads_to(), Some("/"), "{}", answer.body);
        browser
    }
}

impl<'a> Browser<'a> {
    /// The same browser at another address.
    pub(crate) fn from(self, peer: &'a str) -> Self {
        Self { peer, ..self }
    }

    /// The value of a cookie that it holds.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// The values of all cookies that it holds.
    pub(crate) fn cookies(&self) -> Vec<String> {
        self.cookies.lock().unwrap().values().cloned().collect()
    }

    /// Puts a cookie into it.
    pub(crate) fn hold(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.into(), value.into());
    }

    /// The same browser as a request from another site knows it: with this cookie alone.
    pub(crate) fn carrying_only(&self, name: &str) -> Self {
        let browser = Self { api: self.api, cookies: Mutex::default(), peer: self.peer };
        if let Some(value) = self.cookie(name) {
            browser.hold(name, &value);
        }
        browser
    }

    /// Goes to a page, as by a click on a link.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(
            Method::GET,
            path,
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin"), ("sec-fetch-user", "?1")],
            None,
        )
        .await
    }

    /// Sends a form as the pages' script does, with a token of this session.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token().await;
        self.post_with(path, fields, &[(CSRF, &token), ("sec-fetch-site", "same-origin"), ("origin", ORIGIN)])
            .await
    }

    /// Sends a form with these headers alone.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = [("content-type", "application/x-www-form-urlencoded"), ("hx-request", "true")];
        let headers: Vec<_> = form.iter().chain(headers).copied().collect();
        self.send(Method::POST, path, &headers, Some(body)).await
    }

    /// A token for the next form.
    pub(crate) async fn token(&self) -> String {
        let session = self.send(Method::GET, "/api/session", &[], None).await;
        session.text("/csrf_token").to_owned()
    }

    /// Signs in by the form.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Answer {
        self.post("/login", &[("email", email), ("password", password)]).await
    }

    /// Any request, with its cookies.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let answer = Answer::read(self.raw(method, path, headers, body).await).await;
        self.keep(&answer);
        answer
    }

    /// Sends a form as the pages' script does; the answer as it begins.
    pub(crate) async fn begin(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.token().await;
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("hx-request", "true"),
            (CSRF, &token),
            ("sec-fetch-site", "same-origin"),
            ("origin", ORIGIN),
        ];
        self.raw(Method::POST, path, &headers, Some(body)).await
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Response {
        let peer: SocketAddr = self.peer.parse().unwrap();
        let mut builder = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
        if !headers.iter().any(|(name, _)| *name == "host") {
            builder = builder.header(header::HOST, "localhost:3000");
        }
        let cookies = self
            .cookies
            .lock()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>();
        if !cookies.is_empty() {
            builder = builder.header(header::COOKIE, cookies.join("; "));
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == "hx-request" || *name == "accept") {
            builder = builder.header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");
        }
        let request = builder.body(body.map_or_else(Body::empty, Body::from)).unwrap();
        self.api.pages.clone().oneshot(request).await.unwrap()
    }

    fn keep(&self, answer: &Answer) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, rest) = line.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.into(), value.into());
            }
        }
    }
}

impl Answer {
    /// Where a browser goes on from here.
    pub(crate) fn leads_to(&self) -> Option<&str> {
        let place = self.headers.get("hx-redirect").or_else(|| self.headers.get(header::LOCATION));
        place.map(|place| place.to_str().unwrap())
    }

    /// The page, which was shown.
    pub(crate) fn page(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        &self.body
    }

    /// The status of a refusal, and whether a page tells it.
    pub(crate) fn refusal_page(&self) -> (u16, bool) {
        (self.status.as_u16(), self.body.contains("<!doctype html>"))
    }
}
