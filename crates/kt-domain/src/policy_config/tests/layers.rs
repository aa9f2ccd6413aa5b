//! Later files override earlier ones.

use super::{load_files, load_text, short};

const BASE: &str = "\
pack: {name: base, version: 1.0.0}
providers:
  targets:
    - {id: a, provider: echo}
    - {id: b, provider: echo}
cors:
  enabled: true
  allow_origins: [\"https://app.example.com\"]
  allow_headers: [X-One]
";

#[test]
fn a_later_file_overrides_key_by_key_and_lists_as_a_whole() {
    let above =
        "pack: {name: above}\nproviders: {targets: [{id: c, provider: echo}]}\ncors: {max_age_seconds: 60}\n";
    let config = load_files(&[BASE, above]).config.unwrap();
    assert_eq!((&*config.pack.name, &*config.pack.version), ("above", "1.0.0"));
    assert_eq!(config.providers.targets.iter().map(|target| &*target.id).collect::<Vec<_>>(), ["c"]);
    assert_eq!(config.cors.max_age_seconds, 60);
    assert_eq!(config.cors.allow_origins, ["https://app.example.com"]);
}

#[test]
fn each_finding_names_the_file_where_its_value_stands() {
    let above = "cors:\n  allow_credentials: true\n  allow_origins: [\"*\"]\n  max_age_seconds: -1\n";
    let loaded = load_files(&[BASE, above, "size_limits: {max_request_body_bytes: 0}\n"]);
    assert!(loaded.config.is_none());
    let places: Vec<_> = loaded.errors().map(|finding| (&*finding.file, short(finding))).collect();
    assert_eq!(
        places,
        [
            ("1.yaml", ("E011", 2, 22, "cors.allow_credentials")),
            ("1.yaml", ("E007", 4, 20, "cors.max_age_seconds")),
            ("2.yaml", ("E007", 1, 39, "size_limits.max_request_body_bytes")),
        ]
    );
}

#[test]
fn what_a_later_file_replaces_is_not_judged() {
    let loaded =
        load_files(&[&BASE.replace("https://app", "app"), "cors: {allow_origins: [\"https://b.example\"]}"]);
    assert_eq!(loaded.errors().count(), 0);
    assert_eq!(load_text(&BASE.replace("https://app", "app")).errors().count(), 1);
}

#[test]
fn every_file_that_cannot_be_read_is_named() {
    let loaded = load_files(&["a: [", BASE, "b: }"]);
    let files: Vec<_> = loaded.findings.iter().map(|finding| (finding.code, &*finding.file)).collect();
    assert_eq!(files, [("E004", "0.yaml"), ("E004", "2.yaml")]);
}

#[test]
fn the_version_follows_from_the_texts_and_their_borders() {
    let version = |texts: &[&str]| load_files(texts).version;
    let one = version(&[BASE]);
    assert!(one.len() == 12 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    assert_eq!(one, version(&[BASE]));
    assert_ne!(one, version(&[&format!("{BASE}\n")]));
    assert_ne!(version(&["a", "b"]), version(&["ab", ""]));
}
