//! Which part of a list is asked for: the same two parameters for every list.

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use kt_control::PageRequest;
use kt_domain::error::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Failure;

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// At most how many: 1 to 1000, and 50 without it; of events and usage 100 without it.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A list that all of may be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Everything {}

/// Which part of which list: `F` are the parameters that narrow it down. All are read strictly, as by
/// [`Params`](super::Params).
pub(crate) struct Listing<F> {
    pub(crate) filter: F,
    pub(crate) page: PageRequest,
}

impl<F: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Listing<F> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let (page, filter): (Vec<&str>, Vec<&str>) =
            pairs_of(&parts.uri).into_iter().partition(|pair| matches!(name_of(pair), "limit" | "cursor"));
        let PageParams { limit, cursor } = read(&page)?;
        Ok(Self { filter: read(&filter)?, page: PageRequest { limit, cursor } })
    }
}

/// The parameters of an address, as they are written.
pub(crate) fn pairs_of(uri: &Uri) -> Vec<&str> {
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect()
}

/// Reads parameters strictly; a refusal names the one at fault.
pub(crate) fn read<T: DeserializeOwned>(pairs: &[&str]) -> Result<T, Error> {
    parse(pairs).map_err(|why| {
        let (name, why) = match pairs.iter().find_map(|pair| Some((pair, parse::<T>(&[*pair]).err()?))) {
            Some((pair, why)) => (name_of(pair), why),
            // Each can be read, and not all of them together.
            None => (twice(pairs).unwrap_or("query"), why),
        };
        Error::invalid(name.to_owned(), why)
    })
}

fn parse<T: DeserializeOwned>(pairs: &[&str]) -> Result<T, String> {
    let uri: Uri = format!("/?{}", pairs.join("&")).parse().map_err(|why| format!("{why}"))?;
    match Query::try_from_uri(&uri) {
        Ok(Query(value)) => Ok(value),
        Err(why) => {
            let text = why.body_text();
            let cause = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Err(format!("What follows the `?` cannot be read: {cause}."))
        }
    }
}

fn name_of<'a>(pair: &&'a str) -> &'a str {
    pair.split('=').next().unwrap_or_default()
}

/// The parameter that stands there twice.
fn twice<'a>(pairs: &[&'a str]) -> Option<&'a str> {
    let mut names = pairs.iter().enumerate().map(|(place, pair)| (place, name_of(pair)));
    let found = names.find(|(place, name)| pairs[..*place].iter().any(|before| name_of(before) == *name));
    found.map(|(_, name)| name)
}
