//! The console's cookies: what each is for, and how it is set.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::Doors;

/// A cookie of the console. None of them can be read by scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Stands for a signed-in session.
    Session,
    /// What the form tokens of somebody not signed in are bound to.
    Visit,
    /// By which a device is known that has signed in before.
    Device,
    /// Carries a sign-in from one step to the next.
    Flow,
    /// Binds the way to an identity provider to the browser that began it.
    Sso,
    /// What the next page is to say.
    Flash,
    /// The language that was chosen.
    Language,
    /// Light or dark.
    Theme,
}

/// How long browsers keep a choice or a known device; they keep none longer (RFC 6265bis section 5.5).
const KEPT: Duration = Duration::from_hours(400 * 24);

impl Cookie {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "kt_session",
            Self::Visit => "kt_visit",
            Self::Device => "kt_device",
            Self::Flow => "kt_flow",
            Self::Sso => "kt_sso",
            Self::Flash => "kt_flash",
            Self::Language => "kt_language",
            Self::Theme => "kt_theme",
        }
    }

    /// Whether it has to come along when another site posts a form: a response of SAML. It opens nothing; whoever has begun
    /// something is known by it for ten minutes.
    fn comes_from_other_sites(self) -> bool {
        self == Self::Sso
    }

    /// How long it is kept; `None` until the browser is closed.
    fn kept(self) -> Option<Duration> {
        match self {
            Self::Session | Self::Visit => None,
            Self::Flow => Some(Duration::from_mins(5)),
            Self::Sso => Some(Duration::from_mins(10)),
            Self::Flash => Some(Duration::from_mins(1)),
            Self::Device | Self::Language | Self::Theme => Some(KEPT),
        }
    }
}

/// How cookies are written in this deployment.
#[derive(Clone, Copy)]
pub(crate) struct Cookies {
    is_secure: bool,
}

impl Cookies {
    /// Over https they have the prefix `__Host-`, which no other host and no unencrypted page can set (RFC 6265bis
    /// section 4.1.3.2).
    pub(crate) fn of(doors: &Doors) -> Self {
        Self { is_secure: doors.console.url().scheme() == "https" }
    }

    fn name(self, cookie: Cookie) -> String {
        let prefix = if self.is_secure { "__Host-" } else { "" };
        format!("{prefix}{}", cookie.name())
    }

    /// The value of a cookie that the request carries exactly once.
    pub(crate) fn read(self, headers: &HeaderMap, cookie: Cookie) -> Option<&str> {
        let name = self.name(cookie);
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut values = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, value)| *found == name && !value.is_empty())
            .map(|(_, value)| value);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Sets it. `value` holds nothing but what base64url and words are made of.
    pub(crate) fn set(self, headers: &mut HeaderMap, cookie: Cookie, value: &str) {
        let kept = cookie.kept().map_or_else(String::new, |kept| format!("; Max-Age={}", kept.as_secs()));
        self.append(headers, cookie, &format!("{value}{kept}"));
    }

    /// Takes it away.
    pub(crate) fn clear(self, headers: &mut HeaderMap, cookie: Cookie) {
        self.append(headers, cookie, "; Max-Age=0");
    }

    fn append(self, headers: &mut HeaderMap, cookie: Cookie, value_and_age: &str) {
        let reach = match (cookie.comes_from_other_sites(), self.is_secure) {
            // Browsers take `Secure` from this machine without https as well.
            (true, _) => "SameSite=None; Secure",
            (false, true) => "SameSite=Lax; Secure",
            (false, false) => "SameSite=Lax",
        };
        let line = format!("{}={value_and_age}; Path=/; HttpOnly; {reach}", self.name(cookie));
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(header::SET_COOKIE, line);
        }
    }
}
