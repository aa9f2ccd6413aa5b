//! An authenticator app, as people have it: it knows what a QR code tells and nothing of the server.

use kt_domain::clock::{Clock, ManualClock};
use totp_rs::{Builder, Secret, Totp};

/// An app with one account.
pub(crate) struct App {
    secret: String,
    totp: Totp,
}

impl App {
    /// An app that has read this URI.
    pub(crate) fn reading(uri: &str) -> Self {
        let (_, rest) = uri.split_once("secret=").unwrap_or_else(|| panic!("{uri}"));
        let secret = rest.split('&').next().unwrap().to_owned();
        for setting in ["issuer=Keeptrusts", "algorithm=SHA1", "digits=6", "period=30"] {
            assert!(uri.contains(setting), "{uri}");
        }
        Self::with_secret(&secret)
    }

    /// An app into which this secret was typed.
    pub(crate) fn with_secret(secret: &str) -> Self {
        let shared = Secret::try_from_base32(secret).unwrap();
        Self { secret: secret.to_owned(), totp: Builder::new().with_secret(shared).build().unwrap() }
    }

    /// The secret as it would be typed in.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// What it shows now.
    pub(crate) fn code(&self, clock: &ManualClock) -> String {
        self.at(clock.now().as_second())
    }

    /// Six digits that it shows neither now nor a step away.
    pub(crate) fn wrong_code(&self, clock: &ManualClock) -> String {
        let now = clock.now().as_second();
        let shown = [now - 30, now, now + 30].map(|second| self.at(second));
        (0..4).map(|number| format!("{number:06}")).find(|code| !shown.contains(code)).unwrap()
    }

    fn at(&self, second: i64) -> String {
        self.totp.generate(second.try_into().unwrap()).to_string()
    }
}
