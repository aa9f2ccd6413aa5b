//! `kt auth login`: step by step as the API asks, until there is a session.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::Somebody;
use crate::api::{Api, ApiAddress, ApiError, Call};
use crate::commands::reading::printable;
use crate::credentials::{Credentials, CredentialsFile};
use crate::desktop;
use crate::failure::Failure;
use crate::output;
use crate::terminal::{Terminal, next_line};

/// Sign in; the session is kept in the keyring of your desktop, or in a file that you alone can read
///
/// Without --email, opens a page of the console where you approve a code; any browser that is signed in will do.
#[derive(Args)]
pub(crate) struct Login {
    #[command(flatten)]
    api: ApiAddress,
    /// Sign in with this address and a password
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The organization's identifier, where you belong to several
    #[arg(long, value_name = "NAME", requires = "email")]
    organization: Option<String>,
    /// Read the password from the first line of standard input, and a code or a new password that is asked for from the next;
    /// what has no line there is asked on the terminal
    #[arg(long, requires = "email")]
    password_stdin: bool,
    /// Only show where to approve the code; open no browser
    #[arg(long, conflicts_with = "email")]
    no_browser: bool,
    /// Print who has signed in as JSON
    #[arg(long)]
    json: bool,
}

/// What the API says to a step of a sign-in.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Step {
    Authenticated(Box<Authenticated>),
    MfaRequired { flow_token: String, methods: Vec<String> },
    MfaEnrollmentRequired,
    PasswordChangeRequired { flow_token: String, reason: String },
    PendingVerification,
    PendingApproval,
}

#[derive(Deserialize)]
struct Authenticated {
    access_token: String,
    refresh_token: String,
    device_token: Option<String>,
    #[serde(flatten)]
    somebody: Somebody,
}

/// How a step goes on.
enum Next {
    Done(Box<Authenticated>),
    /// The password has been replaced: sign in with this one.
    Again(String),
}

impl Login {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = CredentialsFile::of_this_user()?;
        let api = self.api.clone().anonymous()?;
        let known = file
            .load_if_any()?
            .filter(|known| self.email.as_ref() == Some(&known.email) && known.api_url == api.address());
        let device = known.and_then(|known| known.device_token);
        let signed_in = match &self.email {
            Some(email) => self.by_password(&api, email, device.as_deref())?,
            None => by_device(&api, !self.no_browser)?,
        };
        let credentials = Credentials {
            api_url: api.address().to_owned(),
            access_token: signed_in.access_token,
            refresh_token: signed_in.refresh_token,
            device_token: signed_in.device_token.or(device),
            email: signed_in.somebody.user.email.clone(),
        };
        let place = file.save(&credentials)?;
        signed_in.somebody.print(&api, self.json);
        if !self.json {
            output::line(format_args!("kept in       {place}"));
        }
        Ok(())
    }

    /// Signs in by password. A password that must be replaced is, and then signs in.
    fn by_password(&self, api: &Api, email: &str, device: Option<&str>) -> Result<Authenticated, Failure> {
        let mut password = self.password(email)?;
        loop {
            let login = json!({
                "email": email,
                "password": password,
                "organization": self.organization,
                "device_token": device,
            });
            let step = api.ask(&Call::post("/v1/auth/login").body(login))?;
            match follow(api, step, self.asker())? {
                Next::Done(signed_in) => return Ok(*signed_in),
                Next::Again(replaced) => password = replaced,
            }
        }
    }

    fn password(&self, email: &str) -> Result<String, Failure> {
        let instead = "Give the password on standard input with --password-stdin";
        self.asker().ask(&format!("Password of {email}: "), Shown::No, instead)
    }

    fn asker(&self) -> Asker {
        Asker { reads_input: self.password_stdin }
    }
}

/// Who answers to questions: standard input line by line, where it is meant to and as far as it goes, then whoever sits at the
/// terminal; where there is none, standard input again.
#[derive(Clone, Copy)]
struct Asker {
    reads_input: bool,
}

/// Whether what is typed is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl Asker {
    /// What is answered. Where nobody can be asked, `instead` says what to do.
    fn ask(self, prompt: &str, shown: Shown, instead: &str) -> Result<String, Failure> {
        if self.reads_input
            && let Some(line) = next_line()?
        {
            return Ok(line);
        }
        match Terminal::open() {
            Some(terminal) if shown == Shown::Yes => terminal.ask(prompt),
            Some(terminal) => terminal.ask_secret(prompt),
            None => next_line()?
                .ok_or_else(|| Failure::invalid(format!("there is no terminal to ask on. {instead}"))),
        }
    }
}

/// What a device is given that asks to sign in.
#[derive(Deserialize)]
struct Codes {
    device_code: String,
    user_code: String,
    verification_uri_complete: String,
    interval: u64,
}

/// Signs in by a code that somebody approves elsewhere (RFC 8628).
fn by_device(api: &Api, opens_browser: bool) -> Result<Authenticated, Failure> {
    let device: Codes = api.ask(&Call::post("/v1/auth/device/authorize"))?;
    output::complain(printable(&format!(
        "To sign in, approve the code {} within ten minutes:",
        device.user_code
    )));
    output::complain(printable(&format!(
        "  in a browser:                {}",
        device.verification_uri_complete
    )));
    output::complain(printable(&format!(
        "  where you are signed in:     kt auth approve {}",
        device.user_code
    )));
    if opens_browser {
        desktop::show_page(&device.verification_uri_complete);
    }
    let ask = json!({ "device_code": device.device_code });
    let mut interval = Duration::from_secs(device.interval.clamp(1, 60));
    loop {
        sleep(interval);
        match api.ask(&Call::post("/v1/auth/device/token").body(ask.clone())) {
            Ok(step) => match follow(api, step, Asker { reads_input: false })? {
                Next::Done(signed_in) => return Ok(*signed_in),
                Next::Again(_) => return Err(Failure::failed("the password was changed: sign in again")),
            },
            Err(ApiError::Refused { code, .. }) if code == "authorization_pending" => {}
            // RFC 8628 section 3.5: for this and all later questions.
            Err(ApiError::Refused { code, .. }) if code == "slow_down" => interval += Duration::from_secs(5),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Does what the API asks for until there is a session, or something is left that must be done elsewhere.
fn follow(api: &Api, mut step: Step, asker: Asker) -> Result<Next, Failure> {
    loop {
        step = match step {
            Step::Authenticated(signed_in) => return Ok(Next::Done(signed_in)),
            Step::MfaRequired { flow_token, methods } => second_factor(api, &flow_token, &methods, asker)?,
            Step::PasswordChangeRequired { flow_token, reason } => {
                return replace_password(api, &flow_token, &reason, asker).map(Next::Again);
            }
            Step::PendingVerification => {
                return Err(Failure::not_allowed(
                    "your address is not verified yet: open the link in the e-mail that you were sent, then sign in again",
                ));
            }
            Step::PendingApproval => {
                return Err(Failure::not_allowed(
                    "an administrator of your organization has not approved your account yet: ask one, then sign in again",
                ));
            }
            Step::MfaEnrollmentRequired => {
                return Err(Failure::not_allowed(
                    "your organization asks for a second factor, or for a passkey, that you do not have: add it in the \
                     console, then sign in here again",
                ));
            }
        };
    }
}

/// How often a code may be mistyped before the sign-in begins again.
const TRIES: u32 = 3;

/// Asks for a code of a second factor, and gives what the API says to it.
fn second_factor(api: &Api, flow_token: &str, methods: &[String], asker: Asker) -> Result<Step, Failure> {
    let has = |wanted: &str| methods.iter().any(|method| method == wanted);
    let prompt = if has("totp") {
        "Code of your authenticator app, or a recovery code: "
    } else if has("recovery_code") {
        "One of your recovery codes (a passkey works in a browser: run `kt auth login` without --email): "
    } else {
        return Err(Failure::not_allowed(
            "your second factor works in a browser only: run `kt auth login` without --email and approve the code there",
        ));
    };
    let instead = "A second factor is asked for: give its code in the next line of standard input, or use an API key in \
                   KEEPTRUSTS_API_TOKEN instead";
    let mut tries = 0;
    loop {
        let code = asker.ask(prompt, Shown::Yes, instead)?;
        let method = if has("totp") && is_short(&code) { "totp" } else { "recovery_code" };
        let verify = json!({ "flow_token": flow_token, "method": method, "code": code.trim() });
        tries += 1;
        match api.ask(&Call::post("/v1/auth/mfa/verify").body(verify)) {
            Err(ApiError::Refused { code, failure }) if code == "invalid_code" && tries < TRIES => {
                output::complain(failure);
            }
            answer => return Ok(answer?),
        }
    }
}

/// Whether it is as long as what an app shows. Recovery codes are longer.
fn is_short(code: &str) -> bool {
    code.chars().filter(|sign| !sign.is_whitespace()).count() <= 8
}

/// Puts a new password in place of one that must be replaced, and gives it.
fn replace_password(api: &Api, flow_token: &str, reason: &str, asker: Asker) -> Result<String, Failure> {
    let why = match reason {
        "temporary" => "this password was given to you for one sign-in",
        "expired" => "this password is older than your organization allows",
        _ => "this password does not meet what your organization asks of passwords",
    };
    let instead =
        format!("{why}: give another in the next two lines of standard input, or sign in on a terminal");
    let password = asker.ask(&format!("{why}.\nNew password: "), Shown::No, &instead)?;
    if asker.ask("The same again: ", Shown::No, &instead)? != password {
        return Err(Failure::failed("the two passwords differ, so nothing was changed. Sign in again"));
    }
    let replace = json!({ "flow_token": flow_token, "new_password": password });
    api.tell(&Call::post("/v1/auth/password/replace").body(replace))?;
    Ok(password)
}
