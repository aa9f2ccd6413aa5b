//! A thousand at once: one code, one session.
//!
//! Most of them are refused since five codes are compared at a step and ten of an account. That one alone succeeds of a thousand
//! which are all compared is shown where they are used up, in `kt-store` (`contract::once`).

use axum::http::StatusCode;

use super::{Holder, JO, step, verify};
use crate::harness::{TestApi, on_both, side_by_side};

/// How many of a thousand who use one code at the same time are let in, at one step of a sign-in or at ten.
async fn let_in(api: &TestApi, method: &str, code: &str, steps: usize) -> usize {
    let mut flows = Vec::new();
    for _ in 0..steps {
        flows.push(step(api, JO).await);
    }
    let all = (0..1000).map(|n| verify(api, &flows[n % steps], method, code));
    let answers = side_by_side(all).await;
    for answer in &answers {
        let is_refused = [401, 429].contains(&answer.status.as_u16());
        assert!(is_refused || answer.json["status"] == "authenticated", "{}", answer.json);
    }
    answers.iter().filter(|answer| answer.status == StatusCode::OK).count()
}

on_both! {
    of_a_thousand_who_use_one_code_one_gets_a_session(api) {
        let jo = Holder::new(&api, JO, "member").await;
        assert_eq!(let_in(&api, "totp", &jo.app.code(&api.clock), 1).await, 1);
        api.clock.advance(std::time::Duration::from_mins(16));
        assert_eq!(let_in(&api, "totp", &jo.app.code(&api.clock), 10).await, 1);
    }

    of_a_thousand_who_use_one_recovery_code_one_gets_a_session(api) {
        let jo = Holder::new(&api, JO, "member").await;
        assert_eq!(let_in(&api, "recovery_code", &jo.recovery_codes[0], 1).await, 1);
        api.clock.advance(std::time::Duration::from_mins(16));
        assert_eq!(let_in(&api, "recovery_code", &jo.recovery_codes[1], 10).await, 1);
        api.clock.advance(std::time::Duration::from_mins(16));
        let again = verify(&api, &step(&api, JO).await, "recovery_code", &jo.recovery_codes[1]).await;
        assert_eq!(again.refusal(), (401, "invalid_code"));
    }
}
