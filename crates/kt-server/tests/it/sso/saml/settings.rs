//! How a provider is described, and what both sides publish. Records: `sso.updated`, `sso.removed`.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kt_domain::clock::Clock;
use serde_json::{Value, json};

use super::{change, is_in};
use crate::harness::on_both;
use crate::sso::saml_provider::{ENTITY, PATH, Place, SSO, SamlProvider, between, depart};

/// Whether the request that somebody is sent with is signed by the key of this certificate, an RSA key of 3072 bits.
fn is_signed_by(departure: &str, certificate: &str) -> bool {
    /// How such a key begins in PKCS #1, and how long it is.
    const BEGINS: [u8; 8] = [0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81];
    const LENGTH: usize = 398;
    let query = departure.split_once('?').unwrap().1;
    let (signed, _) = query.split_once("&Signature=").unwrap();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let signature = pairs.find(|(name, _)| name == "Signature").unwrap().1;
    let der = STANDARD.decode(certificate).unwrap();
    let begins = der.windows(BEGINS.len()).position(|bytes| bytes == BEGINS).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der[begins..begins + LENGTH]);
    key.verify(signed.as_bytes(), &STANDARD.decode(signature.as_bytes()).unwrap()).is_ok()
}

/// The fingerprint of a certificate, as it is shown.
fn fingerprint(certificate: &str) -> String {
    let der = STANDARD.decode(certificate).unwrap();
    let pairs: Vec<_> = digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

on_both! {
    what_the_provider_publishes_counts_once_an_owner_has_seen_it(api) {
        let (old, new) = (SamlProvider::new(&api.clock), SamlProvider::new(&api.clock));
        let place = Place::holding(old.metadata()).await;
        let owner = api.owner().await;
        let made = change(&api, &owner, json!({ "metadata_url": place.url, "enabled": true, "settings": { "just_in_time": true, "trust_email": true } })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let browser = api.signed_in("owner@acme.example").await;
        let field = |page: &str, name: &str| between(page, &format!("name=\"{name}\" value=\""), "\"").to_owned();
        let form = async || {
            let page = browser.get("/settings/security/sso").await;
            let saml = page.page().split_once("id=\"saml\"").unwrap().1.to_owned();
            (field(&saml, "version"), field(&saml, "kept_url"))
        };
        let save = async |more: &[(&str, &str)]| {
            let (version, kept) = form().await;
            let url = more.iter().find(|(name, _)| *name == "metadata_url").map_or(kept.as_str(), |(_, url)| *url);
            let mut fields = vec![("version", version.as_str()), ("kept_url", kept.as_str()), ("metadata_url", url), ("subject_attribute", "")];
            fields.extend(more.iter().filter(|(name, _)| *name != "metadata_url"));
            browser.post("/settings/security/sso/saml", &fields).await
        };
        let comes_from = async |provider: &SamlProvider| {
            let browser = api.browser();
            let answer = provider.way(&browser, "alice").await;
            is_in(&browser, &answer)
        };
        place.holds(new.metadata());
        assert_eq!(save(&[]).await.leads_to(), Some("/settings/security/sso"));
        assert!(comes_from(&old).await && !comes_from(&new).await, "an address that stays is not read by saving");

        let read = async || browser.post("/settings/security/sso/saml/read", &[]).await;
        let shown = read().await;
        let present = made.text("/certificates/0/fingerprint").to_owned();
        assert!(shown.page().contains(&present) && shown.page().contains("Take it over"), "{}", shown.body);
        let (version, seen) = (field(shown.page(), "version"), field(shown.page(), "seen"));
        let take_over = async || browser.post("/settings/security/sso/saml/take-over", &[("version", &version), ("seen", &seen)]).await;
        place.holds(SamlProvider::new(&api.clock).metadata());
        assert_eq!(take_over().await.refusal(), (409, "metadata_changed"), "it is not what was seen");
        assert!(comes_from(&old).await && !comes_from(&new).await, "nothing was changed");
        place.holds(new.metadata());
        assert_eq!(take_over().await.leads_to(), Some("/settings/security/sso"), "the control");
        assert!(comes_from(&new).await && !comes_from(&old).await);
        assert!(read().await.page().contains("what is believed already"));

        assert_eq!(save(&[("metadata_url", "")]).await.leads_to(), Some("/settings/security/sso"));
        assert_eq!(form().await.1, "", "the address is forgotten");
        assert!(comes_from(&new).await, "and nothing else");
        assert_eq!(browser.post("/settings/security/sso/saml/read", &[]).await.text("/error/param"), "metadata_url");
        save(&[("metadata_url", &place.url)]).await;
        let by_hand = [("entity_id", ENTITY), ("sso_url", SSO), ("certificates", old.certificate.as_str())];
        assert_eq!(save(&by_hand).await.leads_to(), Some("/settings/security/sso"), "an address that stands in the form refuses nothing");
        assert!(comes_from(&old).await && form().await.1.is_empty());
        let both = [("metadata_url", place.url.as_str()), ("entity_id", ENTITY), ("sso_url", SSO), ("certificates", old.certificate.as_str())];
        assert_eq!(save(&both).await.text("/error/param"), "metadata_url", "a new one beside them does");
    }

    what_was_written_by_hand_is_shown_and_changed_alone(api) {
        const PAGE: &str = "/settings/security/sso";
        const BACK: &str = "https://id.acme.example/logout";
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let owner = api.signed_in("owner@acme.example").await;
        let form = async |changes: &[(&'static str, &str)]| {
            let page = owner.get(PAGE).await;
            let saml = page.page().split_once("hx-post=\"/settings/security/sso/saml\"").unwrap().1;
            let shown = |name: &str| between(saml, &format!("name=\"{name}\""), ">").to_owned();
            let field = |name: &'static str| (name, between(&shown(name), "value=\"", "\"").to_owned());
            let names = ["version", "kept_url", "metadata_url", "kept_entity_id", "kept_sso_url", "kept_logout_url", "entity_id", "sso_url", "logout_url"];
            let mut fields: Vec<(&str, String)> = names.into_iter().map(field).collect();
            fields.push(("subject_attribute", String::new()));
            fields.retain(|(name, _)| changes.iter().all(|(other, _)| other != name));
            fields.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            owner.post("/settings/security/sso/saml", &fields).await
        };
        let kept = async || {
            let read = api.get(PATH).bearer(api.owner().await.access_token()).send().await.json;
            ["entity_id", "sso_url", "logout_url", "certificates"].map(|name| read[name].clone())
        };
        let before = kept().await;
        assert_eq!(before[2], BACK);
        assert!(owner.get(PAGE).await.page().contains(&format!("<code>{BACK}</code>")), "it is shown");
        assert_eq!(form(&[("sign_requests", "on")]).await.leads_to(), Some(PAGE));
        assert_eq!(kept().await, before, "what was filled in and left alone says nothing");
        let other = "https://id.acme.example/logout-2";
        assert_eq!(form(&[("logout_url", other)]).await.leads_to(), Some(PAGE));
        let after = kept().await;
        assert_eq!(after, [before[0].clone(), before[1].clone(), json!(other), before[3].clone()]);
        assert_eq!(form(&[("logout_url", "")]).await.leads_to(), Some(PAGE));
        assert_eq!(kept().await[2], Value::Null, "a field that was emptied");
        let another = form(&[("entity_id", "https://id.other.example")]).await;
        assert_eq!(another.text("/error/param"), "certificates", "another provider has certificates of its own: {}", another.body);
        let browser = api.browser();
        let answer = provider.way(&browser, "alice").await;
        assert!(is_in(&browser, &answer), "{}", answer.body);
    }

    a_provider_is_described_in_one_of_three_ways(api) {
        let (owner, provider) = (api.owner().await, SamlProvider::new(&api.clock));
        let read = async || api.get(PATH).bearer(owner.access_token()).send().await;
        assert_eq!(read().await.refusal(), (404, "not_found"));
        assert_eq!(change(&api, &owner, json!({})).await.text("/error/param"), "metadata_url");
        let both = json!({ "metadata": provider.metadata(), "entity_id": ENTITY });
        assert_eq!(change(&api, &owner, both).await.text("/error/param"), "metadata_url");
        for (field, value) in [("metadata", "<a/>"), ("metadata_url", "ftp://id.acme.example"), ("metadata_url", "http://127.0.0.1:1/")] {
            assert_eq!(change(&api, &owner, json!({ field: value })).await.text("/error/param"), field, "{value}");
        }
        for (field, value) in [("certificates", "none"), ("certificates", ""), ("sso_url", "javascript:alert(1)")] {
            let mut body = provider.values(&json!({}));
            body[field] = value.into();
            assert_eq!(change(&api, &owner, body).await.text("/error/param"), field, "{value}");
        }
        let made = change(&api, &owner, json!({ "metadata": provider.metadata() })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        assert_eq!(made.text("/entity_id"), ENTITY);
        assert_eq!(made.text("/service_acs_url"), "http://localhost:3000/sso/saml/acme/acs");
        assert_eq!(read().await.json, made.json);
        let kept = change(&api, &owner, json!({ "settings": { "display_name": "Acme ID" } })).await;
        assert_eq!(kept.json["certificates"], made.json["certificates"], "what is not given stays");
        assert!(!api.records("sso.updated").await[0].to_string().contains("PRIVATE"));
        let gone = api.request(Method::DELETE, PATH).bearer(owner.access_token()).send().await;
        assert_eq!(gone.status, 204);
        assert!(api.recorded("sso.removed").await);
    }

    a_certificate_that_ends_soon_is_told_on_the_page_and_on_overview(api) {
        let provider = SamlProvider::until(&api.clock, 2026, 4, 16);
        let body = provider.values(&json!({}));
        assert_eq!(change(&api, &api.owner().await, body).await.status, 200);
        let tells = async |page: &str| {
            let browser = api.signed_in("owner@acme.example").await;
            browser.get(page).await.page().contains("ertificate of the")
        };
        assert!(!tells("/overview").await && !tells("/settings/security/sso").await, "{}", Clock::now(&api.clock));
        api.clock.advance(Duration::from_hours(24 * 3));
        assert!(tells("/overview").await && tells("/settings/security/sso").await);
    }

    our_metadata_is_there_for_every_name_and_has_our_key_once_there_is_one(api) {
        let document = async |name: &str| api.browser().get(&format!("/sso/saml/{name}/metadata")).await;
        let nowhere = document("nowhere").await;
        assert_eq!((nowhere.status.as_u16(), &nowhere.headers["content-type"]), (200, &"application/samlmetadata+xml".parse().unwrap()));
        assert_eq!(document("acme").await.body.replace("acme", "nowhere"), nowhere.body, "it does not tell who is here");
        let _ = api.with_saml(json!({})).await;
        let text = document("acme").await.body;
        assert!(text.contains("http://localhost:3000/sso/saml/acme/acs"));
        assert!(between(&text, "<ds:X509Certificate>", "</").len() > 500);
        let odd = document("%22%3E%3Cscript%3E").await;
        assert!(!odd.body.contains("<script>"), "{}", odd.body);
    }

    our_own_key_is_replaced_while_both_are_known(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let owner = api.owner().await;
        assert_eq!(change(&api, &owner, json!({ "sign_requests": true })).await.status, 200);
        let published = async || {
            let document = api.browser().get("/sso/saml/acme/metadata").await.body;
            let rest = document.split("<ds:X509Certificate>").skip(1);
            rest.map(|rest| rest.split_once("</").unwrap().0.to_owned()).collect::<Vec<_>>()
        };
        let step = async |path: &str| {
            api.request(Method::POST, &format!("{PATH}{path}")).bearer(owner.access_token()).send().await
        };
        let first = published().await;
        assert_eq!(step("/next-key/use").await.refusal(), (409, "no_next_key"));
        let made = step("/next-key").await;
        assert_eq!((made.status.as_u16(), made.text("/service_certificate/fingerprint")), (200, &*fingerprint(&first[0])), "{}", made.json);
        let both = published().await;
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        assert_ne!(both[1], both[0]);
        assert_eq!(made.text("/service_next_certificate/fingerprint"), fingerprint(&both[1]));
        let kept = change(&api, &owner, json!({ "metadata": provider.metadata() })).await;
        assert_eq!(kept.json["service_next_certificate"], made.json["service_next_certificate"], "{}", kept.json);
        assert!(is_signed_by(&depart(&api.browser()).await, &both[0]), "the present one signs");

        let browser = api.signed_in("owner@acme.example").await;
        let page = browser.get("/settings/security/sso").await;
        let form = between(page.page(), "/settings/security/sso/saml/next-key/use", "</form>");
        let version = between(form, "name=\"version\" value=\"", "\"");
        let used = browser.post("/settings/security/sso/saml/next-key/use", &[("version", version)]).await;
        assert_eq!(used.leads_to(), Some("/settings/security/sso"), "{}", used.body);
        assert_eq!(published().await, [both[1].clone()]);
        let departure = depart(&api.browser()).await;
        assert_eq!([&both[0], &both[1]].map(|key| is_signed_by(&departure, key)), [false, true]);
        let late = browser.post("/settings/security/sso/saml/next-key", &[("version", version)]).await;
        assert_eq!(late.refusal(), (412, "version_mismatch"));
        let records = api.records("sso.updated").await;
        let told = |record: &Value| record["details"]["after"]["secret"] == "set" && !record.to_string().contains("PRIVATE");
        assert!(records[records.len() - 3..].iter().filter(|record| told(record)).count() == 2, "{records:?}");
    }

    the_end_of_our_own_certificate_is_told(api) {
        let _ = api.with_saml(json!({})).await;
        let tells = async |owner: &str, page: &str| {
            let browser = api.signed_in(owner).await;
            browser.get(page).await.page().contains("Our own certificate")
        };
        for page in ["/overview", "/settings/security/sso"] {
            assert!(!tells("owner@acme.example", page).await, "{page}");
        }
        // It is made for the rest of this year and ten more.
        api.clock.advance(Duration::from_hours(24 * 366 * 11));
        // The first owner's password has ended by then.
        api.add_member("later@acme.example", "owner").await;
        for page in ["/overview", "/settings/security/sso"] {
            assert!(tells("later@acme.example", page).await, "{page}");
        }
    }
}
