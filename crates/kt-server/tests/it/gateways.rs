//! What gateways report and fetch: the keys of their own organization, told as they change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::http::Method;
use kt_control::Bearer;
use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::ctx::Ctx;
use kt_domain::keys::{PassTerms, UnverifiedPass};
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;
use kt_store::gateways::{self, Gateway};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::harness::{Answer, PEER, TestApi, on_both, side_by_side};

/// Longer than anything takes here but a wait for a change that does not come.
const PATIENCE_S: u64 = 20;

pub(crate) async fn key(api: &TestApi, session: &Answer, kind: &str, scope: &str) -> Answer {
    let body = json!({ "type": kind, "name": "a key", "scope": scope });
    let made = api.post("/v1/tokens", body).bearer(session.access_token()).send().await;
    assert_eq!(made.status, 201, "{}", made.json);
    made
}

pub(crate) async fn sync(api: &TestApi, bearer: &str, more: Value) -> Answer {
    let mut body =
        json!({ "gateway_id": "gw_edge", "software_version": "0.1.0", "config_version": "0123456789ab" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post("/v1/gateways/sync", body).bearer(bearer).send().await
}

/// The ids of the keys in an answer.
pub(crate) fn known(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json["keys"]["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect()
}

fn scope_of<'a>(answer: &'a Answer, id: &str) -> &'a Value {
    let keys = answer.json["keys"]["keys"].as_array().unwrap();
    &keys.iter().find(|key| key["id"] == id).unwrap()["terms"]["scope"]
}

on_both! {
    a_gateway_is_enrolled_by_its_key_and_listed(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        assert_eq!(sync(&api, gateway.text("/key"), json!({})).await.status, 200);
        assert_eq!(sync(&api, gateway.text("/key"), json!({ "config_version": "ba9876543210" })).await.status, 200);
        assert_eq!(api.records("gateway.enrolled").await.len(), 1, "once, however often it reports");
        let list = || api.get("/v1/gateways").bearer(owner.access_token()).send();
        let listed = list().await.json["gateways"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert_eq!(listed[0]["id"], "gw_edge");
        assert_eq!(listed[0]["config_version"], "ba9876543210");
        assert_eq!(listed[0]["key_id"], gateway.json["id"]);
        assert_eq!(listed[0]["connected"], true);
        assert_eq!((&listed[0]["address"], &listed[0]["targets"]), (&Value::Null, &json!([])));
        let targets = json!([{ "id": "main", "provider": "openai", "state": "usable", "models": ["small", "large"] }]);
        let more = json!({ "address": "https://gateway.example", "targets": targets });
        assert_eq!(sync(&api, gateway.text("/key"), more).await.status, 200);
        let listed = list().await.json["gateways"].clone();
        assert_eq!((&listed[0]["address"], &listed[0]["targets"]), (&json!("https://gateway.example"), &targets));
        api.clock.advance(Duration::from_mins(2));
        assert_eq!(list().await.json["gateways"][0]["connected"], false);
    }

    an_address_of_its_own_machine_is_believed_to_a_gateway_on_this_one_alone(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let secrets = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", secrets.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let listens = tokio::spawn(async move {
            while secrets.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let targets = json!([{ "id": "main", "provider": "openai", "state": "usable", "models": [] }]);
        let report = json!({ "gateway_id": "gw_edge", "software_version": "0.1.0", "config_version": "0123456789ab",
            "address": address, "targets": targets });
        let bearer = Bearer(owner.access_token());
        let found = api.control.authenticate(&api.operator(), bearer).await.unwrap();
        let ctx = Ctx { actor: found.actor, ..api.operator() };
        for (peer, is_reached) in [(PEER, false), ("127.0.0.1:40000", true)] {
            let sync = api.post("/v1/gateways/sync", report.clone()).bearer(gateway.text("/key")).from(peer);
            assert_eq!(sync.send().await.status, 200);
            let told = api.get("/v1/gateways/gw_edge").bearer(owner.access_token()).send().await;
            assert_eq!(told.json["reached_at"].is_string(), is_reached, "{peer}: {}", told.json);
            api.control.models(&ctx).await.unwrap();
            let was_asked = asked.load(Ordering::SeqCst) > 0;
            assert_eq!(was_asked, is_reached, "what listens on this machine, for a gateway at {peer}");
        }
        listens.abort();
    }

    what_a_gateways_own_files_say_is_asked_for_once_a_version_and_shown(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let report = async |more: Value| sync(&api, gateway.text("/key"), more).await;
        let wanted = |answer: &Answer| answer.json["configuration_wanted"].as_bool().unwrap();
        let shown = async || api.get("/v1/gateways/gw_edge").bearer(owner.access_token()).send().await.json["configuration"].clone();
        assert!(wanted(&report(json!({ "config_source": "file" })).await));
        assert!(!wanted(&report(json!({ "config_source": "kept" })).await), "what it has from here is known");
        assert_eq!(shown().await, Value::Null);

        let document = json!({ "pack": { "name": "edge" } });
        let told = |version: &str, document: &Value| json!({ "config_source": "file", "config_version": version,
            "configuration": { "version": version, "document": document } });
        assert!(!wanted(&report(told("aaaaaaaaaaaa", &document)).await));
        assert_eq!(shown().await, document);
        assert!(wanted(&report(json!({ "config_source": "file", "config_version": "bbbbbbbbbbbb" })).await));
        assert_eq!(shown().await, Value::Null, "of the version before");
        let other_version = json!({ "config_source": "file", "config_version": "bbbbbbbbbbbb", "tells_configuration": true });
        let keys = report(other_version.clone()).await.text("/keys/version").to_owned();
        let mut waits = other_version;
        waits.as_object_mut().unwrap().extend(json!({ "keys_version": keys, "wait_seconds": PATIENCE_S }).as_object().unwrap().clone());
        let began = Instant::now();
        assert!(wanted(&report(waits).await), "it does not wait to be told");
        assert!(began.elapsed() < Duration::from_secs(PATIENCE_S));
        let long = Value::from("x".repeat(256 * 1024));
        assert_eq!(report(told("bbbbbbbbbbbb", &long)).await.refusal(), (422, "validation_error"));
        assert!(!wanted(&report(told("bbbbbbbbbbbb", &Value::Null)).await), "one that is too long is told of");

        assert_eq!(report(told("aaaaaaaaaaaa", &document)).await.status, 200);
        let other = api.organization("other").await;
        api.add_member_of(&other, "boss@other.example", Role::Owner).await;
        let boss = api.login("boss@other.example", crate::harness::PASSWORD).await;
        let theirs = key(&api, &boss, "gateway", "write").await;
        assert!(wanted(&sync(&api, theirs.text("/key"), json!({ "config_source": "file", "config_version": "aaaaaaaaaaaa" })).await));
        let theirs = api.get("/v1/gateways/gw_edge").bearer(boss.access_token()).send().await;
        assert_eq!(theirs.json["configuration"], Value::Null, "their own of that name");
        assert_eq!(shown().await, document, "the control");
    }

    of_many_first_reports_at_once_one_enrols_the_gateway(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let answers = side_by_side((0..30).map(|_| sync(&api, gateway.text("/key"), json!({})))).await;
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.json);
        }
        assert_eq!(api.records("gateway.enrolled").await.len(), 1);
        let listed = api.get("/v1/gateways").bearer(owner.access_token()).send().await;
        assert_eq!(listed.json["gateways"].as_array().unwrap().len(), 1, "{}", listed.json);
    }

    one_key_does_not_enrol_gateways_without_end(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        assert_eq!(sync(&api, gateway.text("/key"), json!({})).await.status, 200);
        let organization = owner.text("/organization/id").parse().unwrap();
        let known = gateways::find(&api.store, &organization, "gw_edge").await.unwrap().unwrap();
        let tx = api.store.begin_write().await.unwrap();
        for number in 1..1000 {
            gateways::insert(&tx, &Gateway { id: format!("gw_{number}"), ..known.clone() }).await.unwrap();
        }
        tx.commit().await.unwrap();
        let more = sync(&api, gateway.text("/key"), json!({ "gateway_id": "gw_more" })).await;
        assert_eq!(more.refusal(), (409, "too_many_gateways"));
        assert_eq!(sync(&api, gateway.text("/key"), json!({})).await.status, 200, "one that is known reports on");
        let tx = api.store.begin_write().await.unwrap();
        gateways::delete(&tx, &organization, "gw_1").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sync(&api, gateway.text("/key"), json!({ "gateway_id": "gw_more" })).await.status, 200, "the control");
    }

    only_a_gateways_key_fetches_keys_and_only_of_its_own_organization(api) {
        let owner = api.owner().await;
        let access = key(&api, &owner, "access", "admin").await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        for bearer in [access.text("/key"), owner.access_token()] {
            assert_eq!(sync(&api, bearer, json!({})).await.refusal().0, 403);
        }
        let told = sync(&api, gateway.text("/key"), json!({})).await;
        assert_eq!(known(&told), [access.text("/id")], "a gateway's key opens no gateway");
        let digest = SecretDigest::of(access.text("/key")).to_string();
        assert_eq!(told.json["keys"]["keys"][0]["digest"], digest);
        assert!(!told.json.to_string().contains(access.text("/key")));

        let other = api.organization("other").await;
        api.add_member_of(&other, "boss@other.example", Role::Owner).await;
        let boss = api.login("boss@other.example", crate::harness::PASSWORD).await;
        let theirs = key(&api, &boss, "gateway", "write").await;
        let told = sync(&api, theirs.text("/key"), json!({ "software_version": "9.9.9" })).await;
        assert_eq!(told.status, 200, "who else has a gateway of this name is nobody's business: {}", told.json);
        assert_eq!(known(&told), Vec::<&str>::new());
        for (bearer, version) in [(boss.access_token(), "9.9.9"), (owner.access_token(), "0.1.0")] {
            let list = api.get("/v1/gateways").bearer(bearer).send().await;
            assert_eq!(list.json["gateways"].as_array().unwrap().len(), 1);
            assert_eq!(list.json["gateways"][0]["software_version"], version);
        }
    }

    what_a_gateway_says_of_itself_is_checked(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let long = "x".repeat(65);
        for wrong in [
            json!({ "gateway_id": "" }), json!({ "gateway_id": "a b" }), json!({ "gateway_id": long }),
            json!({ "config_version": "<script>" }), json!({ "software_version": "" }),
            json!({ "wait_seconds": 26 }), json!({ "more": 1 }),
            json!({ "address": "ftp://gateway.example" }), json!({ "address": "http://gateway.example" }),
            json!({ "targets": [{ "id": "", "provider": "openai", "state": "usable" }] }),
            json!({ "targets": [{ "id": "a", "provider": "openai", "state": "perfect" }] }),
            json!({ "targets": [{ "id": "a", "provider": "openai", "state": "usable", "more": 1 }] }),
        ] {
            assert_eq!(sync(&api, gateway.text("/key"), wrong.clone()).await.refusal().0, 422, "{wrong}");
        }
        assert_eq!(sync(&api, gateway.text("/key"), json!({})).await.status, 200);
    }

    a_revocation_ends_the_wait_of_a_gateway_at_once(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let (first, second) = (key(&api, &owner, "access", "write").await, key(&api, &owner, "access", "write").await);
        let told = sync(&api, gateway.text("/key"), json!({})).await;
        assert_eq!(known(&told).len(), 2);
        let version = told.text("/keys/version").to_owned();
        let unchanged = sync(&api, gateway.text("/key"), json!({ "keys_version": version })).await;
        assert_eq!(unchanged.json["keys"], Value::Null);

        let begun = Instant::now();
        let wait = json!({ "keys_version": version, "wait_seconds": PATIENCE_S });
        let revoke = async {
            tokio::task::yield_now().await;
            let path = format!("/v1/tokens/{}", first.text("/id"));
            api.request(Method::DELETE, &path).bearer(owner.access_token()).send().await
        };
        let (told, revoked) = tokio::join!(sync(&api, gateway.text("/key"), wait), revoke);
        assert_eq!(revoked.status, 204);
        assert_eq!(known(&told), [second.text("/id")]);
        assert!(begun.elapsed() < Duration::from_secs(PATIENCE_S / 2));
    }

    who_waits_with_a_key_that_is_revoked_is_told_nothing_more(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let version = sync(&api, gateway.text("/key"), json!({})).await.text("/keys/version").to_owned();
        let wait = json!({ "keys_version": version, "wait_seconds": PATIENCE_S });
        let revoke = async {
            tokio::task::yield_now().await;
            let path = format!("/v1/tokens/{}", gateway.text("/id"));
            api.request(Method::DELETE, &path).bearer(owner.access_token()).send().await
        };
        let (told, revoked) = tokio::join!(sync(&api, gateway.text("/key"), wait), revoke);
        assert_eq!(revoked.status, 204);
        assert_eq!(told.refusal(), (401, "invalid_key"));
    }

    a_key_reaches_no_further_than_its_owner(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let admin = api.somebody("admin").await;
        let theirs = key(&api, &admin, "access", "admin").await;
        let told = sync(&api, gateway.text("/key"), json!({})).await;
        assert_eq!(scope_of(&told, theirs.text("/id")), "admin");
        let rename = |key: &Answer| {
            api.patch("/v1/organization", json!({ "name": "Acme" })).bearer(key.text("/key")).send()
        };
        assert_eq!(rename(&theirs).await.status, 200);
        api.becomes(&admin, Role::Auditor, MembershipState::Active).await;
        let refused = rename(&theirs).await;
        assert_eq!(refused.refusal(), (403, "insufficient_scope"));
        assert!(refused.text("/error/message").starts_with("The owner of this key"), "{}", refused.json);
        let told = sync(&api, gateway.text("/key"), json!({})).await;
        assert_eq!(scope_of(&told, theirs.text("/id")), &Value::Null, "an auditor changes nothing");
        api.becomes(&admin, Role::Admin, MembershipState::Suspended).await;
        assert_eq!(known(&sync(&api, gateway.text("/key"), json!({})).await), Vec::<&str>::new());
        let reads = key(&api, &owner, "access", "read-only").await;
        assert!(rename(&reads).await.text("/error/message").starts_with("This key's scope is `read-only`"));
    }
}

on_both! {
    a_signed_in_person_is_given_a_pass_that_their_gateways_know_and_the_api_does_not(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        let told = sync(&api, gateway.text("/key"), json!({})).await;
        let terms: PassTerms = serde_json::from_value(told.json["keys"]["passes"].clone()).unwrap();
        let ctx_of = async |session: &Answer| {
            let bearer = Bearer(session.access_token());
            let found = api.control.authenticate(&api.operator(), bearer).await.unwrap();
            Ctx { actor: found.actor, ..api.operator() }
        };
        let ctx = ctx_of(&owner).await;
        let pass = api.control.gateway_pass(&ctx).await.unwrap();
        let read = UnverifiedPass::parse(pass.expose_secret().as_bytes()).unwrap();
        let signer = terms.keys.iter().find(|key| key.kid == read.kid).unwrap();
        UnparsedPublicKey::new(&ED25519, signer.key.0).verify(read.signed, &read.signature).unwrap();
        let claims = read.claims().unwrap();
        assert_eq!(claims.check(&terms, api.clock.now()), Ok(()));
        assert_eq!(claims.sub.as_str(), owner.text("/user/id"));
        let asked = api.get("/v1/whoami").bearer(pass.expose_secret()).send().await;
        assert_eq!(asked.refusal(), (401, "invalid_token"));
        assert_eq!(api.get("/v1/whoami").bearer(owner.access_token()).send().await.status, 200, "the control");

        let auditor = ctx_of(&api.somebody("auditor").await).await;
        assert_eq!(api.control.gateway_pass(&auditor).await.unwrap_err().code, "insufficient_role");
        let signed_out = api.post("/v1/auth/logout", json!({})).bearer(owner.access_token()).send().await;
        assert!(signed_out.status.is_success());
        assert_eq!(api.control.gateway_pass(&ctx).await.unwrap_err().code, "invalid_token");
    }
}
