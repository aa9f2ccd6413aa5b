//! The page of what was used.

use serde_json::json;

use crate::events::{Log, gateway_key};
use crate::harness::on_both;
use crate::usage::{answered, two_days};

on_both! {
    usage_is_shown_at_a_glance_and_copied_out(api) {
        let owner = api.signed_in("owner@acme.example").await;
        assert!(owner.get("/usage").await.page().contains("Nothing was used in this time"));
        two_days(&api).await;
        let owner = api.signed_in("owner@acme.example").await;
        let page = owner.get("/usage").await;
        for part in ["Members", "member@acme.example", "laptop", "static", "big", "Without a key", "Tokens a day", "Cost a day", "Cost in EUR", "0.00117", "2026-03-15", "1 with estimated tokens"] {
            assert!(page.page().contains(part), "{part}");
        }
        let day = owner.get("/usage?since=2026-03-16&until=2026-03-17").await;
        assert!(day.page().contains("small") && !day.page().contains("static"), "one day alone");
        let copy = owner.get("/usage/export?since=2026-03-15&until=2026-03-17&group_by=day,member,key,model").await;
        assert_eq!((copy.status.as_u16(), copy.body.lines().count()), (200, 5), "{}", copy.body);
        assert!(api.recorded("usage.exported").await);
    }

    a_member_is_shown_what_they_used_themselves(api) {
        two_days(&api).await;
        let member = api.signed_in("member@acme.example").await;
        let page = member.get("/usage").await;
        assert!(page.page().contains("laptop") && page.page().contains("What you have used"));
        for part in ["static", "Members</h2>", "member@acme.example</small></td>", "Without a key"] {
            assert!(!page.page().contains(part), "{part}");
        }
    }

    budgets_are_shown_with_what_is_used_of_them(api) {
        two_days(&api).await;
        let owner = api.signed_in("owner@acme.example").await;
        assert!(!owner.get("/usage").await.page().contains("Budgets"), "there are none");
        let report = json!({ "gateway_id": "gw_one", "software_version": "0.1.0", "config_source": "file",
            "config_version": "0123456789ab", "configuration": { "version": "0123456789ab", "document": { "budgets": [
                { "id": "<b>all</b>", "per": "total", "period": "month", "tokens": 704 },
                { "id": "each", "per": "user", "period": "day", "tokens": 10 },
            ] } } });
        let key = gateway_key(&api).await;
        for _ in 0..2 {
            assert_eq!(api.post("/v1/gateways/sync", report.clone()).bearer(&key).send().await.status, 200);
        }
        let page = owner.get("/usage").await;
        for part in ["Budgets", "Everybody together", "352", "50 %", "&#60;b&#62;all", "300 %", "2026-04-01 00:00 UTC"] {
            assert!(page.page().contains(part), "{part}");
        }
        let member = api.signed_in("member@acme.example").await.get("/usage").await;
        assert!(member.page().contains("300 %") && !member.page().contains("Everybody together"), "their own");
    }

    names_that_clients_choose_are_text(api) {
        let hostile = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";
        let key = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-1");
        log.event(&api, |event| answered(event, hostile, hostile, 5));
        assert_eq!(log.deliver(&api, &key).await.status, 200);
        let page = api.signed_in("owner@acme.example").await.get("/usage").await;
        assert!(page.page().contains("&#60;script&#62;"));
        assert!(!page.page().contains("<script>alert") && !page.page().contains("<img src=x"));
    }
}
