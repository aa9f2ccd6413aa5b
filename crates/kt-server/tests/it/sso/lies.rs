//! A provider that lies, by the list of what a relying party must refuse (STANDARDS section 2.9; OpenID conformance, basic
//! relying party). None of its lies signs anybody in, and the truth does.

use std::time::Duration;

use serde_json::{Value, json};

use super::provider::{Document, Provider, Says, Signature, depart};
use crate::console::browser::Browser;
use crate::databases::Kind;
use crate::harness::{Answer, TestApi, on_both};

/// Whether somebody was let in.
fn is_in(browser: &Browser<'_>, answer: &Answer) -> bool {
    browser.cookie("kt_session").is_some() && answer.leads_to() == Some("/")
}

/// What a lie comes to, in a browser of its own.
async fn told(api: &TestApi, provider: &Provider, says: Says) -> bool {
    // What is remembered of the provider is forgotten by then.
    api.clock.advance(Duration::from_mins(11));
    provider.says(says);
    let browser = api.browser();
    let answer = provider.way(&browser, "1").await;
    let is_in = is_in(&browser, &answer);
    assert!(is_in || answer.leads_to() == Some("/login?reason=sso_refused"), "{}", answer.body);
    is_in
}

fn claims(claims: Value) -> Says {
    Says { claims, ..Says::default() }
}

fn header(header: Value) -> Says {
    Says { header, ..Says::default() }
}

fn signed(signature: Signature) -> Says {
    Says { signature, ..Says::default() }
}

fn answered(name: &'static str, value: Option<&str>) -> Says {
    Says { answer: vec![(name, value.map(str::to_owned))], ..Says::default() }
}

fn instead(at: &'static str, document: Document) -> Says {
    Says { instead: (at, document), ..Says::default() }
}

fn userinfo(userinfo: Value) -> Says {
    Says { userinfo, ..Says::default() }
}

/// What the provider says, and whether that lets somebody in.
fn table(now: i64) -> Vec<(&'static str, Says, bool)> {
    vec![
        ("the truth", Says::default(), true),
        ("another issuer", claims(json!({ "iss": "https://evil.example" })), false),
        ("an issuer that looks alike", claims(json!({ "iss": "HTTP://127.0.0.1" })), false),
        ("no issuer", claims(json!({ "iss": null })), false),
        ("another audience", claims(json!({ "aud": "others" })), false),
        ("no audience", claims(json!({ "aud": null })), false),
        (
            "several audiences, ours among them, not given to us",
            claims(json!({ "aud": ["keeptrusts", "x"] })),
            false,
        ),
        (
            "several audiences, given to us",
            claims(json!({ "aud": ["keeptrusts", "x"], "azp": "keeptrusts" })),
            true,
        ),
        ("given to somebody else", claims(json!({ "azp": "x" })), false),
        ("another nonce", claims(json!({ "nonce": "x" })), false),
        ("no nonce", claims(json!({ "nonce": null })), false),
        ("no subject", claims(json!({ "sub": null })), false),
        ("an empty subject", claims(json!({ "sub": "" })), false),
        ("expired", claims(json!({ "exp": now - 3600 })), false),
        ("without an end", claims(json!({ "exp": null })), false),
        ("made tomorrow", claims(json!({ "iat": now + 864_000, "exp": now + 900_000 })), false),
        ("made at no time", claims(json!({ "iat": null })), false),
        ("for another access token", claims(json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" })), false),
        ("no signature", signed(Signature::Missing("none")), false),
        ("no signature, in other letters", signed(Signature::Missing("nOnE")), false),
        ("a shared secret for which the public key is taken", signed(Signature::Hs256), false),
        ("a key that nobody publishes", signed(Signature::Foreign), false),
        ("a key that the token carries", signed(Signature::Embedded), false),
        ("a changed signature", signed(Signature::Changed), false),
        ("a key of another name", header(json!({ "kid": "another" })), false),
        ("a key without a name, of which there is one", header(json!({ "kid": null })), true),
        ("one without a name among four", Says { others: 3, ..header(json!({ "kid": null })) }, true),
        (
            "one without a name among more than are tried",
            Says { others: 4, ..header(json!({ "kid": null })) },
            false,
        ),
        ("one with its name among many", Says { others: 20, ..Says::default() }, true),
        ("an RSA key", signed(Signature::Rs256), true),
        ("an RSA key and PSS", signed(Signature::Ps256), true),
        ("a key on P-256", signed(Signature::Es256), true),
        (
            "PKCS1 under the name of PSS",
            Says { signature: Signature::Rs256, ..header(json!({ "alg": "PS256" })) },
            false,
        ),
        (
            "a key at an address in the token",
            Says { signature: Signature::Foreign, ..header(json!({ "jku": "https://evil.example/keys" })) },
            false,
        ),
        ("an extension that nobody knows", header(json!({ "crit": ["exp"] })), false),
        ("another algorithm for the same key", header(json!({ "alg": "RS256" })), false),
        ("another issuer in the answer", answered("iss", Some("https://evil.example")), false),
        ("no issuer in the answer", answered("iss", None), false),
        ("no code", answered("code", None), false),
        ("another code", answered("code", Some("x")), false),
        ("an error", answered("error", Some("access_denied")), false),
        ("somebody else besides", userinfo(json!({ "sub": "2" })), false),
        ("nobody besides", userinfo(json!({ "sub": null })), false),
        ("an address that is not verified", userinfo(json!({ "email_verified": false })), true),
        ("no tokens", Says { gives_tokens: false, ..Says::default() }, false),
        ("no keys", Says { keys: Some(Vec::new()), ..Says::default() }, false),
        ("keys behind a redirect", instead("/keys", Document::Elsewhere), false),
        ("more keys than anybody reads", instead("/keys", Document::Huge), false),
        ("a page in place of keys", instead("/keys", Document::Page), false),
        ("tokens behind a redirect", instead("/token", Document::Elsewhere), false),
        ("an answer to the code without an end", instead("/token", Document::Huge), false),
        ("a page in place of tokens", instead("/token", Document::Page), false),
        ("more about somebody behind a redirect", instead("/userinfo", Document::Elsewhere), false),
        ("more about somebody without an end", instead("/userinfo", Document::Huge), false),
        ("a page about somebody", instead("/userinfo", Document::Page), false),
    ]
}

on_both! {
    no_lie_of_a_provider_signs_anybody_in(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        // From now on they are known by issuer and subject.
        assert!(told(&api, &provider, Says::default()).await, "the control");
        for (lie, _, expected) in table(0) {
            let now = kt_domain::clock::Clock::now(&api.clock).as_second();
            let says = table(now).into_iter().find(|(other, ..)| *other == lie).unwrap().1;
            assert_eq!(told(&api, &provider, says).await, expected, "{lie}");
            assert!(told(&api, &provider, Says::default()).await, "the truth, after: {lie}");
        }
    }

    a_code_is_sent_to_the_issuer_that_was_asked_alone(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        assert!(!told(&api, &provider, answered("iss", Some("https://evil.example"))).await);
        assert_eq!(provider.verifiers().len(), 0, "a mixed-up answer is not followed");
        assert!(told(&api, &provider, Says::default()).await);
        assert_eq!(provider.verifiers().len(), 1);
    }

    what_was_begun_ends_once_and_in_the_browser_that_began(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let (browser, stranger) = (api.browser(), api.browser());
        let back = provider.authorize(&depart(&browser).await, "1");
        // Somebody makes another browser come back with an answer of their own: that one would be signed in as they are.
        depart(&stranger).await;
        let answer = stranger.come_back(&back).await;
        assert!(!is_in(&stranger, &answer));
        let without = api.browser().come_back(&back).await;
        assert_eq!(without.leads_to(), Some("/login?reason=sso_refused"));
        let answer = browser.come_back(&back).await;
        assert!(is_in(&browser, &answer), "the control: it is still good in its own browser");
        let again = browser.come_back(&back).await;
        assert_eq!(again.leads_to(), Some("/login?reason=sso_refused"), "a state works once");
        let nothing = browser.come_back("/sso/oidc/acme/callback?code=x&state=x").await;
        assert_eq!(nothing.leads_to(), Some("/login?reason=sso_refused"), "nobody began this");

        let late = api.browser();
        let back = provider.authorize(&depart(&late).await, "1");
        api.clock.advance(Duration::from_mins(10));
        let answer = late.come_back(&back).await;
        assert!(!is_in(&late, &answer), "after ten minutes");
    }

    a_copy_of_the_database_ends_nothing_that_was_begun(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let browser = api.browser();
        let to = depart(&browser).await;
        let copy = String::from_utf8_lossy(&api.copy_of_database().await).into_owned();
        let answer = browser.come_back(&provider.authorize(&to, "1")).await;
        assert!(is_in(&browser, &answer), "the control");
        let verifiers = provider.verifiers();
        assert_eq!(verifiers.len(), 1);
        let asked = url::Url::parse(&to).unwrap();
        let named = asked.query_pairs().filter(|(name, _)| name == "state" || name == "nonce");
        let kept_by_others: Vec<_> = named.map(|(_, value)| value.into_owned()).chain(verifiers).collect();
        assert_eq!(kept_by_others.len(), 3);
        for secret in kept_by_others {
            assert!(!copy.contains(&secret), "{secret}");
        }
    }

    an_answer_comes_back_to_the_address_of_its_own_provider(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let browser = api.browser();
        let back = provider.authorize(&depart(&browser).await, "1");
        for other in ["/sso/oidc/other/callback", "/sso/google/callback"] {
            let browser = api.browser();
            let back = provider.authorize(&depart(&browser).await, "1");
            let answer = browser.come_back(&back.replace("/sso/oidc/acme/callback", other)).await;
            assert!(!is_in(&browser, &answer), "{other}");
        }
        let refused = api.records("auth.sign_in").await;
        let mixed_up = refused.iter().filter(|record| record.to_string().contains("address of another provider"));
        assert_eq!(mixed_up.count(), 2, "the one sign of it is recorded: {refused:?}");
        let answer = browser.come_back(&back).await;
        assert!(is_in(&browser, &answer), "the control");
    }

    keys_that_were_put_in_place_of_others_are_found_once_a_minute(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let comes = async || {
            let browser = api.browser();
            let answer = provider.way(&browser, "1").await;
            is_in(&browser, &answer)
        };
        assert!(comes().await);
        assert!(comes().await);
        assert_eq!(provider.looks(), 1, "keys are remembered");
        api.clock.advance(Duration::from_secs(61));
        provider.rotate();
        assert!(comes().await, "a token of a new key");
        assert_eq!(provider.looks(), 2);
        // A token of a key that nobody publishes makes us ask no more than once a minute.
        provider.says(header(json!({ "kid": "unknown" })));
        for _ in 0..3 {
            assert!(!comes().await);
        }
        assert_eq!(provider.looks(), 2);
    }

    metadata_is_read_within_bounds_and_is_of_the_issuer_that_was_named(api) {
        let provider = Provider::start(&api.clock).await;
        let owner = api.owner().await;
        let elsewhere = |name: &str| json!({ name: "http://evil.example/x" });
        let lies = [
            ("a redirect", Says { documents: Document::Elsewhere, ..Says::default() }),
            ("a huge document", Says { documents: Document::Huge, ..Says::default() }),
            ("a page", Says { documents: Document::Page, ..Says::default() }),
            ("nothing", Says { documents: Document::Missing, ..Says::default() }),
            ("another issuer", Says { metadata: json!({ "issuer": "https://evil.example" }), ..Says::default() }),
            ("no issuer", Says { metadata: json!({ "issuer": null }), ..Says::default() }),
            ("no keys", Says { metadata: json!({ "jwks_uri": null }), ..Says::default() }),
            ("plain http to others", Says { metadata: elsewhere("token_endpoint"), ..Says::default() }),
            ("keys by plain http", Says { metadata: elsewhere("jwks_uri"), ..Says::default() }),
            ("a script", Says { metadata: json!({ "authorization_endpoint": "javascript:alert(1)" }), ..Says::default() }),
        ];
        for (lie, says) in lies {
            provider.says(says);
            let refused = api.put_provider(&owner, &provider, json!({})).await;
            assert_eq!(refused.refusal(), (422, "validation_error"), "{lie}");
            assert_eq!(refused.text("/error/param"), "issuer", "{lie}");
        }
        provider.says(Says::default());
        let made = api.put_provider(&owner, &provider, json!({})).await;
        assert_eq!(made.status, 200, "the control: {}", made.json);
    }

    metadata_that_becomes_a_lie_after_the_set_up_lets_nobody_in(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let lies = [
            ("a redirect", Says { documents: Document::Elsewhere, ..Says::default() }),
            ("a huge document", Says { documents: Document::Huge, ..Says::default() }),
            ("a page", Says { documents: Document::Page, ..Says::default() }),
            ("another issuer", Says { metadata: json!({ "issuer": "https://evil.example" }), ..Says::default() }),
            ("no keys", Says { metadata: json!({ "jwks_uri": null }), ..Says::default() }),
        ];
        for (lie, says) in lies {
            assert!(told(&api, &provider, Says::default()).await, "the control, before: {lie}");
            // Somebody is at the provider while what is remembered of it ends.
            api.clock.advance(Duration::from_mins(6));
            let browser = api.browser();
            let back = provider.authorize(&depart(&browser).await, "1");
            api.clock.advance(Duration::from_mins(6));
            provider.says(says);
            let asked = provider.metadata_looks();
            let answer = browser.come_back(&back).await;
            assert_eq!(answer.leads_to(), Some("/login?reason=sso_refused"), "{lie}: {}", answer.body);
            assert!(provider.metadata_looks() > asked, "{lie}: it is read anew");
            api.clock.advance(Duration::from_secs(11));
            let left = api.browser().post("/login/sso", &[("organization", "acme")]).await;
            assert_eq!(left.refusal(), (503, "identity_provider_unreachable"), "{lie}: nobody is sent there");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_inside_the_network_is_not_asked_where_providers_are_on_the_internet() {
    for (inside, is_forbidden) in [
        (TestApi::with_public_providers(Kind::Sqlite).await, true),
        (TestApi::with_owner(Kind::Sqlite).await, false),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move { listener.accept().await.is_ok() });
        let body = json!({ "issuer": format!("https://127.0.0.1:{port}"), "client_id": "x" });
        let owner = inside.owner().await;
        let put = inside.put("/v1/organization/sso/oidc", body).bearer(owner.access_token());
        let refused = tokio::time::timeout(Duration::from_secs(20), put.send()).await.unwrap();
        assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, "issuer"));
        assert_eq!(
            refused.text("/error/message").contains("inside this network"),
            is_forbidden,
            "{}",
            refused.json
        );
        assert_eq!(heard.is_finished(), !is_forbidden, "whether anybody knocked");
        heard.abort();
    }
}
