//! Whatever a provider streams, the same leaves however it is cut on its way, and the same is said of it.
#![no_main]

use std::sync::LazyLock;

use kt_domain::policy_config::{LoadOptions, Source, load};
use kt_gateway::{Caller, Trial};
use libfuzzer_sys::fuzz_target;

static TRIAL: LazyLock<Trial> = LazyLock::new(|| {
    let text = "policies: {chain: [pii-detector]}\npolicy: {pii-detector: {unreadable: allow}}";
    let source = Source { name: "fuzz".into(), text: text.into() };
    let config = load(&[source], LoadOptions::default()).config.expect("a valid configuration");
    Trial::new(&config).expect("a chain that can be made")
});

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = TRIAL.judge_stream(bytes, bytes.len(), Caller::default());
    assert_eq!(TRIAL.judge_stream(bytes, usize::from(size), Caller::default()), whole);
});
