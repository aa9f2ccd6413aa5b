//! `kt auth approve|deny`: decide about a machine that shows a code.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, ApiAddress, Call};
use crate::commands::reading::printable;
use crate::failure::Failure;
use crate::output;
use crate::terminal::Terminal;

const REQUESTS: &str = "/v1/me/device-requests";

/// Let the machine that shows a code sign in as you
#[derive(Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    api: ApiAddress,
    /// The code, such as WDJB-MJHT
    code: String,
    /// Do not ask whether it is your machine
    #[arg(long)]
    yes: bool,
    /// Print what was decided as JSON; with --yes
    #[arg(long, requires = "yes")]
    json: bool,
}

/// Refuse the machine that shows a code
#[derive(Args)]
pub(crate) struct Deny {
    #[command(flatten)]
    api: ApiAddress,
    /// The code, such as WDJB-MJHT
    code: String,
    /// Print what was decided as JSON
    #[arg(long)]
    json: bool,
}

/// What the API says about a machine that waits.
#[derive(Deserialize)]
struct Waiting {
    ip_address: Option<String>,
    user_agent: Option<String>,
    asked_at: String,
}

impl Approve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let waiting: Waiting = api.ask(&Call::get(REQUESTS).segment(&self.code))?;
        let asks = printable(&format!(
            "{} at {} asks since {} to sign in as you",
            waiting.user_agent.as_deref().unwrap_or("something without a name"),
            waiting.ip_address.as_deref().unwrap_or("an unknown address"),
            waiting.asked_at,
        ));
        if !self.json {
            output::line(asks);
        }
        if !self.yes {
            ask_whether_it_is_yours()?;
        }
        decide(&api, &self.code, "approve")?;
        let facts = json!({ "decision": "approved", "ip_address": waiting.ip_address, "user_agent": waiting.user_agent });
        output::done(self.json, "approved: it is signed in within seconds", facts);
        Ok(())
    }
}

/// Whoever is tricked into approving a stranger's code gives their session away (RFC 8628 section 5.4).
fn ask_whether_it_is_yours() -> Result<(), Failure> {
    let terminal = Terminal::open().ok_or_else(|| {
        Failure::invalid("there is no terminal to ask on: look at the code, then add --yes")
    })?;
    let answer = terminal.ask("Is this your machine, and did you start this yourself? [y/N] ")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was approved. If somebody sent you the code, run `kt auth deny` with it"))
}

impl Deny {
    pub(super) fn run(self) -> Result<(), Failure> {
        decide(&self.api.open()?, &self.code, "deny")?;
        output::done(self.json, "refused", json!({ "decision": "refused" }));
        Ok(())
    }
}

fn decide(api: &Api, code: &str, decision: &str) -> Result<(), Failure> {
    Ok(api.tell(&Call::post(REQUESTS).segment(code).segment(decision))?)
}
