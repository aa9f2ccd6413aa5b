//! Provisioning by an identity provider, as Okta and Entra ID speak it.

use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApi, on_both};

const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Every address, with identifiers that nobody has.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/ServiceProviderConfig"),
    ("GET", "/ResourceTypes"),
    ("GET", "/ResourceTypes/User"),
    ("GET", "/Schemas"),
    ("GET", "/Schemas/none"),
    ("GET", "/Users"),
    ("POST", "/Users"),
    ("GET", "/Users/none"),
    ("PUT", "/Users/none"),
    ("PATCH", "/Users/none"),
    ("DELETE", "/Users/none"),
    ("GET", "/Groups"),
    ("POST", "/Groups"),
    ("GET", "/Groups/none"),
    ("PUT", "/Groups/none"),
    ("PATCH", "/Groups/none"),
    ("DELETE", "/Groups/none"),
];

/// A provisioning key of this person's, in an organisation that owns `acme.example`.
async fn provider_of(api: &TestApi, email: &str) -> String {
    api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
    let new = json!({ "type": "scim", "name": "directory", "scope": "write" });
    let made = api.post("/v1/tokens", new).bearer(&api.token_of(email).await).send().await;
    made.text("/key").to_owned()
}

async fn provider(api: &TestApi) -> String {
    provider_of(api, "owner@acme.example").await
}

async fn send(api: &TestApi, key: &str, method: Method, path: &str, body: Value) -> Answer {
    let body = Some(body).filter(|body| !body.is_null());
    api.request(method, &format!("/scim/v2{path}")).bearer(key).body(body).send().await
}

async fn create(api: &TestApi, key: &str, name: &str) -> Answer {
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "externalId": format!("ext-{name}"),
        "name": { "givenName": "Ada", "familyName": "Lovelace" }, "active": true, "title": "Countess",
        "emails": [{ "primary": true, "value": name, "type": "work" }],
    });
    send(api, key, Method::POST, "/Users", user).await
}

async fn patch(api: &TestApi, key: &str, id: &str, operations: Value) -> Answer {
    let body =
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations });
    send(api, key, Method::PATCH, &format!("/Users/{id}"), body).await
}

/// Status and word of a refusal.
fn word(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.json["schemas"][0], ERROR, "{}", answer.body);
    assert_eq!(answer.json["status"], answer.status.as_str());
    (answer.status.as_u16(), answer.json["scimType"].as_str().unwrap_or_default())
}

on_both! {
    a_user_is_made_found_changed_and_removed(api) {
        let key = provider(&api).await;
        let made = create(&api, &key, "ada@acme.example").await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = made.text("/id").to_owned();
        assert_eq!((made.text("/userName"), made.text("/displayName")), ("ada@acme.example", "Ada Lovelace"));
        assert!(made.text("/meta/location").ends_with(&format!("/scim/v2/Users/{id}")));
        for filter in ["userName eq \"ADA@acme.example\"", "externalId eq \"ext-ada@acme.example\"", "userName Eq \"ada@acme.example\""] {
            let found = send(&api, &key, Method::GET, &format!("/Users?filter={}", filter.replace(' ', "%20").replace('"', "%22")), Value::Null).await;
            assert_eq!((&found.json["totalResults"], found.text("/Resources/0/id")), (&json!(1), id.as_str()), "{filter}");
        }
        let none = send(&api, &key, Method::GET, "/Users?filter=userName%20eq%20%22nobody@acme.example%22", Value::Null).await;
        assert_eq!(none.json["totalResults"], 0);
        let page = send(&api, &key, Method::GET, "/Users?startIndex=2&count=1", Value::Null).await;
        assert_eq!((&page.json["totalResults"], &page.json["itemsPerPage"], &page.json["startIndex"]), (&json!(2), &json!(1), &json!(2)));
        let renamed = patch(&api, &key, &id, json!([{ "op": "Replace", "path": "name.familyName", "value": "Byron" }])).await;
        assert_eq!(renamed.text("/displayName"), "Ada Byron");
        let put = send(&api, &key, Method::PUT, &format!("/Users/{id}"), json!({ "userName": "ada@acme.example", "displayName": "Countess", "active": false })).await;
        assert_eq!((put.text("/displayName"), &put.json["active"]), ("Countess", &json!(false)));
        assert_eq!(send(&api, &key, Method::DELETE, &format!("/Users/{id}"), Value::Null).await.status, 204);
        assert_eq!(word(&send(&api, &key, Method::GET, &format!("/Users/{id}"), Value::Null).await), (404, ""));
        assert!(api.recorded("member.provisioned").await && api.recorded("member.removed").await);
    }

    nobody_signs_in_with_a_password_that_was_never_set(api) {
        let key = provider(&api).await;
        create(&api, &key, "ada@acme.example").await;
        for password in ["", "ada", crate::harness::PASSWORD] {
            let answer = api.login("ada@acme.example", password).await;
            assert_ne!(answer.json["status"], "authenticated", "{password}");
        }
    }

    deactivation_is_felt_at_the_next_request_in_every_spelling(api) {
        let key = provider(&api).await;
        let user = api.add_member("ada@acme.example", "member").await.to_string();
        api.demand(json!({ "creation": "everyone" })).await;
        for operation in [
            json!({ "op": "replace", "path": "active", "value": false }),
            json!({ "op": "Replace", "path": "active", "value": "False" }),
            json!({ "op": "replace", "value": { "active": false } }),
        ] {
            let session = api.token_of("ada@acme.example").await;
            let made = api.post("/v1/tokens", json!({ "name": "laptop", "scope": "read-only" })).bearer(&session).send().await;
            let token = made.text("/key").to_owned();
            for bearer in [&session, &token] {
                assert_eq!(api.get("/v1/whoami").bearer(bearer).send().await.status, 200, "the control");
            }
            let changed = patch(&api, &key, &user, json!([operation])).await;
            assert_eq!(changed.json["active"], false, "{}", changed.body);
            for bearer in [&session, &token] {
                assert_eq!(api.get("/v1/whoami").bearer(bearer).send().await.status, 401, "{operation}");
            }
            assert_ne!(api.login("ada@acme.example", crate::harness::PASSWORD).await.json["status"], "authenticated");
            let back = patch(&api, &key, &user, json!([{ "op": "replace", "path": "active", "value": "True" }])).await;
            assert_eq!(back.json["active"], true);
            assert_eq!(api.get("/v1/whoami").bearer(&session).send().await.status, 401, "a session that was ended stays so");
            api.clock.advance(Duration::from_mins(1));
        }
        let session = api.token_of("ada@acme.example").await;
        assert_eq!(send(&api, &key, Method::DELETE, &format!("/Users/{user}"), Value::Null).await.status, 204);
        assert_eq!(api.get("/v1/whoami").bearer(&session).send().await.status, 401);
    }

    only_addresses_of_the_organizations_own_domains_are_taken_in(api) {
        let key = provider(&api).await;
        assert_eq!(word(&create(&api, &key, "ada@elsewhere.example").await), (400, "invalidValue"));
        assert_eq!(word(&create(&api, &key, "no address").await), (400, "invalidValue"));
        assert_eq!(create(&api, &key, "ada@acme.example").await.status, 201);
        assert_eq!(word(&create(&api, &key, "Ada@acme.example").await), (409, "uniqueness"));
        let twin = json!({ "userName": "bob@acme.example", "externalId": "ext-ada@acme.example" });
        assert_eq!(word(&send(&api, &key, Method::POST, "/Users", twin).await), (409, "uniqueness"));
    }

    whoever_registered_before_with_the_address_has_nothing_of_it(api) {
        api.set_registration(json!({ "self_registration": true })).await;
        let register = json!({ "organization": "acme", "email": "ada@acme.example", "name": "Mallory", "password": "vexing otter plumbs Azure 7" });
        api.post("/v1/auth/register", register).send().await;
        let key = provider(&api).await;
        let made = create(&api, &key, "ada@acme.example").await;
        assert_eq!(word(&made), (409, "uniqueness"), "they wait for approval");
        let id = send(&api, &key, Method::GET, "/Users?filter=userName%20eq%20%22ada@acme.example%22", Value::Null).await.text("/Resources/0/id").to_owned();
        assert_eq!(send(&api, &key, Method::DELETE, &format!("/Users/{id}"), Value::Null).await.status, 204);
        assert_eq!(create(&api, &key, "ada@acme.example").await.status, 201);
        let planted = api.login("ada@acme.example", "vexing otter plumbs Azure 7").await;
        assert_eq!(planted.refusal(), (401, "invalid_credentials"));
    }

    owners_are_nobodys_to_remove_but_owners_and_the_last_one_stays(api) {
        api.add_member("admin@acme.example", "admin").await;
        let second = api.add_member("second@acme.example", "owner").await.to_string();
        let owners = provider(&api).await;
        let admins = provider_of(&api, "admin@acme.example").await;
        let off = json!([{ "op": "replace", "path": "active", "value": false }]);
        assert_eq!(patch(&api, &admins, &second, off.clone()).await.status, 403, "an admin's key reaches no owner");
        let me = api.get("/v1/me").bearer(&api.token_of("owner@acme.example").await).send().await.text("/id").to_owned();
        assert_eq!(patch(&api, &owners, &me, off.clone()).await.status, 409, "nobody shuts themselves out");
        assert_eq!(patch(&api, &owners, &second, off).await.json["active"], false, "another owner remains");
    }

    groups_are_kept_with_their_members(api) {
        let key = provider(&api).await;
        let [ada, bob] = [create(&api, &key, "ada@acme.example").await, create(&api, &key, "bob@acme.example").await].map(|made| made.text("/id").to_owned());
        let group = json!({ "displayName": "Ops", "externalId": "g1", "members": [{ "value": ada }] });
        let made = send(&api, &key, Method::POST, "/Groups", group.clone()).await;
        assert_eq!((made.status.as_u16(), made.text("/members/0/value")), (201, ada.as_str()));
        let path = format!("/Groups/{}", made.text("/id"));
        assert_eq!(word(&send(&api, &key, Method::POST, "/Groups", group).await), (409, "uniqueness"));
        let of = async |user: &str| send(&api, &key, Method::GET, &format!("/Users/{user}"), Value::Null).await.json["groups"].clone();
        assert_eq!(of(&ada).await[0]["display"], "Ops");
        let change = |operations: Value| json!({ "Operations": operations });
        send(&api, &key, Method::PATCH, &path, change(json!([{ "op": "Add", "path": "members", "value": [{ "value": bob }] }]))).await;
        let both = send(&api, &key, Method::GET, &path, Value::Null).await;
        assert_eq!(both.json["members"].as_array().unwrap().len(), 2);
        let left = send(&api, &key, Method::PATCH, &path, change(json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]))).await;
        assert_eq!(left.text("/members/0/value"), bob);
        assert_eq!(of(&ada).await, json!([]));
        let nobody = json!([{ "op": "add", "path": "members", "value": [{ "value": format!("usr_{:032}", 7) }] }]);
        assert_eq!(word(&send(&api, &key, Method::PATCH, &path, change(nobody)).await), (400, "invalidValue"));
        let found = send(&api, &key, Method::GET, "/Groups?filter=displayName%20eq%20%22Ops%22", Value::Null).await;
        assert_eq!(found.json["totalResults"], 1);
        assert_eq!(send(&api, &key, Method::DELETE, &path, Value::Null).await.status, 204);
        assert_eq!(of(&bob).await, json!([]));
    }

    what_is_wrong_is_said_in_the_protocols_words(api) {
        let key = provider(&api).await;
        let id = create(&api, &key, "ada@acme.example").await.text("/id").to_owned();
        for (method, path, body, expected) in [
            (Method::GET, "/Users?filter=userName%20co%20%22a%22".to_owned(), Value::Null, (400, "invalidFilter")),
            (Method::GET, "/Users?filter=password%20eq%20%22a%22".to_owned(), Value::Null, (400, "invalidFilter")),
            (Method::POST, "/Users".to_owned(), json!({ "active": true }), (400, "invalidValue")),
            (Method::PATCH, format!("/Users/{id}"), json!({ "Operations": 1 }), (400, "invalidSyntax")),
            (Method::PATCH, format!("/Users/{id}"), json!({ "Operations": [{ "op": "remove" }] }), (400, "noTarget")),
            (Method::PATCH, format!("/Users/{id}"), json!({ "Operations": [{ "op": "replace", "path": "userName", "value": "eve@acme.example" }] }), (400, "mutability")),
            (Method::GET, "/Users/nobody".to_owned(), Value::Null, (404, "")),
            (Method::GET, "/Schemas/nothing".to_owned(), Value::Null, (404, "")),
        ] {
            assert_eq!(word(&send(&api, &key, method, &path, body).await), expected, "{path}");
        }
        for path in ["/ServiceProviderConfig", "/ResourceTypes", "/ResourceTypes/User", "/Schemas", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group"] {
            let answer = send(&api, &key, Method::GET, path, Value::Null).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/scim+json")), "{path}");
        }
    }

    a_provisioning_key_opens_nothing_else_and_ends_with_its_maker(api) {
        let key = provider(&api).await;
        for path in ["/v1/members", "/v1/events", "/v1/tokens", "/v1/audit-log"] {
            assert_eq!(api.get(path).bearer(&key).send().await.status, 403, "{path}");
        }
        let access = api.post("/v1/tokens", json!({ "name": "all", "scope": "admin" })).bearer(&api.token_of("owner@acme.example").await).send().await;
        let owner = api.token_of("owner@acme.example").await;
        for (method, path) in ROUTES {
            let body = if ["POST", "PUT", "PATCH"].contains(method) { json!({ "userName": "ada@acme.example", "displayName": "Ops", "Operations": [] }) } else { Value::Null };
            let ask = async |bearer: &str| send(&api, bearer, method.parse().unwrap(), path, body.clone()).await;
            assert_eq!(word(&ask("kt_sk_nonsense").await).0, 401, "{method} {path}");
            for bearer in [access.text("/key"), &owner] {
                assert_eq!(word(&ask(bearer).await).0, 403, "{method} {path}");
            }
            let status = ask(&key).await.status.as_u16();
            assert!(![401, 403].contains(&status), "{method} {path}, the control: {status}");
        }
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let new = json!({ "type": "scim", "name": "directory", "scope": "write" });
        let theirs = api.post("/v1/tokens", new).bearer(&api.token_of("owner@other.example").await).send().await;
        let ada = create(&api, &key, "eve@acme.example").await.text("/id").to_owned();
        assert_eq!(word(&send(&api, theirs.text("/key"), Method::GET, &format!("/Users/{ada}"), Value::Null).await).0, 404);
        assert_eq!(word(&create(&api, theirs.text("/key"), "mallory@acme.example").await), (400, "invalidValue"), "the domain is not theirs");
        api.add_member("admin@acme.example", "admin").await;
        let admins = provider_of(&api, "admin@acme.example").await;
        assert_eq!(send(&api, &admins, Method::GET, "/Users", Value::Null).await.status, 200);
        let admin = send(&api, &key, Method::GET, "/Users?filter=userName%20eq%20%22admin@acme.example%22", Value::Null).await;
        let admin = admin.text("/Resources/0/id").to_owned();
        patch(&api, &key, &admin, json!([{ "op": "replace", "path": "active", "value": false }])).await;
        assert_eq!(word(&send(&api, &admins, Method::GET, "/Users", Value::Null).await).0, 401);
    }
}
