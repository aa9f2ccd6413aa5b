//! How a page is to look for whoever asks: its language, its colours, and the nonce of its scripts.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kt_domain::words;

use super::cookies::{Cookie, Cookies};
use super::messages::Language;
use crate::Doors;

/// Light, dark, or as the system is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system is set.
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

words!(Theme { System = "system", Light = "light", Dark = "dark" });

/// How a page is to look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    /// The scripts of this one answer carry it (CSP level 3); 128 random bits.
    pub(crate) nonce: Arc<str>,
}

impl Look {
    /// What the request's cookies choose; otherwise what its browser asks for.
    pub(crate) fn of(doors: &Doors, headers: &HeaderMap) -> Self {
        let cookies = Cookies::of(doors);
        let chosen = cookies.read(headers, Cookie::Language).and_then(Language::from_tag);
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = chosen.unwrap_or_else(|| Language::accepted(accepted.unwrap_or_default()));
        let theme = cookies.read(headers, Cookie::Theme).and_then(|theme| theme.parse().ok());
        let nonce = doors.control.draw(|random| STANDARD_NO_PAD.encode(random.bytes::<16>()));
        Self { language, theme: theme.unwrap_or(Theme::System), nonce: nonce.into() }
    }
}
