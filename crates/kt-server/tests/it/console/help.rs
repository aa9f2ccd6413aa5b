//! The pages for everybody: the guide, and the parts of the design.

use crate::harness::on_both;

on_both! {
    help_is_there_for_everybody_signed_in_or_not(api) {
        let stranger = api.browser();
        let answer = stranger.get("/help").await;
        let index = answer.page();
        assert!(index.contains("href=\"/help/hardening\"") && index.contains("Sign in"), "{index}");
        let pages: Vec<_> = index.split("<a href=\"/help/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(pages.len() > 25, "{pages:?}");
        for page in pages {
            let answer = stranger.get(&format!("/help/{page}")).await;
            assert!(answer.page().contains("<article class=\"prose\""), "{page}");
        }
        let member = api.signed_in("owner@acme.example").await;
        let answer = member.get("/help/hardening").await;
        assert!(answer.page().contains("id=\"sidebar\"") && answer.page().contains("CC6.1"));
        assert!(answer.page().contains("href=\"/help/organization-security\""), "links stay within");
        assert_eq!(stranger.get("/help/nothing").await.refusal_page(), (404, true));
        assert_eq!(stranger.get("/help/../keys").await.status.as_u16(), 404);
    }

    every_part_of_the_design_has_its_place_on_one_page(api) {
        let answer = api.browser().get("/design").await;
        let page = answer.page();
        for class in [
            "button primary", "button danger", "icon-button", "field-error", "form-error", "switch", "segments", "choices", "check",
            "locked", "filters", "table-wrap", "paging", "empty", "badge good", "note warn", "banner", "toast", "card figure",
            "chart", "secret", "copy", "stepper", "skeleton", "facts", "diff", "disclosure", "dialog", "swatches", "meter",
        ] {
            assert!(page.contains(&format!("class=\"{class}")), "{class}");
        }
    }
}
