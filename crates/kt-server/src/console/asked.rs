//! What the address of a list asks for, and the addresses that lead on from there.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use kt_control::PageRequest;
use kt_domain::error::Error;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::visit::PARTIAL;
use crate::api::paging;
use crate::failure::Failure;

/// The parameters of a list, which are those of the API; what a form leaves empty is absent. `live` and `seen` are the
/// console's own: whether the list is followed, and, where the page's script asks, what is shown already.
pub(crate) struct Asked<F> {
    pub(crate) filter: F,
    pub(crate) page: PageRequest,
    path: String,
    pairs: Vec<(String, String)>,
    is_live: bool,
    seen: Option<String>,
}

impl<F: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<F> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let is_live = take(&mut pairs, "live").is_some();
        let seen = take(&mut pairs, "seen").filter(|_| parts.headers.contains_key(PARTIAL));
        parts.uri = address(&path, &pairs).parse().map_err(Error::internal)?;
        let paging::Listing { filter, page } = paging::Listing::from_request_parts(parts, state).await?;
        Ok(Self { filter, page, path, pairs, is_live, seen })
    }
}

fn take(pairs: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let place = pairs.iter().position(|(found, _)| found == name)?;
    Some(pairs.remove(place).1)
}

fn address(path: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// What surrounds a list on its page.
pub(crate) struct Listing {
    /// Whether it is followed: `poll` is asked again and again.
    pub(crate) is_live: bool,
    /// Asks whether there is something new.
    pub(crate) poll: String,
    /// Leads to the same list, followed or not any more.
    pub(crate) toggle: String,
    /// Whether anything narrows the list.
    pub(crate) is_filtered: bool,
    /// The filters, ready to be put behind `?…&`.
    pub(crate) query: String,
    /// Leads to the beginning, from any later page.
    pub(crate) first: Option<String>,
    /// Leads to the next page.
    pub(crate) next: Option<String>,
}

impl<F> Asked<F> {
    /// What surrounds this list, of which `shown` stands for what is shown; `None` where nothing is.
    pub(crate) fn listing(&self, shown: Option<&str>, next_cursor: Option<&str>) -> Listing {
        let cursor = self.pairs.iter().any(|(name, _)| name == "cursor");
        let filters: Vec<_> = self
            .pairs
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit"))
            .cloned()
            .collect();
        let kept: Vec<_> = self.pairs.iter().filter(|(name, _)| name != "cursor").cloned().collect();
        let with = |more: &[(&str, &str)]| {
            let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            address(&self.path, &kept.iter().cloned().chain(more).collect::<Vec<_>>())
        };
        Listing {
            is_live: self.is_live && !cursor,
            poll: with(&[("live", "on"), ("seen", shown.unwrap_or(NOTHING))]),
            toggle: if self.is_live { with(&[]) } else { with(&[("live", "on")]) },
            is_filtered: !filters.is_empty(),
            query: form_urlencoded::Serializer::new(String::new()).extend_pairs(&filters).finish(),
            first: cursor.then(|| with(&[])),
            next: next_cursor.map(|cursor| with(&[("cursor", cursor)])),
        }
    }

    /// The answer to somebody who follows the list and has seen what it shows already: nothing.
    pub(crate) fn nothing_new(&self, shown: Option<&str>) -> Option<Response> {
        let seen = self.seen.as_deref()?;
        (seen == shown.unwrap_or(NOTHING)).then(|| StatusCode::NO_CONTENT.into_response())
    }
}

/// What has been seen of an empty list.
const NOTHING: &str = "nothing";
