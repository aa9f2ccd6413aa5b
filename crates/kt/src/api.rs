//! The API of a control plane, as commands ask it.

use clap::Args;
use kt_control::outbound::{Answer, Outbound, OutboundError};
use kt_domain::network::reach::Reach;
use kt_domain::public_url::PublicUrl;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use crate::commands::reading::printable;
use crate::environment;
use crate::failure::Failure;

/// The most that is read of an answer that is taken whole.
const WHOLE: usize = 16 << 20;

/// Where the control plane is. The token is read from the environment variable `KEEPTRUSTS_API_TOKEN` alone: everybody on
/// the machine sees the options of a command.
#[derive(Args)]
pub(crate) struct ApiAddress {
    /// The address of the control plane's API; https, or a loopback address. The token to send is read from
    /// `KEEPTRUSTS_API_TOKEN`
    #[arg(long, value_name = "URL", env = "KEEPTRUSTS_API_URL", default_value = "http://127.0.0.1:8080", value_parser = PublicUrl::parse)]
    api_url: PublicUrl,
}

impl ApiAddress {
    /// Makes ready to ask.
    pub(crate) fn open(self) -> Result<Api, Failure> {
        let Some(token) = environment::variable("KEEPTRUSTS_API_TOKEN") else {
            return Err(Failure::not_allowed(
                "nobody is signed in: set KEEPTRUSTS_API_TOKEN to an API key or an access token",
            ));
        };
        let outbound =
            Outbound::new(Reach::Private, None).map_err(|error| Failure::failed(error.to_string()))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Api { address: self.api_url, token, outbound, runtime })
    }
}

/// A control plane that can be asked.
pub(crate) struct Api {
    address: PublicUrl,
    token: String,
    outbound: Outbound,
    runtime: Runtime,
}

impl Api {
    /// What is at `path`, read as it comes.
    pub(crate) fn get(&self, path: &'static str, query: &[(&str, String)]) -> Result<Download<'_>, Failure> {
        let mut url = self.address.page(path);
        url.query_pairs_mut().extend_pairs(query);
        let headers = [("authorization", format!("Bearer {}", self.token))];
        let answer = self.runtime.block_on(self.outbound.get(&url, &headers))?;
        if answer.status.is_success() {
            return Ok(Download { api: self, answer });
        }
        let status = answer.status.as_u16();
        let body = self.runtime.block_on(answer.read(WHOLE))?;
        Err(refusal(status, &body))
    }

    /// What is at `path`, as JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        path: &'static str,
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let Download { answer, .. } = self.get(path, query)?;
        let body = self.runtime.block_on(answer.read(WHOLE))?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the answer is not what was expected: {error}")))
    }
}

/// An answer that is still coming.
pub(crate) struct Download<'a> {
    api: &'a Api,
    answer: Answer,
}

impl Download<'_> {
    /// The next part; `None` when all has come.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.api.runtime.block_on(self.answer.next())?.map(Vec::from))
    }
}

impl From<OutboundError> for Failure {
    fn from(error: OutboundError) -> Self {
        Self::unreachable(printable(&error.to_string()))
    }
}

/// What a refusal of the API says, for a person.
fn refusal(status: u16, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Body {
        error: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        code: String,
        message: String,
    }
    let message = match serde_json::from_slice::<Body>(body) {
        Ok(Body { error }) => printable(&format!("{} ({})", error.message, error.code)),
        Err(_) => format!("what answers is no control plane: it said {status}"),
    };
    match status {
        401 | 403 => Failure::not_allowed(message),
        400 | 422 => Failure::invalid(message),
        _ => Failure::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_to_do_and_how_it_ended() {
        let body = br#"{"error":{"code":"insufficient_role","message":"Ask \u001b[2J an administrator."}}"#;
        assert_eq!(refusal(403, body).to_string(), "Ask \\u001b[2J an administrator. (insufficient_role)");
        assert_eq!(refusal(502, b"<html>").to_string(), "what answers is no control plane: it said 502");
    }
}
