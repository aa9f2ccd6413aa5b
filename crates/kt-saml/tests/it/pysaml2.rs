//! A provider that is not ours, pysaml2: it reads our metadata and our signed request, and we believe its answers.
//! `e2e/setup python` installs it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kt_saml::{
    AuthnRequest, Expected, IdentityProvider, LogoutExpected, RedirectedMessage, SigningKey,
    verify_redirected_logout, verify_response,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use url::Url;

use crate::provider::{ACME, LOGOUT, edit, now, us};

/// The interpreter that has pysaml2.
fn python() -> PathBuf {
    let cache = std::env::var_os("KEEPTRUSTS_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/keeptrusts"),
        PathBuf::from,
    );
    let python = cache.join("e2e/venv/bin/python");
    let import = Command::new(&python).args(["-c", "import saml2"]).stderr(Stdio::null()).status();
    let is_there = import.is_ok_and(|status| status.success());
    assert!(is_there, "there is no pysaml2 for {}: run `e2e/setup python` first", python.display());
    python
}

struct Pysaml2 {
    python: PathBuf,
    files: TempDir,
}

impl Pysaml2 {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("key.pem"), &ACME.pkcs8_pem).unwrap();
        std::fs::write(files.path().join("certificate.pem"), &ACME.certificate_pem).unwrap();
        Self { python: python(), files }
    }

    /// What it says to this.
    fn ask(&self, mut given: Value) -> Map<String, Value> {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        given["key_file"] = path("key.pem").into();
        given["certificate_file"] = path("certificate.pem").into();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/pysaml2.py");
        let mut process = Command::new(&self.python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "what it says is above");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// It, by its own metadata, and the time on its clock.
    fn described(&self) -> (IdentityProvider, Timestamp) {
        let said = self.ask(json!({ "service_metadata": null }));
        let provider = IdentityProvider::from_metadata(text(&said, "metadata").as_bytes(), now()).unwrap();
        (provider, moment(&said))
    }
}

fn text(said: &Map<String, Value>, name: &str) -> String {
    said[name].as_str().unwrap().to_owned()
}

fn moment(said: &Map<String, Value>) -> Timestamp {
    text(said, "now").parse().unwrap()
}

#[test]
fn a_provider_reads_what_we_say_and_is_believed() {
    let (pysaml2, us) = (Pysaml2::new(), us());
    let (provider, asked_at) = pysaml2.described();
    assert!(provider.wants_signed_requests);
    assert_eq!(provider.certificates, std::slice::from_ref(&ACME.certificate));
    let key = SigningKey::generate("console.example.com", now()).unwrap();
    let request = AuthnRequest {
        id: "_request1",
        identity_provider: &provider,
        service_provider: &us,
        force_authentication: false,
        now: asked_at,
    };
    let address = Url::parse(&request.address("state-1", Some(&key))).unwrap();
    let query: Map<String, Value> =
        address.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    let given = json!({ "service_metadata": us.metadata(std::slice::from_ref(key.certificate()), true), "request": query });
    let said = pysaml2.ask(given);
    let responses = said["responses"].as_object().unwrap();
    assert_eq!(responses.len(), 3);
    for (signs, response) in responses {
        let response = response.as_str().unwrap();
        let verify = |text: &str, request: &str| {
            let expected = Expected {
                identity_provider: &provider,
                service_provider: &us,
                request,
                authenticated_since: None,
                now: moment(&said),
            };
            verify_response(&STANDARD.encode(text), &expected)
        };
        let found = verify(response, "_request1").unwrap_or_else(|why| panic!("{signs}: {why}\n{response}"));
        assert_eq!(found.subject.value, "alice-1");
        assert_eq!(found.values("mail").collect::<Vec<_>>(), ["alice@acme.example"]);
        assert_eq!(found.values("displayName").collect::<Vec<_>>(), ["Alice Größe & Co <x>"]);
        assert!(verify(response, "_request2").is_err());
        assert!(verify(&edit(response, "alice-1", "mallory"), "_request1").is_err());
    }
}

#[test]
fn its_requests_to_log_out_are_read() {
    let (pysaml2, us) = (Pysaml2::new(), us());
    let (provider, _) = pysaml2.described();
    let said = pysaml2.ask(json!({ "service_metadata": us.metadata(&[], false), "logout_url": LOGOUT }));
    let address = Url::parse(&text(&said, "logout")).unwrap();
    let expected = LogoutExpected { identity_provider: &provider, service_provider: &us, now: moment(&said) };
    let message = RedirectedMessage::read(address.query().unwrap(), "SAMLRequest").unwrap();
    let found = verify_redirected_logout(&message, &expected).unwrap();
    assert_eq!(
        (found.subject.value.as_str(), &*found.session_indexes),
        ("alice-1", &["session-1".to_owned()][..])
    );
    assert_eq!(message.relay_state.as_deref(), Some("back"));
}
