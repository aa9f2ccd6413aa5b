//! `kt auth …`: sign in on this machine, see who is, let other machines sign in, and sign out.

mod devices;
mod login;
mod token;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{Api, ApiAddress, ApiError, Call};
use crate::commands::reading::printable;
use crate::credentials::CredentialsFile;
use crate::failure::Failure;
use crate::output;

/// Sign in on this machine, let others sign in, sign out.
#[derive(Subcommand)]
pub(crate) enum Auth {
    /// Sign in; the session is kept in your keyring, or in a file that you alone can read
    Login(login::Login),
    /// End the session of this machine
    Logout(Logout),
    /// Show who is signed in, and where
    #[command(visible_alias = "status")]
    Whoami(Whoami),
    /// Let the machine that shows a code sign in as you
    Approve(devices::Approve),
    /// Refuse the machine that shows a code
    Deny(devices::Deny),
    /// API keys, for programs and for gateways
    #[command(subcommand)]
    Token(token::Token),
}

impl Auth {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Login(login) => login.run(),
            Self::Logout(logout) => logout.run(),
            Self::Whoami(whoami) => whoami.run(),
            Self::Approve(approve) => approve.run(),
            Self::Deny(deny) => deny.run(),
            Self::Token(token) => token.run(),
        }
    }
}

/// End the session of this machine
#[derive(Args)]
pub(crate) struct Logout {
    #[command(flatten)]
    api: ApiAddress,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Logout {
    fn run(self) -> Result<(), Failure> {
        let file = CredentialsFile::of_this_user()?;
        let Some(api) = self.api.session()? else {
            output::done(self.json, "nobody was signed in", json!({ "signed_out": false }));
            return Ok(());
        };
        let ended = api.tell(&Call::post("/v1/auth/logout"));
        file.remove()?;
        match ended {
            Ok(()) | Err(ApiError::Over(_)) => {
                output::done(self.json, "signed out", json!({ "signed_out": true }));
                Ok(())
            }
            // This machine cannot use the session any more; whoever has copied the file still could.
            Err(error) => Err(Failure::from(error)
                .and("this machine has forgotten the session, which may still live at the server")),
        }
    }
}

/// Show who is signed in, and where
#[derive(Args)]
pub(crate) struct Whoami {
    #[command(flatten)]
    api: ApiAddress,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What the API says about whoever asks.
#[derive(Serialize, Deserialize)]
struct Somebody {
    user: User,
    organization: Organization,
    /// The key by which a program asks in their name.
    key: Option<Key>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    id: String,
    name: String,
    r#type: String,
    scope: String,
}

#[derive(Serialize, Deserialize)]
struct User {
    id: String,
    email: String,
    name: String,
    role: String,
}

#[derive(Serialize, Deserialize)]
struct Organization {
    id: String,
    identifier: String,
    name: String,
}

impl Whoami {
    fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let somebody: Somebody = api.json("/v1/whoami", &[])?;
        somebody.print(&api, self.json);
        Ok(())
    }
}

impl Somebody {
    fn print(&self, api: &Api, as_json: bool) {
        let Self { user, organization, key } = self;
        if as_json {
            let facts =
                json!({ "api_url": api.address(), "user": user, "organization": organization, "key": key });
            output::line(facts);
            return;
        }
        let person = format!("{} ({}), {}", user.email, user.name, user.role);
        let who = match key {
            None => vec![format!("signed in as  {person}")],
            Some(Key { id, name, r#type: kind, scope }) => vec![
                format!("API key       {name} ({id}), {kind}, {scope}"),
                format!("acts for      {person}"),
            ],
        };
        let place = [
            format!("organization  {} ({})", organization.identifier, organization.name),
            format!("api           {}", api.address()),
        ];
        for line in who.iter().chain(&place) {
            output::line(printable(line));
        }
    }
}
