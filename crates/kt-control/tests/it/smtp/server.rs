//! A mail server to send to.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use kt_control::mail::SmtpTls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::Deserialize;
use tempfile::TempDir;

pub(super) const USERNAME: &str = "keeptrusts";
pub(super) const PASSWORD: &str = "a password of the tests";

/// A running server, with a certificate for 127.0.0.1 from an authority of its own. It ends with this value.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) tls: SmtpTls,
    process: Child,
    lines: BufReader<ChildStdout>,
    files: TempDir,
}

/// A mail as the server understood it.
#[derive(Deserialize)]
pub(super) struct Received {
    pub(super) greeting: String,
    pub(super) over_tls: bool,
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    /// By name in lower case, decoded.
    pub(super) headers: HashMap<String, Vec<String>>,
    pub(super) text: String,
    pub(super) html: String,
}

impl Server {
    /// Ready for connections.
    pub(super) fn start(tls: SmtpTls) -> Self {
        let files = tempfile::tempdir().unwrap();
        make_certificates(files.path());
        let mode = match tls {
            SmtpTls::None => "none",
            SmtpTls::StartTls => "starttls",
            SmtpTls::Tls => "tls",
        };
        let mut process = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/smtp/server.py"))
            .args([mode, USERNAME, PASSWORD])
            .arg(files.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("the mail server started; what it says is above");
        Self { port, tls, process, lines, files }
    }

    /// The file of the authority to trust.
    pub(super) fn authority(&self) -> PathBuf {
        self.files.path().join("authority.pem")
    }

    /// The next mail. The server says it before it answers the client that sent it.
    pub(super) fn received(&mut self) -> Received {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(super) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The interpreter that has aiosmtpd.
fn python() -> PathBuf {
    let cache = std::env::var_os("KEEPTRUSTS_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/keeptrusts"),
        PathBuf::from,
    );
    let venv = cache.join("e2e/venv");
    let python = venv.join("bin/python");
    let has_server = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    assert!(
        has_server.is_ok_and(|status| status.success()),
        "there is no aiosmtpd in {}: run `e2e/setup python` first",
        venv.display()
    );
    python
}

fn make_certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    fs::write(folder.join("server.pem"), server.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}
