//! What providers publish, fetched within bounds: to where connections may go, no redirect, a whole answer of at most a
//! mebibyte within five seconds (STANDARDS OIDC-04; ATTACKS I27).

use std::time::Duration;

use hyper::StatusCode;
use thiserror::Error;
use url::Url;

use crate::outbound::{Outbound, OutboundError};

/// The largest answer that is read, in bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// How long a whole answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer that could be read.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// There was no connection, or no HTTP.
    #[error(transparent)]
    Unreachable(#[from] OutboundError),
    /// It took too long.
    #[error("{0} did not send a whole answer within {PATIENCE:?}")]
    Slow(Url),
    /// It answered something else than what was asked for; redirects among it.
    #[error("{0} answered {1}")]
    Status(Url, StatusCode),
    /// It is too large.
    #[error("the answer of {0} is larger than {MOST_BYTES} bytes")]
    TooLarge(Url),
}

/// An answer that was read whole.
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// What is at `url`.
pub(crate) async fn get(
    outbound: &Outbound,
    url: &Url,
    headers: &[(&'static str, String)],
) -> Result<Vec<u8>, FetchError> {
    let answer = whole(url, outbound.get(url, headers)).await?;
    if answer.status != StatusCode::OK {
        return Err(FetchError::Status(url.clone(), answer.status));
    }
    Ok(answer.body)
}

/// What `url` answers to a form.
pub(crate) async fn post_form(
    outbound: &Outbound,
    url: &Url,
    headers: &[(&'static str, String)],
    form: String,
) -> Result<Fetched, FetchError> {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
    whole(url, outbound.post(url, &headers, form.into_bytes())).await
}

async fn whole(
    url: &Url,
    asked: impl Future<Output = Result<crate::outbound::Answer, OutboundError>>,
) -> Result<Fetched, FetchError> {
    let answer = async {
        let answer = asked.await?;
        let status = answer.status;
        Ok::<_, OutboundError>(Fetched { status, body: answer.read(MOST_BYTES + 1).await? })
    };
    let answer =
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| FetchError::Slow(url.clone()))??;
    if answer.body.len() > MOST_BYTES {
        return Err(FetchError::TooLarge(url.clone()));
    }
    Ok(answer)
}
