use super::*;
use crate::deployment_settings::ManagedBy;

fn file(text: &str) -> Source {
    Source { name: "keeptrusts.yaml".into(), text: text.into() }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_environment_overrides_the_file_key_by_key() {
    let text = "api:\n  listen: 127.0.0.1:1\n  public_url: https://api.example.com\n";
    let environment = variables(&[
        ("KEEPTRUSTS_API__LISTEN", "127.0.0.1:2"),
        ("KEEPTRUSTS_SERVER__TRUSTED_PROXIES", "[10.0.0.0/8, 192.0.2.0/24]"),
        ("KEEPTRUSTS_MAIL__SMTP__HOST", "mail.example.com"),
        ("KEEPTRUSTS_AUDIT__SYSLOG__ADDRESS", "tls://logs.example.com"),
        ("KEEPTRUSTS_LOG", "debug"),
        ("PATH", "/bin"),
    ]);
    let loaded = load(Some(file(text)), &environment);
    let config = loaded.config.unwrap();
    assert_eq!(config.api.listen.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(config.api.public_url.as_deref(), Some("https://api.example.com"));
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8", "192.0.2.0/24"]);
    assert_eq!(config.mail.smtp.host, "mail.example.com");
    assert_eq!(config.audit.syslog.unwrap().address, "tls://logs.example.com");
    assert_eq!(config.audit.webhook, None);
}

#[test]
fn a_list_of_words_in_the_environment_has_brackets_or_commas_alone() {
    let proxies = |value: &str| {
        let loaded = load(None, &variables(&[("KEEPTRUSTS_SERVER__TRUSTED_PROXIES", value)]));
        loaded.config.unwrap_or_else(|| panic!("{value}: {:#?}", loaded.findings)).server.trusted_proxies
    };
    for (value, expected) in [
        ("10.0.0.0/8", &["10.0.0.0/8"][..]),
        ("10.0.0.0/8,2001:db8::/32", &["10.0.0.0/8", "2001:db8::/32"]),
        (" 10.0.0.0/8 , 127.0.0.1/32,", &["10.0.0.0/8", "127.0.0.1/32"]),
        ("[10.0.0.0/8, '2001:db8::/32']", &["10.0.0.0/8", "2001:db8::/32"]),
        ("", &[]),
    ] {
        assert_eq!(proxies(value), expected, "{value}");
    }
    let sso = |value: &str| load(None, &variables(&[("KEEPTRUSTS_FEATURES__SSO", value)])).config;
    assert_eq!(sso("oidc").unwrap().features.sso, [SsoFeature::Oidc]);
    assert_eq!(sso("saml,oidc").unwrap().features.sso, [SsoFeature::Saml, SsoFeature::Oidc]);
    assert_eq!(sso("oidc,ldap"), None, "a word that is none of the choices");
    let from = load(None, &variables(&[("KEEPTRUSTS_MAIL__FROM", "Ada, of Sales <ada@example.com>")]));
    assert_eq!(from.config.unwrap().mail.from.as_deref(), Some("Ada, of Sales <ada@example.com>"));
}

#[test]
fn every_finding_is_told_at_once_with_its_place() {
    let text = "databse:\n  url: x\nserver:\n  trusted_proxies:\n    - 10.0.0.1/8\n  hosts: [\"https://a.example\"]\n\
                console:\n  public_url: http://example.com\n";
    let loaded = load(Some(file(text)), &variables(&[("KEEPTRUSTS_API__LISTEN", "localhost")]));
    let told: Vec<String> = loaded.findings.iter().map(Finding::render).collect();
    assert!(loaded.config.is_none());
    assert_eq!(told.len(), 5, "{told:?}");
    for part in [
        "keeptrusts.yaml:1:1",
        "`database`",
        "keeptrusts.yaml:5:7",
        "keeptrusts.yaml:6:11",
        "keeptrusts.yaml:8:15",
        "KEEPTRUSTS_API__LISTEN",
    ] {
        assert!(told.iter().any(|text| text.contains(part)), "{part} in {told:#?}");
    }
}

#[test]
fn what_is_demanded_of_people_has_its_bounds() {
    let text = "security:\n  managed_by: console\n  session:\n    timeout: 2h\n  password:\n    preset: nist-800-63b\n    \
                min_length: 7\n  lockout:\n    max_failures: 2\n  mfa:\n    grace_period: 0h\n";
    let loaded = load(Some(file(text)), &[]);
    let told: Vec<String> = loaded.findings.iter().map(Finding::render).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    for part in ["keeptrusts.yaml:4:", "keeptrusts.yaml:7:", "keeptrusts.yaml:9:"] {
        assert!(told.iter().any(|text| text.contains(part)), "{part} in {told:#?}");
    }
    let grace = load(Some(file("security:\n  mfa:\n    grace_period: soon\n")), &[]);
    assert!(grace.findings[0].render().contains("no length of time"), "{:#?}", grace.findings);
    let good = text.replace("2h", "1h").replace(": 7", ": 20").replace(": 2\n", ": 5\n");
    let security = load(Some(file(&good)), &[]).config.unwrap().security;
    assert_eq!(security.managed_by, ManagedBy::Console);
    assert_eq!(
        (security.to_settings().password.min_length, security.lockout.settings().max_failures),
        (20, 5)
    );
    assert_eq!(security.mfa.grace_period, None);
}

#[test]
fn a_redis_server_is_named_by_how_it_is_reached_and_its_host() {
    for url in ["redis://localhost", "redis://10.0.0.7:6380/2", "rediss://kt:secret@redis.example.com"] {
        let loaded = load(None, &variables(&[("KEEPTRUSTS_REDIS__URL", url)]));
        assert_eq!(loaded.config.unwrap().redis.url.as_deref(), Some(url));
    }
    for url in
        ["localhost:6379", "http://localhost", "redis://", "redis:///2", "unix:///run/redis.sock", "secret"]
    {
        let loaded = load(Some(file(&format!("redis:\n  url: {url}\n"))), &[]);
        assert!(loaded.config.is_none(), "{url}");
        let told = loaded.findings[0].render();
        assert!(told.contains("`redis.url` names") && told.contains("keeptrusts.yaml:2:"), "{told}");
    }
}

#[test]
fn of_the_keys_for_access_tokens_one_signs_and_each_has_a_name_and_a_file() {
    let told = |keys: &str| {
        let loaded = load(Some(file(&format!("auth:\n  jwt:\n    keys:\n{keys}"))), &[]);
        assert_eq!(loaded.config.is_some(), loaded.findings.is_empty());
        loaded.findings.iter().map(Finding::render).collect::<Vec<_>>()
    };
    let key = |kid: &str, half: &str, state: &str| {
        format!("      - kid: {kid}\n        {half}_key_file: {kid}.pem\n        state: {state}\n")
    };
    let good = [key("new", "private", "signing"), key("old", "public", "verifying")].concat();
    assert_eq!(told(&good), [""; 0]);
    for (keys, part) in [
        (key("old", "public", "verifying"), "0 keys sign access tokens"),
        ([&*good, &key("more", "private", "signing")].concat(), "2 keys sign access tokens"),
        (key("new", "public", "signing"), "no private half"),
        ([&*good, &key("old", "public", "verifying")].concat(), "two keys are called `old`"),
        (good.replace("kid: old", "kid: 'o/ld'"), "`o/ld` is no name of a key"),
        (good.replace("        public_key_file: old.pem\n", ""), "is in no file, or in two"),
        (good.replace("state: verifying", "state: resting"), "`auth.jwt.keys[1].state` must be"),
        (good.replace("        state: signing\n", ""), "has no `state`"),
    ] {
        let found = told(&keys);
        assert!(found.len() == 1 && found[0].contains(part), "{part} in {found:#?}");
    }
}

#[test]
fn a_collector_is_an_address_of_the_web() {
    let given = |endpoint: &str| load(None, &variables(&[("KEEPTRUSTS_TELEMETRY__OTLP_ENDPOINT", endpoint)]));
    let good = given("http://127.0.0.1:4318").config.unwrap();
    assert_eq!(good.telemetry.otlp_endpoint.as_deref(), Some("http://127.0.0.1:4318"));
    for (bad, code) in
        [("127.0.0.1:4318", "E017"), ("http://me@collector", "E017"), ("http://169.254.169.254", "E018")]
    {
        let loaded = given(bad);
        assert_eq!((loaded.config, loaded.findings[0].code), (None, code), "{bad}");
    }
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(load(None, &[]).config, Some(DeploymentConfig::default()));
}
