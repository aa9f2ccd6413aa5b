//! Provisioning by an identity provider, as Okta and Entra ID speak it.

mod deactivation;
mod groups;
mod protocol;
mod providers;
mod users;

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApi};

const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// An identity provider that holds a provisioning key.
pub(crate) struct Directory<'a> {
    api: &'a TestApi,
    key: String,
}

impl TestApi {
    /// The provider of `acme`, which owns `acme.example`, with a key of the owner's.
    pub(crate) async fn directory(&self) -> Directory<'_> {
        self.directory_of("owner@acme.example").await
    }

    /// The same with a key of this person's.
    async fn directory_of(&self, email: &str) -> Directory<'_> {
        self.control.vouch_for_domain(&self.operator(), "acme", "acme.example").await.unwrap();
        self.directory_by(&self.token_of(email).await).await
    }

    /// A provider with a key that this session makes.
    async fn directory_by(&self, session: &str) -> Directory<'_> {
        let new = json!({ "type": "scim", "name": "directory", "scope": "write" });
        let made = self.post("/v1/tokens", new).bearer(session).send().await;
        assert_eq!(made.status, 201, "{}", made.body);
        Directory { api: self, key: made.text("/key").to_owned() }
    }
}

impl Directory<'_> {
    /// Any request; no body for `null`.
    async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.api.request(method, &format!("/scim/v2{path}")).bearer(&self.key).body(body).send().await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Value::Null).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Value::Null).await
    }

    /// `POST /Users`, as Okta sends it.
    async fn create(&self, name: &str) -> Answer {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
            "externalId": format!("ext-{name}"), "name": { "givenName": "Ada", "familyName": "Lovelace" },
            "emails": [{ "primary": true, "value": name, "type": "work" }], "locale": "en-US", "groups": [],
            "password": "1mz050nq", "active": true,
        });
        self.send(Method::POST, "/Users", user).await
    }

    /// Makes a user; their identifier.
    pub(crate) async fn user(&self, name: &str) -> String {
        let made = self.create(name).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.text("/id").to_owned()
    }

    /// Who fits a filter.
    async fn find(&self, kind: &str, filter: &str) -> Answer {
        let filter = filter.replace(' ', "%20").replace('"', "%22").replace('[', "%5B").replace(']', "%5D");
        self.get(&format!("/{kind}?filter={filter}")).await
    }

    /// The identifier of the user of this name.
    async fn id_of(&self, name: &str) -> String {
        self.find("Users", &format!("userName eq \"{name}\"")).await.text("/Resources/0/id").to_owned()
    }

    /// Changes something, as these operations say.
    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Answer {
        let schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        self.send(Method::PATCH, path, json!({ "schemas": [schema], "Operations": operations })).await
    }

    /// Puts somebody into a group of this name.
    pub(crate) async fn in_group(&self, name: &str, user: &str) {
        let group = json!({ "displayName": name, "members": [{ "value": user }] });
        let made = self.send(Method::POST, "/Groups", group).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// Lets somebody in, or no more.
    pub(crate) async fn set_active(&self, id: &str, active: bool) -> Answer {
        let operation = json!({ "op": "replace", "path": "active", "value": active });
        self.patch(&format!("/Users/{id}"), json!([operation])).await
    }
}

/// Status and word of a refusal.
fn word(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.json["schemas"][0], ERROR, "{}", answer.body);
    assert_eq!(answer.json["status"], answer.status.as_str());
    assert_eq!(answer.headers["content-type"], "application/scim+json");
    (answer.status.as_u16(), answer.json["scimType"].as_str().unwrap_or_default())
}
