//! What must not be lost because the store is away for a moment.

use std::time::Duration;

use kt_domain::error::Error;

/// How soon something is written again that the store did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Writes this again and again until the store takes it.
pub(crate) async fn until_kept<T, W>(what: &str, mut write: impl FnMut() -> W) -> T
where
    W: Future<Output = Result<T, Error>>,
{
    loop {
        match write().await {
            Ok(told) => return told,
            Err(error) => {
                tracing::warn!(what, %error, "the store does not take it at the moment; it is tried again");
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
