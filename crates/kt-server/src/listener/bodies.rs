//! Bodies that keep nobody waiting for ever: requests that have to arrive, answers that have to be taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tower::BoxError;

use super::activity::{Activity, Turn};

/// How long the body of a request may take to arrive: the largest, over a slow line.
const BODY_DEADLINE: Duration = Duration::from_mins(1);

/// How much of an answer is handed over at once: the next piece waits until the client has taken of this one.
pub(super) const PIECE: usize = 64 * 1024;

/// The body of an answer, a piece at a time. From one piece until the next is asked for, it is the client's turn.
pub(super) struct Piecewise {
    body: axum::body::Body,
    /// What was made and not handed over.
    rest: Bytes,
    activity: Arc<Activity>,
    turn: Option<Turn>,
}

impl Piecewise {
    pub(super) fn new(body: axum::body::Body, turn: Turn) -> Self {
        Self { body, rest: Bytes::new(), activity: Arc::clone(&turn.0), turn: Some(turn) }
    }
}

impl Body for Piecewise {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let turn = self.turn.take().unwrap_or_else(|| Turn::begin(&self.activity));
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                self.turn = Some(turn);
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(made))) => self.rest = made,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, made) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = made.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(made.lower() + rest);
        hint
    }
}

/// A body that must have arrived within [`BODY_DEADLINE`] of the first look at it.
pub(super) struct Timely {
    body: Incoming,
    /// Set at the first look: most requests have no body, and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, deadline: None }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_DEADLINE)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err("the body did not arrive in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
