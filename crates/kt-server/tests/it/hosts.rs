//! By which names the API is asked (ATTACKS GW-B6; STANDARDS HTTP-06).

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use kt_domain::clock::Clock;
use kt_server::Hosts;
use kt_store::limits;
use serde_json::json;
use tower::ServiceExt;

use crate::harness::{Answer, PASSWORD, PEER, TestApi, on_both};

/// What the API says to this `Host`, with these names of its own and its listener there.
async fn ask(api: &TestApi, named: &[&str], listener: &str, host: &str) -> Answer {
    let hosts = Hosts::new(named.iter().copied(), listener.parse::<IpAddr>().unwrap());
    let peer: SocketAddr = PEER.parse().unwrap();
    let request = Request::builder().uri("/v1/whoami").header("host", host).extension(ConnectInfo(peer));
    let request = request.body(Body::empty()).unwrap();
    Answer::read(kt_server::api(api.doors.clone(), hosts).oneshot(request).await.unwrap()).await
}

const HEARD: (u16, &str) = (401, "missing_key");
const UNKNOWN: (u16, &str) = (421, "unknown_host");

on_both! {
    an_api_of_this_machine_alone_answers_to_its_own_names_and_to_no_page_of_another(api) {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080"] {
            assert_eq!(ask(&api, &[], "127.0.0.1", host).await.refusal(), HEARD, "{host}");
            assert_eq!(ask(&api, &[], "::1", host).await.refusal(), HEARD, "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "0.0.0.0:8080", "10.0.0.5", "[::2]:8080"] {
            assert_eq!(ask(&api, &[], "127.0.0.1", host).await.refusal(), UNKNOWN, "{host}");
        }
        let body = json!({ "email": "owner@acme.example", "password": PASSWORD });
        let rebound = api.post("/v1/auth/login", body.clone()).header("host", "evil.example:8080").send().await;
        assert_eq!(rebound.refusal(), UNKNOWN);
        let counted = limits::current(&api.store, "network/203.0.113.0/24", api.clock.now()).await.unwrap();
        assert_eq!(counted, 0, "the visitor's network is left its tries");
        assert_eq!(api.post("/v1/auth/login", body).send().await.status, 200, "the control");
        for path in ["/healthz", "/readyz"] {
            assert_eq!(api.get(path).header("host", "evil.example").send().await.status, 200, "{path}");
        }
    }

    an_api_whose_names_are_listed_answers_to_those_and_to_its_own_machine(api) {
        let named = ["api.example.com", "internal.example.com:8080"];
        for listener in ["127.0.0.1", "0.0.0.0"] {
            for host in ["api.example.com", "API.example.com:443", "internal.example.com:8080", "localhost:8080"] {
                assert_eq!(ask(&api, &named, listener, host).await.refusal(), HEARD, "{host} at {listener}");
            }
            for host in ["internal.example.com", "example.com", "api.example.com.evil.example", "10.0.0.5:8080"] {
                assert_eq!(ask(&api, &named, listener, host).await.refusal(), UNKNOWN, "{host} at {listener}");
            }
        }
        assert_eq!(ask(&api, &[], "0.0.0.0", "anything.example").await.refusal(), HEARD, "without a list, any name");
    }

    a_request_names_one_host(api) {
        let twice = api.get("/v1/whoami").header("host", "localhost").header("host", "localhost").send().await;
        assert_eq!(twice.refusal(), (400, "invalid_host"));
        for host in ["", "local host", "owner@localhost"] {
            let answer = api.get("/v1/whoami").header("host", host).send().await;
            assert_eq!(answer.refusal(), (400, "invalid_host"), "{host:?}");
        }
        let another = [("host", "localhost:3000"), ("host", "evil.example")];
        let page = api.browser().send(Method::GET, "/login", &another, None).await;
        assert_eq!(page.status, 400, "nor does one of the console");
        assert_eq!(api.browser().get("/login").await.status, 200, "the control");
    }
}
