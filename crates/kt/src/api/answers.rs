//! What a control plane answers, as it comes, and what its refusals say.

use kt_control::outbound::Answer;

use super::{Api, ApiError};
use crate::commands::reading::printable;
use crate::failure::Failure;
use crate::refusal::Refusal;

/// The most that is read of an answer that is taken whole.
const WHOLE: usize = 16 << 20;

/// An answer that is still coming.
pub(crate) struct Download<'a> {
    pub(super) api: &'a Api,
    pub(super) answer: Answer,
}

impl Download<'_> {
    /// The next part; `None` when all has come.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let part = self.api.runtime.block_on(self.answer.next());
        Ok(part.map_err(|error| self.api.unreachable(&error))?.map(Vec::from))
    }

    pub(super) fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    pub(super) fn whole(self) -> Result<Vec<u8>, Failure> {
        let api = self.api;
        api.runtime.block_on(self.answer.read(WHOLE)).map_err(|error| api.unreachable(&error))
    }

    /// The same, unless it is a refusal.
    pub(super) fn good(self) -> Result<Self, ApiError> {
        if self.answer.status.is_success() {
            return Ok(self);
        }
        let status = self.status();
        Err(refusal(status, &self.whole()?))
    }
}

/// What a refusal of the API says, for a person.
fn refusal(status: u16, body: &[u8]) -> ApiError {
    let Some(Refusal { code, message }) = Refusal::read(body) else {
        return Failure::failed(format!("what answers is no control plane: it said {status}")).into();
    };
    let mut message = printable(&format!("{message} ({code})"));
    if code == "reauthentication_required" {
        message.push_str("; confirm it in the console, or sign in there anew, then run `kt auth login`");
    }
    let failure = match status {
        401 | 403 => Failure::not_allowed(message),
        400 | 422 => Failure::invalid(message),
        _ => Failure::failed(message),
    };
    ApiError::Refused { code, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_to_do_and_how_it_ended() {
        let said = |status, body: &[u8]| Failure::from(refusal(status, body)).to_string();
        let body = br#"{"error":{"code":"insufficient_role","message":"Ask \u001b[2J an administrator."}}"#;
        assert_eq!(said(403, body), "Ask \\u001b[2J an administrator. (insufficient_role)");
        assert_eq!(said(502, b"<html>"), "what answers is no control plane: it said 502");
    }
}
