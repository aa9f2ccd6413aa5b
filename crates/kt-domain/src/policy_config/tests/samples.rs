//! The samples of the product's documentation load as they are printed there.

use super::load_text;
use crate::policy_config::{
    AuditLogger, Cors, IpAllowlist, Loaded, Pack, PolicyConfig, STARTER, SecretRef, SizeLimits,
};

fn texts<T: FromIterator<String>, const N: usize>(texts: [&str; N]) -> T {
    texts.map(String::from).into_iter().collect()
}

/// The configuration of a sample, and the codes of what there is to say about it.
fn sample(text: &str) -> (PolicyConfig, Vec<&'static str>) {
    let Loaded { config, findings, .. } = load_text(text);
    let shown = || findings.iter().map(super::Finding::render).collect::<String>();
    (config.unwrap_or_else(|| panic!("{}", shown())), findings.iter().map(|finding| finding.code).collect())
}

macro_rules! sample {
    ($name:literal) => {
        sample(include_str!(concat!("../../../testdata/seed/", $name, ".yaml")))
    };
}

#[test]
fn cors_for_production() {
    let (config, codes) = sample!("cors-production");
    let expected = Cors {
        enabled: true,
        allow_origins: texts(["https://app.example.com"]),
        allow_methods: texts(["POST", "OPTIONS"]),
        allow_headers: texts(["Content-Type", "Authorization", "X-Request-Id"]),
        expose_headers: texts(["X-KT-Request-Id", "X-KT-Policy-Action"]),
        allow_credentials: true,
        max_age_seconds: 3600,
    };
    assert_eq!(config, PolicyConfig { cors: expected, ..PolicyConfig::default() });
    assert_eq!(codes, ["W008"]);
}

#[test]
fn cors_for_development() {
    let (config, codes) = sample!("cors-development");
    let expected = Cors {
        enabled: true,
        allow_origins: texts(["*"]),
        allow_methods: texts(["GET", "POST", "OPTIONS"]),
        allow_headers: texts(["*"]),
        max_age_seconds: 300,
        ..Cors::default()
    };
    assert_eq!(config, PolicyConfig { cors: expected, ..PolicyConfig::default() });
    assert_eq!(codes, ["W008", "W001"]);
}

#[test]
fn cors_with_several_origins() {
    let (config, codes) = sample!("cors-several-origins");
    let origins = ["https://app.example.com", "https://staging.example.com", "https://admin.example.com"];
    let expected =
        Cors { enabled: true, allow_origins: texts(origins), allow_credentials: true, ..Cors::default() };
    assert_eq!(config.cors, expected);
    assert_eq!(codes, ["W008", "W002"]);
}

#[test]
fn addresses_of_private_networks() {
    let (config, codes) = sample!("ip-private-networks");
    let allow = texts(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32"]);
    assert_eq!(config.ip_allowlist, IpAllowlist { enabled: true, allow, ..IpAllowlist::default() });
    assert_eq!(codes, ["W008"]);
}

#[test]
fn addresses_without_a_quarantine_subnet() {
    let (config, _) = sample!("ip-quarantine-subnet");
    let expected = IpAllowlist {
        enabled: true,
        allow: texts(["10.0.0.0/8"]),
        deny: texts(["10.99.0.0/16"]),
        ..IpAllowlist::default()
    };
    assert_eq!(config.ip_allowlist, expected);
}

#[test]
fn addresses_behind_a_load_balancer() {
    let (config, codes) = sample!("ip-load-balancer");
    let expected = IpAllowlist {
        enabled: true,
        allow: texts(["10.0.0.0/8"]),
        trust_proxy_headers: true,
        ip_header: "X-Forwarded-For".into(),
        ..IpAllowlist::default()
    };
    assert_eq!(config.ip_allowlist, expected);
    assert_eq!(codes, ["W008"]);
}

#[test]
fn addresses_of_both_families() {
    let (config, _) = sample!("ip-ipv6");
    assert_eq!(config.ip_allowlist.allow, texts(["10.0.0.0/8", "::1/128", "fd00::/8"]));
}

#[test]
fn size_limits() {
    let (config, _) = sample!("size-limits");
    let expected = SizeLimits { max_request_body_bytes: 5_242_880, max_response_body_bytes: 16_777_216 };
    assert_eq!(config.size_limits, expected);
}

#[test]
fn the_complete_sample_loads_without_a_word() {
    let (config, codes) = sample!("full");
    let name = "cors-ip-allowlist-providers-9".into();
    assert_eq!(config.pack, Pack { name, version: "1.0.0".into(), enabled: true });
    let [target] = &*config.providers.targets else { panic!("{:?}", config.providers) };
    assert_eq!((&*target.id, &*target.provider), ("primary", "openai:chat:gpt-4o"));
    assert_eq!(target.secret_key_ref, Some(SecretRef { env: Some("OPENAI_API_KEY".into()), stored: None }));
    assert_eq!(config.policies.chain, ["audit-logger"]);
    let settings = AuditLogger { immutable: true, retention_days: 365, log_all_access: true };
    assert_eq!(config.policy.audit_logger, Some(settings));
    assert_eq!(codes, [""; 0]);
}

#[test]
fn an_empty_file_has_the_defaults() {
    for text in ["", "# nothing yet\n", "\u{feff}"] {
        let (config, codes) = sample(text);
        assert_eq!(config, PolicyConfig::default(), "{text:?}");
        assert_eq!(codes, ["W008"]);
    }
}

#[test]
fn the_configuration_to_start_from_loads_without_a_word_and_shows_the_defaults() {
    let (config, codes) = sample(STARTER);
    assert_eq!(codes, [""; 0]);
    assert_eq!(config.cors, Cors::default());
    assert_eq!(config.size_limits, SizeLimits::default());
    assert_eq!(config.policy.audit_logger, Some(AuditLogger::default()));
    assert_eq!(
        config.ip_allowlist,
        IpAllowlist { allow: config.ip_allowlist.allow.clone(), ..IpAllowlist::default() }
    );
}
