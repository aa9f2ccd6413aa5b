//! Whole conversations as Entra ID and Okta hold them, request by request, in the forms of their public documentation:
//! Microsoft's "Tutorial: Develop and plan provisioning for a SCIM endpoint" and "Known issues and resolutions with SCIM 2.0
//! protocol compliance" (with and without the flag `aadOptscim062020`), and Okta's "SCIM 2.0 protocol reference".

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::on_both;

const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

on_both! {
    entra_id_makes_changes_and_ends_a_user(api) {
        let directory = api.directory().await;
        // "Test Connection" asks for somebody who is not there.
        let nobody = directory.find("Users", "userName eq \"8f2c1d9e-0000-4000-8000-1a2b3c4d5e6f\"").await;
        assert_eq!((nobody.status.as_u16(), &nobody.json["totalResults"], &nobody.json["Resources"]), (200, &json!(0), &json!([])));
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef", "userName": "Ada@acme.example", "active": true,
            "emails": [{ "primary": true, "type": "work", "value": "ada@acme.example" }],
            "meta": { "resourceType": "User" },
            "name": { "formatted": "Ada Byron", "familyName": "Byron", "givenName": "Ada" }, "roles": [],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Engines", "manager": { "value": "x" } },
        });
        let made = directory.send(Method::POST, "/Users", user).await;
        assert_eq!((made.status.as_u16(), made.text("/name/formatted")), (201, "Ada Byron"), "{}", made.body);
        let path = format!("/Users/{}", made.text("/id"));
        let found = directory.find("Users", "emails[type eq \"work\"].value eq \"ada@acme.example\"").await;
        assert_eq!(found.text("/Resources/0/externalId"), "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef");
        let send = async |operations: Value| {
            let body = json!({ "schemas": [PATCH], "Operations": operations });
            let answer = directory.send(Method::PATCH, &path, body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json
        };
        let without_flag = send(json!([
            { "op": "Replace", "path": "displayName", "value": "Ada L." },
            { "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "other@acme.example" },
            { "op": "Replace", "path": "name.givenName", "value": "Augusta" },
            { "op": "Add", "path": "name.familyName", "value": "King" },
            { "op": "Replace", "path": "externalId", "value": "Eqpj" },
            { "op": "Replace", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber", "value": "7" },
            { "op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": "x" },
        ])).await;
        assert_eq!((&without_flag["displayName"], &without_flag["externalId"]), (&json!("Ada L."), &json!("Eqpj")));
        assert_eq!(without_flag["name"], json!({ "formatted": "Ada Byron", "familyName": "King", "givenName": "Augusta" }));
        assert_eq!(without_flag["emails"][0]["value"], "Ada@acme.example", "an address is its holder's to change");
        let with_flag = send(json!([
            { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "other@acme.example" },
            { "op": "replace", "value": {
                "displayName": "Ada Lovelace", "name.givenName": "Ada", "name.familyName": "Lovelace",
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber": "8",
            } },
        ])).await;
        assert_eq!((&with_flag["displayName"], &with_flag["name"]["familyName"]), (&json!("Ada Lovelace"), &json!("Lovelace")));
        for (ends, begins) in [(json!("False"), json!("True")), (json!(false), json!(true))] {
            let ended = send(json!([{ "op": "Replace", "path": "active", "value": ends }])).await;
            assert_eq!(ended["active"], false, "{ends}");
            let begun = send(json!([{ "op": "Replace", "path": "active", "value": begins }])).await;
            assert_eq!(begun["active"], true, "{begins}");
        }
        assert_eq!(directory.delete(&path).await.status, 204);
    }

    entra_id_makes_changes_and_ends_a_group(api) {
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        let group = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
            "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159", "displayName": "Ops", "meta": { "resourceType": "Group" },
        });
        let made = directory.send(Method::POST, "/Groups", group).await;
        assert_eq!((made.status.as_u16(), &made.json["members"]), (201, &json!([])), "{}", made.body);
        let path = format!("/Groups/{}", made.text("/id"));
        let member = |op: &str| json!({ "op": op, "path": "members", "value": [{ "$ref": null, "value": ada }] });
        let removal = json!({ "op": "remove", "path": format!("members[value eq \"{ada}\"]") });
        let rename = json!({ "op": "Replace", "path": "displayName", "value": "Operations" });
        for (operation, members) in
            [(member("Add"), 1), (member("Remove"), 0), (member("add"), 1), (removal, 0), (rename, 0)]
        {
            let changed = directory.patch(&path, json!([operation])).await;
            assert_eq!((changed.status.as_u16(), changed.body.as_str()), (204, ""), "{operation}");
            let present = directory.get(&path).await;
            assert_eq!(present.json["members"].as_array().map(Vec::len), Some(members), "{operation}");
        }
        assert_eq!(directory.get(&path).await.text("/displayName"), "Operations");
        assert_eq!(directory.delete(&path).await.status, 204);
    }

    okta_makes_changes_and_ends_users_and_groups(api) {
        let directory = api.directory().await;
        for list in ["/Users?startIndex=1&count=2", "/Groups?startIndex=1&count=100"] {
            assert_eq!(directory.get(list).await.status, 200, "{list}");
        }
        assert_eq!(directory.find("Users", "userName eq \"ada@acme.example\"").await.json["totalResults"], 0);
        let made = directory.create("ada@acme.example").await;
        let (id, path) = (made.text("/id").to_owned(), format!("/Users/{}", made.text("/id")));
        let mut whole = directory.get(&path).await.json;
        whole["name"]["givenName"] = json!("Augusta");
        let put = directory.send(Method::PUT, &path, whole.clone()).await;
        assert_eq!((put.status.as_u16(), put.text("/name/givenName")), (200, "Augusta"));
        // Okta ends an access without a path, or by the whole user.
        for active in [false, true] {
            let operation = json!([{ "op": "replace", "value": { "active": active } }]);
            assert_eq!(directory.patch(&path, operation).await.json["active"], active);
        }
        whole["active"] = json!(false);
        assert_eq!(directory.send(Method::PUT, &path, whole.clone()).await.json["active"], false);
        whole["active"] = json!(true);
        assert_eq!(directory.send(Method::PUT, &path, whole).await.json["active"], true);

        let group = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Ops",
            "members": [{ "value": id, "display": "ada@acme.example" }],
        });
        let made = directory.send(Method::POST, "/Groups", group).await;
        let group = format!("/Groups/{}", made.text("/id"));
        let members = async || directory.get(&group).await.json["members"].as_array().map(Vec::len);
        assert_eq!(members().await, Some(1));
        // It tells a group its own name behind each change, with its identifier beside it.
        let name = json!({ "op": "replace", "value": { "id": made.text("/id"), "displayName": "Operations" } });
        let gone = json!({ "op": "remove", "path": format!("members[value eq \"{id}\"]") });
        let added = json!({ "op": "add", "path": "members", "value": [{ "value": id, "display": "ada@acme.example" }] });
        let none = json!({ "op": "replace", "value": { "members": [] } });
        for (operations, expected) in [
            (json!([name.clone()]), 1),
            (json!([gone.clone()]), 0),
            (json!([added.clone(), name]), 1),
            (json!([gone, added]), 1),
            (json!([none]), 0),
        ] {
            let changed = directory.patch(&group, operations.clone()).await;
            assert_eq!((changed.status.as_u16(), members().await), (204, Some(expected)), "{operations}");
        }
        assert_eq!(directory.get(&group).await.text("/displayName"), "Operations");
        assert_eq!(directory.delete(&group).await.status, 204);
    }

    a_page_is_as_long_as_it_is_asked_for_and_names_every_place_of_everybody(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        for (name, members) in [("Ops", vec![&ada, &bob]), ("Staff", vec![&bob]), ("Empty", vec![])] {
            let members: Vec<_> = members.iter().map(|id| json!({ "value": id })).collect();
            let made = directory.send(Method::POST, "/Groups", json!({ "displayName": name, "members": members })).await;
            assert_eq!(made.status, 201, "{}", made.body);
        }
        let users = directory.get("/Users").await.json;
        let of = |id: &str| -> Vec<String> {
            let user = users["Resources"].as_array().unwrap().iter().find(|user| user["id"] == id).unwrap().clone();
            user["groups"].as_array().unwrap().iter().map(|group| group["display"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((of(&ada), of(&bob)), (vec!["Ops".to_owned()], vec!["Ops".to_owned(), "Staff".to_owned()]));
        let one = directory.get(&format!("/Users/{bob}")).await.json;
        let listed = users["Resources"].as_array().unwrap().iter().find(|user| user["id"] == bob.as_str()).unwrap();
        assert_eq!(*listed, one, "a list says of somebody what is said of them alone");
        let groups = directory.get("/Groups").await.json;
        for group in groups["Resources"].as_array().unwrap() {
            let alone = directory.get(&format!("/Groups/{}", group["id"].as_str().unwrap())).await.json;
            assert_eq!(*group, alone);
        }
    }
}
