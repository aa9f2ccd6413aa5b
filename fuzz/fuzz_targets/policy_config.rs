//! Whatever a configuration file holds, it is loaded or every error is named; what is loaded can be put to use.
#![no_main]

use kt_domain::network::gateway_rules::IpRules;
use kt_domain::policy_config::{LoadOptions, Source, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: Vec<String>| {
    let sources: Vec<_> =
        texts.into_iter().map(|text| Source { name: "policy-config.yaml".into(), text }).collect();
    let loaded = load(&sources, LoadOptions::default());
    assert_eq!(loaded.config.is_none(), loaded.errors().next().is_some());
    for finding in &loaded.findings {
        assert!(finding.render().contains(finding.code));
    }
    if let Some(config) = loaded.config {
        IpRules::compile(&config.ip_allowlist).expect("the linter accepts no range that the gateway refuses");
    }
});
