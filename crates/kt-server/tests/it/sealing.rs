//! Another key in the place of the one that seals secrets: nothing is lost, and servers that run follow.

use std::sync::{Arc, Mutex};

use kt_control::SealKey;
use kt_domain::random::Random;
use kt_store::sealed::{self, SealedKind};
use serde_json::json;

use crate::databases::Kind;
use crate::harness::{PASSWORD, TestApi};
use crate::mfa::{Holder, step, verify};

const JO: &str = "jo@acme.example";

/// What somebody has who has used everything that is sealed.
struct Held {
    jo: Holder,
    owner: String,
    /// What creating a key has answered.
    key: String,
}

/// Lets the database hold something sealed of every kind.
async fn fill(api: &TestApi) -> Held {
    let jo = Holder::new(api, JO, "member").await;
    let owner = api.token_of("owner@acme.example").await;
    let key = create_key(api, &owner).await;
    let credential = json!({ "name": "openai", "key": "sk-1" });
    assert_eq!(api.post("/v1/provider-credentials", credential).bearer(&owner).send().await.status, 204);
    let at = |part: &str| format!("https://id.acme.example/{part}");
    let provider = json!({
        "issuer": at(""), "client_id": "us", "client_secret": "a secret of the client",
        "endpoints": { "authorization": at("authorize"), "token": at("token"), "jwks": at("jwks") },
    });
    let set = api.put("/v1/organization/sso/oidc", provider).bearer(&owner).send().await;
    assert_eq!(set.status, 200, "{}", set.json);
    api.post("/v1/auth/password/forgot", json!({ "email": JO })).send().await;
    Held { jo, owner, key }
}

/// The text of a key, whose creation is answered as it was however often it is sent.
async fn create_key(api: &TestApi, bearer: &str) -> String {
    let body = json!({ "type": "access", "name": "CI", "scope": "admin" });
    let made = api.post("/v1/tokens", body).bearer(bearer).header("idempotency-key", "one").send().await;
    assert_eq!(made.status, 201, "{}", made.json);
    made.text("/key").to_owned()
}

/// Shows that everything that stands sealed can be used.
async fn use_everything(api: &TestApi, held: &Held) {
    assert_eq!(create_key(api, &held.owner).await, held.key, "an answer is given again");
    api.clock.advance(std::time::Duration::from_secs(30));
    let flow = step(api, JO).await;
    assert_eq!(
        verify(api, &flow, "totp", &held.jo.app.code(&api.clock)).await.text("/status"),
        "authenticated"
    );
}

async fn replace(kind: Kind) {
    let mut random = Random::from_os();
    let (old, new) = (SealKey::new_text(&mut random), SealKey::new_text(&mut random));
    let both = format!("{old}\n{new}");
    let file = Arc::new(Mutex::new(old.clone()));
    let read = Arc::clone(&file);
    let seal = SealKey::from_text(&old).unwrap().rereading(move || Some(read.lock().unwrap().clone()));
    let running = TestApi::with_seal(kind, seal).await;
    let held = fill(&running).await;
    for &kind in SealedKind::ALL {
        assert!(!sealed::all(&running.store, kind).await.unwrap().is_empty(), "there is something of {kind}");
    }

    let command = running.sealing_with(SealKey::from_text(&both).unwrap()).await;
    let left = command.control.count_sealed_with_older_keys(&command.operator()).await.unwrap();
    assert!(left >= SealedKind::ALL.len(), "{left}");
    *file.lock().unwrap() = both;
    let mut told = Vec::new();
    assert_eq!(command.control.reseal(&command.operator(), |so_far| told.push(so_far)).await.unwrap(), left);
    assert!(told.is_sorted() && told.first() < told.last() && told.last() == Some(&left), "{told:?}");
    assert_eq!(command.control.count_sealed_with_older_keys(&command.operator()).await.unwrap(), 0);
    assert_eq!(
        command.control.reseal(&command.operator(), |_| ()).await.unwrap(),
        0,
        "a second time there is nothing to do"
    );
    use_everything(&running, &held).await;

    let later = SealKey::from_text(&new).unwrap();
    for &kind in SealedKind::ALL {
        for value in sealed::all(&running.store, kind).await.unwrap() {
            assert!(later.open(&value.place(), &value.text).is_ok(), "{value:?} opens with the new key");
            assert!(
                SealKey::from_text(&old).unwrap().open(&value.place(), &value.text).is_err(),
                "{value:?}"
            );
        }
    }
    let later = running.sealing_with(later).await;
    use_everything(&later, &held).await;
    let mailed = later.token_for(JO).await;
    let reset = json!({ "token": mailed, "new_password": "Quiet-otter-7-harbour" });
    assert_eq!(later.post("/v1/auth/password/reset", reset).send().await.status, 200, "mail that waited");
    assert_eq!(later.login(JO, PASSWORD).await.refusal(), (401, "invalid_credentials"));
}

#[tokio::test]
async fn nothing_is_lost_when_another_key_seals_on_sqlite() {
    replace(Kind::Sqlite).await;
}

#[tokio::test]
async fn nothing_is_lost_when_another_key_seals_on_postgres() {
    replace(Kind::Postgres).await;
}
