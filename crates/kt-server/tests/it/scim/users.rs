//! Who is made a member by a provider, changed and removed, and whom it does not reach.

use axum::http::Method;
use kt_domain::actor::Role;
use serde_json::{Value, json};

use super::word;
use crate::harness::{PASSWORD, on_both};

on_both! {
    a_user_is_made_found_changed_and_removed(api) {
        let directory = api.directory().await;
        let made = directory.create("ada@acme.example").await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = made.text("/id").to_owned();
        let path = format!("/Users/{id}");
        assert_eq!(made.text("/userName"), "ada@acme.example");
        assert_eq!(made.text("/meta/location"), format!("http://localhost:8080/scim/v2{path}"));
        assert_eq!(made.headers["location"], made.text("/meta/location"));
        assert_eq!(made.body.matches("1mz050nq").count(), 0, "a password that is sent is neither kept nor told");
        for filter in [
            "userName eq \"ADA@acme.example\"",
            "userName Eq \"ada@acme.example\"",
            "externalId eq \"ext-ada@acme.example\"",
            "emails[type eq \"work\"].value eq \"ada@acme.example\"",
            "emails.value eq \"ada@acme.example\"",
        ] {
            let found = directory.find("Users", filter).await;
            assert_eq!((&found.json["totalResults"], found.text("/Resources/0/id")), (&json!(1), id.as_str()), "{filter}");
        }
        for filter in ["userName eq \"nobody@acme.example\"", "externalId eq \"EXT-ada@acme.example\"", "userName eq \"5c1b2\""] {
            assert_eq!(directory.find("Users", filter).await.json["totalResults"], 0, "{filter}");
        }
        let family = json!([{ "op": "Replace", "path": "name.familyName", "value": "Byron" }]);
        assert_eq!(directory.patch(&path, family).await.text("/name/familyName"), "Byron");
        let owner = api.token_of("owner@acme.example").await;
        let member = || api.get("/v1/members").bearer(&owner).send();
        assert!(member().await.body.contains("Ada Byron"), "they are called so here too");
        let whole = json!({ "userName": "ada@acme.example", "displayName": "Countess", "active": false });
        let put = directory.send(Method::PUT, &path, whole).await;
        assert_eq!((put.text("/displayName"), &put.json["active"]), ("Countess", &json!(false)));
        assert!(member().await.body.contains("Countess"));
        assert_eq!(directory.delete(&path).await.status, 204);
        assert_eq!(word(&directory.get(&path).await), (404, ""));
        assert_eq!(word(&directory.delete(&path).await), (404, ""));
        assert!(api.recorded("member.provisioned").await && api.recorded("member.removed").await);
    }

    a_user_is_found_at_a_domain_of_any_letters(api) {
        let directory = api.directory().await;
        api.control.vouch_for_domain(&api.operator(), "acme", "xn--bcher-kva.example").await.unwrap();
        let ada = directory.user("ada@bücher.example").await;
        for name in ["ada@b%C3%BCcher.example", "Ada@B%C3%9Ccher.example", "ada@xn--bcher-kva.example"] {
            let found = directory.find("Users", &format!("userName eq \"{name}\"")).await;
            assert_eq!((&found.json["totalResults"], found.text("/Resources/0/id")), (&json!(1), ada.as_str()), "{name}");
        }
        let other = directory.find("Users", "userName eq \"ada@bucher.example\"").await;
        assert_eq!(other.json["totalResults"], 0, "the control");
    }

    nobody_signs_in_with_a_password_that_was_never_set(api) {
        api.directory().await.user("ada@acme.example").await;
        for password in ["", "1mz050nq", PASSWORD] {
            let answer = api.login("ada@acme.example", password).await;
            assert_ne!(answer.json["status"], "authenticated", "{password}");
        }
    }

    only_addresses_of_the_organizations_own_domains_are_taken_in(api) {
        let directory = api.directory().await;
        for foreign in ["ada@elsewhere.example", "ada@sub.acme.example", "no address", "ada@acme.example@elsewhere.example"] {
            assert_eq!(word(&directory.create(foreign).await), (400, "invalidValue"), "{foreign}");
        }
        directory.user("ada@acme.example").await;
        assert_eq!(word(&directory.create("Ada@acme.example").await), (409, "uniqueness"));
        let twin = json!({ "userName": "bob@acme.example", "externalId": "ext-ada@acme.example" });
        assert_eq!(word(&directory.send(Method::POST, "/Users", twin).await), (409, "uniqueness"));
        assert_eq!(directory.find("Users", "userName eq \"bob@acme.example\"").await.json["totalResults"], 0, "nothing is half made");
    }

    whoever_registered_before_with_the_address_has_nothing_of_it(api) {
        api.set_registration(json!({ "self_registration": true })).await;
        let planted = "vexing otter plumbs Azure 7";
        let directory = api.directory().await;
        let register = json!({ "organization": "acme", "email": "ada@acme.example", "name": "Mallory", "password": planted });
        api.post("/v1/auth/register", register).send().await;
        let found = directory.find("Users", "userName eq \"ada@acme.example\"").await;
        assert_eq!(found.json["totalResults"], 0, "whoever waits for approval is no user yet");
        let ada = directory.user("ada@acme.example").await;
        assert_eq!(directory.get(&format!("/Users/{ada}")).await.json["active"], true);
        let answer = api.login("ada@acme.example", planted).await;
        assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        // The control: an account whose address was shown to be its holder's keeps its password.
        api.add_waiting("eve@acme.example").await;
        directory.user("eve@acme.example").await;
        assert_eq!(api.login("eve@acme.example", PASSWORD).await.json["status"], "authenticated");
    }

    an_identifier_of_the_providers_own_is_never_one_of_ours(api) {
        let directory = api.directory().await;
        let bob = directory.user("bob@acme.example").await;
        let owner = directory.id_of("owner@acme.example").await;
        let confusing = json!({ "userName": "eve@acme.example", "externalId": owner });
        let eve = directory.send(Method::POST, "/Users", confusing).await.text("/id").to_owned();
        assert_ne!(eve, owner);
        let found = directory.find("Users", &format!("externalId eq \"{owner}\"")).await;
        assert_eq!((&found.json["totalResults"], found.text("/Resources/0/id")), (&json!(1), eve.as_str()));
        assert_eq!(directory.get(&format!("/Users/{owner}")).await.text("/userName"), "owner@acme.example");
        for number in ["1", "0", "ext-bob@acme.example", "bob@acme.example"] {
            assert_eq!(word(&directory.get(&format!("/Users/{number}")).await), (404, ""), "{number}");
        }
        assert_eq!(directory.get(&format!("/Users/{bob}")).await.status, 200, "the control");
    }

    owners_are_nobodys_to_remove_but_owners_and_the_last_one_stays(api) {
        api.add_member("admin@acme.example", "admin").await;
        let second = api.add_member("second@acme.example", "owner").await.to_string();
        let owners = api.directory().await;
        let admins = api.directory_of("admin@acme.example").await;
        assert_eq!(word(&admins.set_active(&second, false).await).0, 403, "an admin's key reaches no owner");
        assert_eq!(word(&admins.delete(&format!("/Users/{second}")).await).0, 403);
        let me = owners.id_of("owner@acme.example").await;
        assert_eq!(word(&owners.set_active(&me, false).await).0, 409, "nobody shuts themselves out");
        assert_eq!(word(&owners.delete(&format!("/Users/{me}")).await).0, 409);
        assert_eq!(owners.set_active(&second, false).await.json["active"], false, "another owner remains");
        assert_eq!(owners.get(&format!("/Users/{me}")).await.json["active"], true);
    }

    another_organizations_members_are_not_there(api) {
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        let group = directory.send(Method::POST, "/Groups", json!({ "displayName": "Ops" })).await.text("/id").to_owned();
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let theirs = api.directory_by(&api.token_of("owner@other.example").await).await;
        for path in [format!("/Users/{ada}"), format!("/Groups/{group}")] {
            assert_eq!(directory.get(&path).await.status, 200, "the control");
            assert_eq!(word(&theirs.get(&path).await), (404, ""), "{path}");
            assert_eq!(word(&theirs.delete(&path).await), (404, ""), "{path}");
            assert_eq!(word(&theirs.patch(&path, json!([])).await), (404, ""), "{path}");
        }
        assert_eq!(theirs.get("/Users").await.json["totalResults"], 1);
        assert_eq!(theirs.get("/Groups").await.json["totalResults"], 0);
        assert_eq!(word(&theirs.create("mallory@acme.example").await), (400, "invalidValue"), "the domain is not theirs");
        let lent = json!({ "displayName": "Ops", "members": [{ "value": ada }] });
        assert_eq!(word(&theirs.send(Method::POST, "/Groups", lent).await), (400, "invalidValue"));
    }

    a_part_of_a_list_is_answered_with_where_it_stands(api) {
        let directory = api.directory().await;
        for name in ["ada", "bob", "eve"] {
            directory.user(&format!("{name}@acme.example")).await;
        }
        let all = directory.get("/Users").await;
        let ids: Vec<&Value> = all.json["Resources"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
        assert_eq!(ids.len(), 4);
        for (asked, start, expected) in [
            ("startIndex=1&count=2", 1, &ids[..2]),
            ("startIndex=3&count=2", 3, &ids[2..]),
            ("startIndex=4", 4, &ids[3..]),
            ("startIndex=0&count=1", 1, &ids[..1]),
            ("startIndex=-7&count=1", 1, &ids[..1]),
            ("startIndex=9", 9, &[]),
            ("count=0", 1, &[]),
            ("count=-1", 1, &[]),
            ("count=100000", 1, &ids[..]),
        ] {
            let page = directory.get(&format!("/Users?{asked}")).await.json;
            assert_eq!((&page["totalResults"], &page["startIndex"]), (&json!(4), &json!(start)), "{asked}");
            assert_eq!(page["itemsPerPage"], expected.len(), "{asked}");
            let found: Vec<&Value> = page["Resources"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
            assert_eq!(found, expected, "{asked}");
        }
        assert_eq!(word(&directory.get("/Users?startIndex=x").await), (400, "invalidValue"));
    }
}
