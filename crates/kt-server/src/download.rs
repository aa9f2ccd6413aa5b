//! Files made part by part, no faster than the client takes them.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use kt_control::{AuditExport, Control, EventsExport, ListExport, UsageExport};
use kt_domain::error::Error;

/// A copy that is made in parts.
pub(crate) trait Parts: Send + 'static {
    /// The next part; `None` when the copy is complete.
    fn next(&mut self, control: &Control) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;
}

impl Parts for AuditExport {
    async fn next(&mut self, control: &Control) -> Result<Option<Vec<u8>>, Error> {
        control.next_part(self).await
    }
}

impl Parts for EventsExport {
    async fn next(&mut self, control: &Control) -> Result<Option<Vec<u8>>, Error> {
        control.next_events(self).await
    }
}

impl Parts for UsageExport {
    async fn next(&mut self, control: &Control) -> Result<Option<Vec<u8>>, Error> {
        control.next_usage(self).await
    }
}

impl Parts for ListExport {
    async fn next(&mut self, control: &Control) -> Result<Option<Vec<u8>>, Error> {
        control.next_of_list(self).await
    }
}

/// The answer by which a client takes the copy, as a file of this name.
pub(crate) fn attachment(
    control: &Arc<Control>,
    parts: impl Parts,
    content_type: &'static str,
    disposition: &'static str,
) -> Response {
    let parts = stream::try_unfold((Arc::clone(control), parts), part_of);
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    response
}

/// The same of a table for people.
pub(crate) fn table(control: &Arc<Control>, parts: impl Parts, disposition: &'static str) -> Response {
    attachment(control, parts, "text/csv; charset=utf-8", disposition)
}

/// The next part, and what the rest is made of. A failure breaks the answer off, so that nobody takes it for the whole. The copy
/// is over before its answer is, so that the next one can be taken at once.
async fn part_of<P: Parts>(
    (control, mut parts): (Arc<Control>, P),
) -> Result<Option<(Bytes, (Arc<Control>, P))>, Error> {
    let part = parts.next(&control).await.inspect_err(|error| tracing::error!(%error, "a copy broke off"))?;
    Ok(part.map(|part| (part.into(), (control, parts))))
}
