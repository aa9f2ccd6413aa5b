//! `kt config`: what people do with the configurations that a control plane keeps.

use std::fs;
use std::process::Output;

use crate::plane::{PASSWORD, Plane};

const FIRST: &str = "pack: {name: p, version: 1.0.0}\nproviders: {targets: [{id: echo, provider: echo}]}\n";

/// What it printed, after it ended well.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_configuration_is_saved_compared_rolled_out_and_listed() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let kt = |arguments: &[&str]| plane.kt(Some(&token), arguments);
    let write = |text: &str| fs::write(plane.home.path("policy-config.yaml"), text).unwrap();
    write(FIRST);
    let push = ["config", "push", "main", "--file", "policy-config.yaml"];
    assert_eq!(said(&kt(&push)), "saved as main@1\n");
    write(&FIRST.replace("name: p", "name: other"));
    let from_first = [&push[..], &["--from", "1", "--note", "why"]].concat();
    assert_eq!(said(&kt(&from_first)), "saved as main@2\n");
    write(&FIRST.replace("name: p", "name: lost"));
    let lost = kt(&from_first);
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("version_mismatch"));

    let difference = said(&kt(&["config", "diff", "main", "1", "2"]));
    assert!(difference.starts_with("--- main@1\n+++ main@2\n@@ -1 +1 @@\n-pack: {name: p,"), "{difference}");
    assert_eq!(said(&kt(&["config", "show", "main", "1"])), FIRST);
    assert_eq!(said(&kt(&["config", "rollout", "main", "1"])), "main@1: told to all gateways\n");
    let listed = said(&kt(&["config", "list"]));
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["main", "main@2", "main@1", "-"], "{listed}");
    assert!(said(&kt(&["config", "list", "--json"])).starts_with("{\"configurations\":["));

    write("cors: {enabeld: true}\n");
    let refused = kt(&push);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 1"), "{refused:?}");
    assert_eq!(plane.kt(None, &["config", "list"]).status.code(), Some(3), "nobody is signed in");
}
