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
    #[error("{0} did not send a whole answer within {1:?}")]
    Slow(Url, Duration),
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
    let answer = whole(url, PATIENCE, outbound.get(url, headers)).await?;
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
    whole(url, PATIENCE, outbound.post(url, &headers, form.into_bytes())).await
}

async fn whole(
    url: &Url,
    patience: Duration,
    asked: impl Future<Output = Result<crate::outbound::Answer, OutboundError>>,
) -> Result<Fetched, FetchError> {
    let answer = async {
        let answer = asked.await?;
        let status = answer.status;
        Ok::<_, OutboundError>(Fetched { status, body: answer.read(MOST_BYTES + 1).await? })
    };
    let answer = tokio::time::timeout(patience, answer)
        .await
        .map_err(|_| FetchError::Slow(url.clone(), patience))??;
    if answer.body.len() > MOST_BYTES {
        return Err(FetchError::TooLarge(url.clone()));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use kt_domain::network::reach::Reach;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Where a server answers everybody with this, and then says no more without hanging up.
    async fn saying(answer: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let _ = connection.read(&mut [0; 4096]).await;
                let _ = connection.write_all(answer.as_bytes()).await;
                held.push(connection);
            }
        });
        Url::parse(&url).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_whole_in_time_or_none() {
        let outbound = Outbound::new(Reach::Private, None).unwrap();
        let ask = async |url: &Url, patience| whole(url, patience, outbound.get(url, &[])).await;
        let short = Duration::from_millis(100);
        for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
            let refused = ask(&saying(answer).await, short).await;
            assert!(matches!(refused, Err(FetchError::Slow(_, patience)) if patience == short), "{answer}");
        }
        let whole = ask(&saying("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").await, PATIENCE).await;
        assert_eq!(whole.unwrap().body, b"here", "the control");
        assert_eq!(PATIENCE, Duration::from_secs(5));
    }
}
