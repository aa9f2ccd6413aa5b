use serde_json::json;

use crate::harness::on_both;

on_both! {
    an_organization_is_seen_by_all_in_it_and_renamed_by_those_who_run_it(api) {
        api.add_member("member@acme.example", "member").await;
        let (owner, member) = (api.token_of("owner@acme.example").await, api.token_of("member@acme.example").await);
        let seen = api.get("/v1/organization").bearer(&member).send().await;
        assert_eq!((seen.text("/identifier"), seen.text("/name")), ("acme", "Acme"));
        let rename = |token, name: &str| api.patch("/v1/organization", json!({ "name": name })).bearer(token);
        assert_eq!(rename(&member, "Ours").send().await.refusal(), (403, "insufficient_role"));
        let renamed = rename(&owner, "Acme Ltd").send().await;
        assert_eq!(renamed.text("/name"), "Acme Ltd");
        for bad in ["", " Acme", "Acme\n", &"x".repeat(201)] {
            let refused = rename(&owner, bad).send().await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "name"), "{bad:?}");
        }
        let identifier = api.patch("/v1/organization", json!({ "name": "A", "identifier": "b" })).bearer(&owner);
        assert_eq!(identifier.send().await.refusal(), (422, "validation_error"));
        let records = api.records("organization.renamed").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["details"], json!({ "before": { "name": "Acme" }, "after": { "name": "Acme Ltd" } }));
        assert_eq!(records[0]["actor"]["name"], "owner@acme.example");
    }

    a_name_that_was_changed_meanwhile_is_not_overwritten(api) {
        let owner = api.token_of("owner@acme.example").await;
        let tag = api.get("/v1/organization").bearer(&owner).send().await.headers["etag"].to_str().unwrap().to_owned();
        let rename = |name: &str, tag: &str| {
            api.patch("/v1/organization", json!({ "name": name })).bearer(&owner).header("if-match", tag).send()
        };
        let first = rename("First", &tag).await;
        assert_eq!(first.text("/name"), "First");
        assert_eq!(rename("Second", &tag).await.refusal(), (412, "version_mismatch"));
        assert_eq!(rename("Second", &format!("W/{}", first.headers["etag"].to_str().unwrap())).await.status, 412);
        let any_of = format!("{tag}, {}", first.headers["etag"].to_str().unwrap());
        assert_eq!(rename("Second", &any_of).await.text("/name"), "Second");
        assert_eq!(rename("Third", "*").await.text("/name"), "Third");
    }
}
