//! `kt auth token …`: API keys, for programs and for gateways.

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use kt_domain::actor::Scope;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{ApiAddress, Call};
use crate::commands::reading::{empty_table, printable, time};
use crate::failure::Failure;
use crate::output;

const TOKENS: &str = "/v1/tokens";

/// API keys.
#[derive(Subcommand)]
pub(crate) enum Token {
    /// Make a key; it is shown once
    Create(Create),
    /// Show your keys, and as an auditor or administrator everybody's
    List(List),
    /// Put a new key in place of one; it is shown once
    Rotate(Rotate),
    /// End a key at once
    Revoke(Revoke),
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// API calls, and application traffic through a gateway
    Access,
    /// A gateway's own credential
    Gateway,
    /// An identity provider's, to provision members
    Scim,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Gateway => "gateway",
            Self::Scim => "scim",
        }
    }
}

/// Make a key; it is shown once
///
/// The key alone goes to standard output, what else there is to know to standard error.
#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    api: ApiAddress,
    /// What it is called
    name: String,
    /// What it is for
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "access")]
    kind: Kind,
    /// How far it reaches: `read-only`, `write` or `admin`
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// A range of addresses from which it works; may be given several times. Without one, from anywhere
    #[arg(long = "ip-range", value_name = "CIDR")]
    ip_ranges: Vec<String>,
    /// How often it works in a minute at most
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// When it ends, such as 2026-12-31T00:00:00Z; without it, never by itself
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<jiff::Timestamp>,
    /// Print the key and all about it as JSON
    #[arg(long)]
    json: bool,
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let new = json!({
            "type": self.kind.word(),
            "name": self.name,
            "scope": self.scope,
            "ip_ranges": self.ip_ranges,
            "requests_per_minute": self.requests_per_minute,
            "expires_at": self.expires_at.map(|time| time.to_string()),
        });
        show_once(self.api.open()?.ask(&Call::post(TOKENS).body(new))?, self.json)
    }
}

/// What must be told of a key that was made.
#[derive(Deserialize)]
struct Made {
    key: String,
    id: String,
}

fn show_once(made: Value, as_json: bool) -> Result<(), Failure> {
    if as_json {
        output::line(made);
        return Ok(());
    }
    let Made { key, id } = serde_json::from_value(made)
        .map_err(|error| Failure::failed(format!("the answer is not what was expected: {error}")))?;
    output::line(printable(&key));
    output::complain(printable(&format!("This is the key {id}. Keep it now: it is not shown again.")));
    Ok(())
}

/// Show your keys, and as an auditor or administrator everybody's
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    api: ApiAddress,
    /// Only keys of this type
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Kind>,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let query: Vec<_> = self.kind.map(|kind| ("type", kind.word().to_owned())).into_iter().collect();
        let tokens = self.api.open()?.list(TOKENS, "tokens", &query)?;
        if self.json {
            output::list("tokens", &tokens);
        } else if tokens.is_empty() {
            output::complain(
                "There are no keys yet. `kt auth token create NAME --scope read-only` makes one.",
            );
        } else {
            output::line(table(&tokens));
        }
        Ok(())
    }
}

/// The keys, one a row, as wide as the terminal.
fn table(tokens: &[Value]) -> Table {
    const COLUMNS: [&str; 8] =
        ["id", "type", "name", "prefix", "scope", "status", "expires_at", "last_used_at"];
    let mut table = empty_table(&COLUMNS.map(|column| column.replace('_', " ")));
    for token in tokens {
        table.add_row(COLUMNS.map(|column| printable(token[column].as_str().unwrap_or("-"))));
    }
    table
}

/// Put a new key in place of one; it is shown once
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    api: ApiAddress,
    /// The key's id, such as `key_…`
    id: String,
    /// For how many seconds the old key goes on working
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    overlap: u64,
    /// Print the new key and all about it as JSON
    #[arg(long)]
    json: bool,
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let body = json!({ "overlap_seconds": self.overlap });
        let call = Call::post(TOKENS).segment(&self.id).segment("rotate").body(body);
        show_once(self.api.open()?.ask(&call)?, self.json)
    }
}

/// End a key at once
#[derive(Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    api: ApiAddress,
    /// The key's id, such as `key_…`
    id: String,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        self.api.open()?.tell(&Call::delete(TOKENS).segment(&self.id))?;
        let sentence = printable(&format!("{} is revoked", self.id));
        output::done(self.json, sentence, json!({ "id": self.id, "status": "revoked" }));
        Ok(())
    }
}
