//! The plan of the house: which crate may use which. What a manifest does not list, the code behind it cannot reach.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate, and the crates of this house that it may use.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("kt", &["kt-control", "kt-domain", "kt-gateway", "kt-server", "kt-store"]),
    ("kt-control", &["kt-domain", "kt-saml", "kt-store"]),
    ("kt-domain", &[]),
    ("kt-gateway", &["kt-domain"]),
    ("kt-saml", &[]),
    ("kt-server", &["kt-control", "kt-domain"]),
    ("kt-store", &["kt-domain"]),
];

/// Crates from outside that mark what a crate of this house is for, and the only ones that may use them.
const HOMES: [(&[&str], &[&str]); 10] = [
    (&["tokio"], &["kt", "kt-control", "kt-gateway", "kt-server", "kt-store"]),
    (&["diesel", "libsqlite3-sys", "rusqlite", "sea-orm", "sqlx", "tokio-postgres"], &["kt-store"]),
    (&["argon2", "lettre", "openidconnect", "webauthn-rs"], &["kt-control"]),
    (&["bergshamra-c14n", "rcgen", "uppsala", "x509-parser"], &["kt-saml"]),
    (&["redis"], &["kt-control", "kt-gateway"]),
    (&["askama", "axum", "tower-http"], &["kt-server"]),
    (&["httparse", "ppp"], &["kt-gateway"]),
    (&["hyper", "hyper-util"], &["kt-control", "kt-gateway", "kt-server"]),
    (&["rustls", "tokio-rustls"], &["kt-control", "kt-gateway"]),
    (&["clap", "clap_complete", "indicatif"], &["kt"]),
];

/// What must not come in by any way: one cryptographic library is enough, and none that is not built with the rest.
const NOT_IN_THE_TREE: [&str; 3] = ["native-tls", "openssl-sys", "ring"];

/// The direct dependencies of each crate, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_package = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap();
        let used = all.iter().filter(|dependency| dependency["kind"] != "dev");
        (text(&package["name"]), used.map(|dependency| text(&dependency["name"])).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(of_package).collect()
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What cargo prints about the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn there_are_seven_crates_and_each_uses_only_those_it_may() {
    let dependencies = dependencies();
    let ours: Vec<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(ours, MAY_USE.map(|(name, _)| name));
    for (name, may_use) in MAY_USE {
        let used = dependencies[name].iter().filter(|used| ours.contains(&used.as_str()));
        let strangers: Vec<_> = used.filter(|used| !may_use.contains(&used.as_str())).collect();
        assert!(strangers.is_empty(), "{name} must not use {strangers:?}");
    }
}

#[test]
fn what_marks_a_crate_is_used_by_no_other() {
    for (name, used) in dependencies() {
        for (marks, homes) in HOMES {
            let found: Vec<_> = marks.iter().filter(|mark| used.contains(**mark)).collect();
            let is_home = homes.contains(&name.as_str());
            assert!(found.is_empty() || is_home, "{name} must not use {found:?}; that is for {homes:?}");
        }
    }
}

/// What reads the bytes of strangers. A number that would wrap there is a defect that ends one request, and no wrong answer.
const CHECKED_ARITHMETIC: [&str; 3] = ["kt-domain", "kt-gateway", "kt-saml"];

#[test]
fn what_reads_the_bytes_of_strangers_checks_its_arithmetic_in_released_programs() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in CHECKED_ARITHMETIC {
        let section = format!("[profile.release.package.{name}]\noverflow-checks = true\n");
        assert!(manifest.contains(&section), "{name}");
    }
}

#[test]
fn the_tree_holds_one_cryptographic_library() {
    // The lock file would not do: it also lists what only an option that nobody chose would bring.
    let tree = cargo(&["tree", "--offline", "--workspace", "--prefix=none", "--format={lib}"]);
    let holds = |name: &str| tree.lines().any(|line| line.trim() == name.replace('-', "_"));
    assert!(holds("aws-lc-sys"), "the tree is printed as it is read here");
    for name in NOT_IN_THE_TREE {
        assert!(!holds(name), "{name} is in the tree of dependencies: `cargo tree --invert {name}` says why");
    }
}
