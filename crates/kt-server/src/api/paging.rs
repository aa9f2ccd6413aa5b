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
        let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let (page, filter): (Vec<&str>, Vec<&str>) =
            pairs.partition(|pair| matches!(pair.split('=').next(), Some("limit" | "cursor")));
        let PageParams { limit, cursor } = read(&page)?;
        Ok(Self { filter: read(&filter)?, page: PageRequest { limit, cursor } })
    }
}

fn read<T: DeserializeOwned>(pairs: &[&str]) -> Result<T, Error> {
    let uri: Uri =
        format!("/?{}", pairs.join("&")).parse().map_err(|why| Error::invalid("query", format!("{why}")))?;
    let read = Query::try_from_uri(&uri).map_err(|why| Error::invalid("query", why.body_text()))?;
    let Query(value) = read;
    Ok(value)
}
