//! A provider's groups, and the roles that follow from them.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Directory, word};
use crate::harness::{TestApi, on_both};
use crate::sso::provider::Says;

/// What a member is, as the organization sees it.
async fn role_of(api: &TestApi, user: &str) -> String {
    let owner = api.token_of("owner@acme.example").await;
    api.get(&format!("/v1/members/{user}")).bearer(&owner).send().await.text("/role").to_owned()
}

async fn group(directory: &Directory<'_>, body: Value) -> String {
    let made = directory.send(Method::POST, "/Groups", body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    format!("/Groups/{}", made.text("/id"))
}

on_both! {
    groups_are_kept_with_their_members(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        let body = json!({ "displayName": "Ops", "externalId": "g1", "members": [{ "value": ada }] });
        let path = group(&directory, body.clone()).await;
        assert_eq!(word(&directory.send(Method::POST, "/Groups", body).await), (409, "uniqueness"));
        assert_eq!(word(&directory.send(Method::POST, "/Groups", json!({ "displayName": "OPS" })).await), (409, "uniqueness"));
        let of = async |user: &str| directory.get(&format!("/Users/{user}")).await.json["groups"].clone();
        assert_eq!(of(&ada).await[0]["display"], "Ops");
        // As Entra ID and Okta send them.
        let added = json!([{ "op": "Add", "path": "members", "value": [{ "value": bob, "display": "bob@acme.example" }] }]);
        assert_eq!(directory.patch(&path, added).await.status, 204, "a group of thousands is not told after each change");
        let members = async || directory.get(&path).await.json["members"].clone();
        assert_eq!(members().await.as_array().unwrap().len(), 2);
        let removed = json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]);
        let asked_for = directory.patch(&format!("{path}?attributes=members.value"), removed).await;
        assert_eq!((asked_for.status.as_u16(), asked_for.text("/members/0/value")), (200, bob.as_str()), "where that is asked for");
        assert_eq!(of(&ada).await, json!([]));
        let left = json!([{ "op": "Remove", "path": "members", "value": [{ "$ref": null, "value": bob }] }]);
        assert_eq!((directory.patch(&path, left).await.status.as_u16(), members().await), (204, json!([])));
        let renamed = json!([{ "op": "replace", "value": { "id": path.trim_start_matches("/Groups/"), "displayName": "Operations" } }]);
        assert_eq!(directory.patch(&path, renamed).await.status, 204);
        assert_eq!(directory.get(&path).await.text("/displayName"), "Operations");
        let nobody = json!([{ "op": "add", "path": "members", "value": [{ "value": format!("usr_{:032}", 7) }] }]);
        assert_eq!(word(&directory.patch(&path, nobody).await), (400, "invalidValue"));
        for filter in ["displayName eq \"Operations\"", "displayName eq \"operations\"", "externalId eq \"g1\""] {
            let found = directory.find("Groups", filter).await;
            assert_eq!((&found.json["totalResults"], found.text("/Resources/0/displayName")), (&json!(1), "Operations"), "{filter}");
        }
        let whole = json!({ "displayName": "Operations", "members": [{ "value": bob }] });
        assert_eq!(directory.send(Method::PUT, &path, whole).await.text("/members/0/value"), bob);
        assert_eq!(directory.delete(&path).await.status, 204);
        assert_eq!(of(&bob).await, json!([]));
        assert_eq!(word(&directory.get(&path).await), (404, ""));
        assert!(api.recorded("group.provisioned").await);
    }

    somebody_is_found_in_a_group_as_entra_id_asks(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        let path = group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }] })).await;
        let id = path.trim_start_matches("/Groups/");
        for (filter, expected) in [
            (format!("id eq \"{id}\" and members eq \"{ada}\""), 1),
            (format!("id eq \"{id}\" and members eq \"{bob}\""), 0),
            (format!("members.value eq \"{ada}\""), 1),
            (format!("members eq \"{bob}\""), 0),
            ("displayName eq \"Ops\" and externalId eq \"g1\"".to_owned(), 0),
        ] {
            assert_eq!(directory.find("Groups", &filter).await.json["totalResults"], expected, "{filter}");
        }
        let narrow = directory.get(&format!("{path}?excludedAttributes=members")).await;
        assert_eq!((narrow.text("/displayName"), narrow.json.get("members")), ("Ops", None));
        let listed = directory.get("/Groups?startIndex=1&count=100").await;
        assert_eq!(listed.json["Resources"][0]["members"][0]["value"], json!(ada), "as Okta lists them");
        let narrow = directory.get("/Groups?excludedAttributes=members&filter=displayName%20eq%20%22Ops%22").await;
        assert_eq!((&narrow.json["totalResults"], narrow.json["Resources"][0].get("members")), (&json!(1), None));
    }

    a_value_for_one_member_is_never_read_as_all_of_them(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        let body = json!({ "displayName": "Ops", "members": [{ "value": ada }, { "value": bob }] });
        let path = group(&directory, body).await;
        let count = async || directory.get(&path).await.json["members"].as_array().unwrap().len();
        for op in ["replace", "add"] {
            let one = format!("members[value eq \"{ada}\"]");
            let change = json!([{ "op": op, "path": one, "value": [{ "value": ada, "display": "Ada" }] }]);
            assert_eq!(word(&directory.patch(&path, change).await), (400, "invalidPath"), "{op}");
            assert_eq!(count().await, 2, "{op}");
        }
        let all = json!([{ "op": "replace", "path": "members", "value": [{ "value": ada }] }]);
        assert_eq!(directory.patch(&path, all).await.status, 204, "the control");
        assert_eq!(count().await, 1);
    }

    a_record_tells_who_joined_and_left_and_not_who_stayed(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        let path = group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }] })).await;
        directory.patch(&path, json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }])).await;
        directory.patch(&path, json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }])).await;
        directory.delete(&path).await;
        let told: Vec<_> = api.records("group.provisioned").await.into_iter().map(|mut record| record["details"].take()).collect();
        let group = |more: Value| {
            let mut group = json!({ "name": "Ops", "external_id": null });
            group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            group
        };
        let plain = group(json!({}));
        assert_eq!(told, [
            json!({ "after": group(json!({ "joined": [ada] })) }),
            json!({ "before": plain, "after": group(json!({ "joined": [bob] })) }),
            json!({ "before": plain, "after": group(json!({ "left": [ada] })) }),
            json!({ "before": group(json!({ "members": [bob] })) }),
        ]);
    }

    groups_give_the_roles_of_single_sign_on_at_once_and_never_an_owners(api) {
        let directory = api.directory().await;
        api.with_provider(json!({ "group_roles": [{ "group": "Ops", "role": "admin" }, { "group": "5e1f", "role": "auditor" }] })).await;
        let ada = directory.user("ada@acme.example").await;
        let owner = directory.id_of("owner@acme.example").await;
        assert_eq!(role_of(&api, &ada).await, "member", "the control");
        let ops = group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }, { "value": owner }] })).await;
        assert_eq!((role_of(&api, &ada).await, role_of(&api, &owner).await), ("admin".into(), "owner".into()));
        // Entra ID names a group in its tokens by what it calls `externalId` here.
        let audit = group(&directory, json!({ "displayName": "Audit", "externalId": "5e1f", "members": [{ "value": ada }] })).await;
        assert_eq!(role_of(&api, &ada).await, "admin", "the highest of several");
        directory.patch(&ops, json!([{ "op": "remove", "path": "members" }])).await;
        assert_eq!((role_of(&api, &ada).await, role_of(&api, &owner).await), ("auditor".into(), "owner".into()));
        directory.patch(&ops, json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }])).await;
        assert_eq!(role_of(&api, &ada).await, "admin");
        directory.patch(&ops, json!([{ "op": "replace", "path": "displayName", "value": "Others" }])).await;
        assert_eq!(role_of(&api, &ada).await, "auditor", "a group of another name gives another role");
        directory.delete(&audit).await;
        assert_eq!(role_of(&api, &ada).await, "member");
        assert!(api.recorded("member.role_changed").await);
    }

    groups_give_no_roles_of_a_provider_that_is_not_offered(api) {
        let directory = api.directory().await;
        api.with_provider(json!({ "group_roles": [{ "group": "Ops", "role": "admin" }] })).await;
        let ada = directory.user("ada@acme.example").await;
        let without = api.offering_from_now_on(&[]).await;
        let there = without.directory().await;
        let ops = group(&there, json!({ "displayName": "Ops", "members": [{ "value": ada }] })).await;
        assert_eq!(role_of(&api, &ada).await, "member");
        directory.patch(&ops, json!([{ "op": "remove", "path": "members" }])).await;
        directory.patch(&ops, json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }])).await;
        assert_eq!(role_of(&api, &ada).await, "admin", "the control");
    }

    groups_that_were_provisioned_hold_at_a_sign_in_that_names_none(api) {
        let directory = api.directory().await;
        let provider = api.with_provider(json!({ "group_roles": [{ "group": "Ops", "role": "admin" }] })).await;
        let ada = directory.user("ada@acme.example").await;
        group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }] })).await;
        let comes = async |claims: Value| {
            provider.says(Says { claims, ..Says::default() });
            assert_eq!(provider.way(&api.browser(), "ada").await.leads_to(), Some("/"));
            role_of(&api, &ada).await
        };
        assert_eq!(comes(json!({})).await, "admin");
        assert_eq!(comes(json!({ "groups": ["others"] })).await, "member", "the control: what a token says decides");
        assert_eq!(comes(json!({})).await, "admin");
    }

    the_key_of_an_admin_makes_nobody_more_than_that_by_a_group(api) {
        api.add_member("admin@acme.example", "admin").await;
        let second = api.add_member("second@acme.example", "owner").await.to_string();
        api.with_provider(json!({ "group_roles": [{ "group": "Ops", "role": "admin" }] })).await;
        let directory = api.directory_of("admin@acme.example").await;
        let ada = directory.user("ada@acme.example").await;
        group(&directory, json!({ "displayName": "owner", "members": [{ "value": ada }, { "value": second }] })).await;
        group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }, { "value": second }] })).await;
        assert_eq!((role_of(&api, &ada).await, role_of(&api, &second).await), ("admin".into(), "owner".into()));
    }

    somebody_who_is_removed_is_in_no_group_when_they_come_back(api) {
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        let path = group(&directory, json!({ "displayName": "Ops", "members": [{ "value": ada }] })).await;
        directory.delete(&format!("/Users/{ada}")).await;
        assert_eq!(directory.get(&path).await.json["members"], json!([]));
        assert_eq!(directory.user("ada@acme.example").await, ada, "the account is the same");
        assert_eq!(directory.get(&format!("/Users/{ada}")).await.json["groups"], json!([]));
    }
}
