//! The API of a control plane, as commands ask it: in whose name, and what to do when there is no good answer.

mod answers;

use std::cell::RefCell;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use kt_control::outbound::{Outbound, OutboundError};
use kt_domain::network::reach::Reach;
use kt_domain::public_url::PublicUrl;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::commands::reading::printable;
use crate::credentials::{Credentials, CredentialsFile};
use crate::environment;
use crate::failure::Failure;
use crate::link::RemotePlane;
use answers::Download;

/// Where a control plane is unless something else is said.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How much of a list is asked for at a time: no list gives less than that at once.
const PAGE: u32 = 200;

/// How the address of the control plane is typed.
#[derive(Args)]
struct Typed {
    /// The address of the control plane's API; https, or a loopback address. Default: where you are signed in, or
    /// <http://127.0.0.1:8080>. `KEEPTRUSTS_API_TOKEN` takes the place of a sign-in
    #[arg(long, value_name = "URL", env = "KEEPTRUSTS_API_URL", value_parser = PublicUrl::parse_also_plain)]
    api_url: Option<PublicUrl>,
    /// Speak plain http with an API on another machine, where nobody listens in on the way: passwords and keys can be read
    /// there
    #[arg(long, env = "KEEPTRUSTS_ALLOW_PLAIN_HTTP", value_parser = BoolishValueParser::new())]
    allow_plain_http: bool,
}

/// Where the control plane is. A token is read from the environment variable `KEEPTRUSTS_API_TOKEN` alone: everybody on
/// the machine sees the options of a command.
#[derive(Clone)]
pub(crate) struct ApiAddress {
    api_url: Option<PublicUrl>,
    /// Whether it comes from the command line, and not from the environment.
    is_typed: bool,
    allows_plain_http: bool,
}

impl FromArgMatches for ApiAddress {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_typed = matches.value_source("api_url") == Some(ValueSource::CommandLine);
        let Typed { api_url, allow_plain_http } = Typed::from_arg_matches(matches)?;
        let this = Self { api_url, is_typed, allows_plain_http: allow_plain_http };
        match this.api_url.as_ref().map(|address| this.require_safe(address)) {
            Some(Err(why)) if is_typed => {
                Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")))
            }
            _ => Ok(this),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ApiAddress {
    fn augment_args(command: clap::Command) -> clap::Command {
        Typed::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Typed::augment_args_for_update(command)
    }
}

impl ApiAddress {
    /// Makes ready to ask in the name of `KEEPTRUSTS_API_TOKEN`, or else of whoever is signed in on this machine.
    pub(crate) fn open(self) -> Result<Api, Failure> {
        self.find()?.ok_or_else(|| {
            Failure::not_allowed(
                "nobody is signed in: run `kt auth login`, or set KEEPTRUSTS_API_TOKEN to an API key",
            )
        })
    }

    /// The same; `None` when there is neither.
    pub(crate) fn find(self) -> Result<Option<Api>, Failure> {
        match environment::variable("KEEPTRUSTS_API_TOKEN").filter(|token| !token.is_empty()) {
            Some(token) => Api::new(self.address()?, Identity::Token(token)).map(Some),
            None => self.session(),
        }
    }

    /// Makes ready to ask in the name of whoever is signed in on this machine; `None` when nobody is.
    pub(crate) fn session(self) -> Result<Option<Api>, Failure> {
        let file = CredentialsFile::of_this_user()?;
        let Some(credentials) = file.load()? else { return Ok(None) };
        let issuer = PublicUrl::parse_also_plain(&credentials.api_url).map_err(|error| {
            Failure::failed(format!(
                "what is kept of your session names no API ({error}): run `kt auth login`"
            ))
        })?;
        self.require_safe(&issuer)?;
        // Tokens go to where they come from and nowhere else, whatever is asked.
        if let Some(asked) = self.api_url.filter(|asked| *asked != issuer) {
            let (issuer, asked) = (issuer.url(), asked.url());
            return Err(Failure::not_allowed(format!(
                "you are signed in at {issuer} and not at {asked}: run `kt auth login --api-url {asked}`"
            )));
        }
        Api::new(issuer, Identity::Session(file, Box::new(credentials))).map(Some)
    }

    /// Makes ready to ask in nobody's name.
    pub(crate) fn anonymous(self) -> Result<Api, Failure> {
        Api::new(self.address()?, Identity::Nobody)
    }

    /// Whether an address was given.
    pub(crate) fn is_named(&self) -> bool {
        self.api_url.is_some()
    }

    /// Whether it was given on the command line, which is for this command alone.
    pub(crate) fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// The control plane as a gateway with this key asks it.
    pub(crate) fn plane(self, key: String) -> Result<RemotePlane, Failure> {
        Ok(RemotePlane::new(self.address()?, key, outbound()?))
    }

    fn address(self) -> Result<PublicUrl, Failure> {
        let default = || PublicUrl::parse(DEFAULT_URL);
        let address = self.api_url.clone().map_or_else(default, Ok);
        let address = address.map_err(|error| Failure::invalid(error.to_string()))?;
        self.require_safe(&address)?;
        Ok(address)
    }

    /// Refuses an address on the way to which others read what is sent, unless that is allowed.
    fn require_safe(&self, address: &PublicUrl) -> Result<(), Failure> {
        if self.allows_plain_http || !address.is_plain_to_others() {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "{} is plain http to another machine, and what you send would be read on the way: use https, or, where nobody \
             listens in, allow it with --allow-plain-http or KEEPTRUSTS_ALLOW_PLAIN_HTTP=true",
            address.url()
        )))
    }
}

/// An operator may name an address of this network.
fn outbound() -> Result<Outbound, Failure> {
    Outbound::new(Reach::Private, None).map_err(|error| Failure::failed(error.to_string()))
}

/// A control plane that can be asked.
pub(crate) struct Api {
    address: PublicUrl,
    identity: RefCell<Identity>,
    outbound: Outbound,
    runtime: Runtime,
}

/// In whose name it is asked.
#[derive(Clone)]
enum Identity {
    Nobody,
    /// An access token or API key.
    Token(String),
    /// A sign-in that is kept on this machine and can be carried on.
    Session(CredentialsFile, Box<Credentials>),
}

/// What it is asked.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    method: Method,
    path: &'static str,
    /// What follows the path, one segment each.
    segments: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
    body: Option<Value>,
    /// The version that it changes.
    if_match: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
    Delete,
}

impl<'a> Call<'a> {
    /// `GET path`.
    pub(crate) fn get(path: &'static str) -> Self {
        Self {
            method: Method::Get,
            path,
            segments: Vec::new(),
            query: Vec::new(),
            body: None,
            if_match: None,
        }
    }

    /// `POST path`.
    pub(crate) fn post(path: &'static str) -> Self {
        Self { method: Method::Post, ..Self::get(path) }
    }

    /// `DELETE path`.
    pub(crate) fn delete(path: &'static str) -> Self {
        Self { method: Method::Delete, ..Self::get(path) }
    }

    /// With another segment in its path, whatever text that is.
    pub(crate) fn segment(mut self, segment: &'a str) -> Self {
        self.segments.push(segment);
        self
    }

    /// With these questions.
    pub(crate) fn query(self, query: &[(&'a str, String)]) -> Self {
        Self { query: query.to_vec(), ..self }
    }

    /// As a change to this version alone.
    pub(crate) fn if_match(self, version: u32) -> Self {
        Self { if_match: Some(version), ..self }
    }

    /// With this body.
    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// Why there is no good answer.
pub(crate) enum ApiError {
    /// It has refused, with this code.
    Refused {
        /// The code of the case.
        code: String,
        /// What it means to a person and to a shell.
        failure: Failure,
    },
    /// The session of this machine is over.
    Over(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { failure, .. } | ApiError::Over(failure) | ApiError::Failed(failure) => {
                failure
            }
        }
    }
}

impl Api {
    fn new(address: PublicUrl, identity: Identity) -> Result<Self, Failure> {
        let outbound = outbound()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { address, identity: RefCell::new(identity), outbound, runtime })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        self.address.url().as_str().trim_end_matches('/')
    }

    /// What is at `path`, read as it comes.
    pub(crate) fn get(&self, path: &'static str, query: &[(&str, String)]) -> Result<Download<'_>, Failure> {
        Ok(self.answer(&Call::get(path).query(query))?)
    }

    /// What is at `path`, as JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        path: &'static str,
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        Ok(self.ask(&Call::get(path).query(query))?)
    }

    /// All that the list at `path` holds, page by page. `plural` is what the API calls it.
    pub(crate) fn list(
        &self,
        path: &'static str,
        plural: &str,
        query: &[(&'static str, String)],
    ) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page: Value = self.json(path, &query)?;
            let Some(Value::Array(entries)) = page.get_mut(plural).map(Value::take) else {
                return Err(Failure::failed(format!(
                    "the answer is not what was expected: it lists no {plural}"
                )));
            };
            all.extend(entries);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// The answer to a call, as JSON.
    pub(crate) fn ask<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ApiError> {
        let body = self.answer(call)?.whole()?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::failed(format!("the answer is not what was expected: {error}")).into())
    }

    /// Makes a call whose good answer says nothing more.
    pub(crate) fn tell(&self, call: &Call<'_>) -> Result<(), ApiError> {
        self.answer(call).map(drop)
    }

    /// The good answer to a call. An access token that is over is replaced, once.
    fn answer(&self, call: &Call<'_>) -> Result<Download<'_>, ApiError> {
        let mut answer = self.send(call)?;
        if answer.status() == 401 && self.renew()? {
            answer = self.send(call)?;
        }
        answer.good()
    }

    fn send(&self, call: &Call<'_>) -> Result<Download<'_>, Failure> {
        let mut url = self.address.page(call.path);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(&call.segments);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut headers = vec![("user-agent", user_agent())];
        headers.extend(
            self.identity.borrow().bearer().map(|token| ("authorization", format!("Bearer {token}"))),
        );
        headers.extend(call.if_match.map(|version| ("if-match", format!("\"{version}\""))));
        let body = call.body.as_ref().map(Value::to_string);
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let answer = self.runtime.block_on(async {
            match call.method {
                Method::Get => self.outbound.get(&url, &headers).await,
                Method::Post => self.outbound.post(&url, &headers, body.unwrap_or_default().into()).await,
                Method::Delete => self.outbound.delete(&url, &headers).await,
            }
        });
        Ok(Download { answer: answer.map_err(|error| self.unreachable(&error))?, api: self })
    }

    /// Gets a new access token for the session; `false` where there is no session. Commands that run at the same time
    /// take turns: the first one fetches the token, the others find it.
    fn renew(&self) -> Result<bool, ApiError> {
        let Identity::Session(file, mut credentials) = self.identity.borrow().clone() else {
            return Ok(false);
        };
        let _turn = file.lock()?;
        let renewed = match file.load()? {
            Some(kept) if kept.access_token != credentials.access_token => kept,
            _ => {
                let fresh = self.refreshed(&credentials.refresh_token)?;
                credentials.access_token = fresh.access_token;
                credentials.refresh_token = fresh.refresh_token;
                file.save(&credentials)?;
                *credentials
            }
        };
        self.identity.replace(Identity::Session(file, Box::new(renewed)));
        Ok(true)
    }

    fn refreshed(&self, refresh_token: &str) -> Result<Refreshed, ApiError> {
        let call = Call::post("/v1/auth/refresh").body(json!({ "refresh_token": refresh_token }));
        let before = self.identity.replace(Identity::Nobody);
        let refreshed = self.ask(&call);
        self.identity.replace(before);
        refreshed.map_err(|error| match error {
            ApiError::Refused { code, .. } if code == "invalid_refresh_token" => {
                let message = format!("your session at {} is over: run `kt auth login`", self.address());
                ApiError::Over(Failure::not_allowed(message))
            }
            other => other,
        })
    }

    fn unreachable(&self, error: &OutboundError) -> Failure {
        Failure::unreachable(format!(
            "cannot reach the control plane at {}: {}. Is it running (`kt up`, `kt server run`)? --api-url or \
             KEEPTRUSTS_API_URL name another address",
            self.address(),
            printable(&error.to_string())
        ))
    }
}

/// New tokens for old.
#[derive(Deserialize)]
struct Refreshed {
    access_token: String,
    refresh_token: String,
}

impl Identity {
    fn bearer(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::Token(token) => Some(token),
            Self::Session(_, credentials) => Some(&credentials.access_token),
        }
    }
}

/// What people see of this machine in the list of their sessions.
fn user_agent() -> String {
    let machine = rustix::system::uname();
    let name: String = machine.nodename().to_string_lossy().chars().filter(char::is_ascii_graphic).collect();
    format!("kt/{} ({name})", env!("CARGO_PKG_VERSION"))
}
