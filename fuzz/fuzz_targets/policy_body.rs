//! Whatever body a client sends, what the policies let pass of JSON is JSON.
#![no_main]

use std::sync::LazyLock;

use kt_domain::events::Phase;
use kt_domain::policy_config::{LoadOptions, Source, load};
use kt_gateway::{Caller, Trial};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const CHAIN: &str = "
policies: {chain: [prompt-injection, pii-detector, dlp-filter]}
policy:
  prompt-injection: {dry_run: true, unreadable: allow}
  pii-detector: {unreadable: allow}
  dlp-filter: {action: redact, unreadable: allow, patterns: [{name: ticket, regex: 'ACME-[0-9]{4,8}'}]}
";

static TRIAL: LazyLock<Trial> = LazyLock::new(|| {
    let source = Source { name: "fuzz".into(), text: CHAIN.into() };
    let config = load(&[source], LoadOptions::default()).config.expect("a valid configuration");
    Trial::new(&config).expect("a chain that can be made")
});

fuzz_target!(|body: &[u8]| {
    let passed = TRIAL.judge(Phase::Request, body, Caller::default()).body.expect("nothing is blocked");
    if serde_json::from_slice::<Value>(body).is_ok() {
        assert!(serde_json::from_slice::<Value>(&passed).is_ok());
    }
});
