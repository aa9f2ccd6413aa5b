//! The desktop of whoever runs a command, where there is one: its keyring, and its browser.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::environment;

/// Whether somebody sits in front of a desktop: only there can a keyring ask to be unlocked.
fn is_there() -> bool {
    let has = |name| environment::variable(name).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || has("WAYLAND_DISPLAY") || has("DISPLAY")
}

/// The keyring of this desktop, by `secret-tool` of libsecret, which speaks to every one that follows the Secret Service
/// Specification: secrets go through a pipe and never stand in a list of processes.
#[derive(Clone)]
pub(crate) struct Keyring {
    program: &'static str,
}

/// What entries of ours are found by, besides the account.
const SERVICE: [&str; 2] = ["service", "keeptrusts"];

impl Keyring {
    /// The keyring, where there may be one. `KEEPTRUSTS_KEYRING=off` does without.
    pub(crate) fn of_this_desktop() -> Option<Self> {
        let is_wanted = environment::variable("KEEPTRUSTS_KEYRING").is_none_or(|value| value != "off");
        let has_bus = environment::variable("DBUS_SESSION_BUS_ADDRESS").is_some();
        (is_wanted && has_bus && is_there()).then_some(Self { program: "secret-tool" })
    }

    /// Keeps a secret for an account; `false` where it cannot.
    pub(crate) fn keep(&self, account: &str, secret: &str) -> bool {
        let label = format!("--label=Keeptrusts at {account}");
        let mut command = self.command(&["store", &label], account);
        let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn() else { return false };
        let written = child.stdin.take().is_some_and(|mut input| input.write_all(secret.as_bytes()).is_ok());
        let kept = child.wait().is_ok_and(|status| status.success());
        written && kept
    }

    /// The secret of an account; `None` where there is none, or whoever was asked to unlock it has not.
    pub(crate) fn find(&self, account: &str) -> Option<String> {
        let output = self.command(&["lookup"], account).stdin(Stdio::null()).output().ok()?;
        let secret = String::from_utf8(output.stdout).ok().filter(|secret| !secret.is_empty());
        secret.filter(|_| output.status.success())
    }

    /// Forgets the secret of an account.
    pub(crate) fn forget(&self, account: &str) {
        // There may be none.
        let _ = self.command(&["clear"], account).stdin(Stdio::null()).output();
    }

    fn command(&self, arguments: &[&str], account: &str) -> Command {
        let mut command = Command::new(self.program);
        command.args(arguments).args(SERVICE).args(["account", account]).stderr(Stdio::null());
        command
    }
}

/// Shows a page in the browser of this desktop, if that can be done.
pub(crate) fn show_page(address: &str) {
    let is_page = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
    if !is_page || !is_there() {
        return;
    }
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = Stdio::null;
    // Whoever has no browser reads the address.
    let _ = Command::new(program).arg(address).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}
