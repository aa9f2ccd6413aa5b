//! `/setup/gateway`: a gateway on another machine: its key, the command that starts it, and whether it has come.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use kt_control::{AwaitedGateway, NO_CONFIGURATION, NewGateway, PageRequest};
use kt_domain::configurations::VersionId;
use kt_domain::error::Error;
use kt_domain::id::ApiKeyId;
use kt_domain::public_url::PublicUrl;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::visit::{SignedIn, Visit};

/// Where a gateway listens that something stands before.
const USUAL_PORT: u16 = 41002;

#[derive(Template)]
#[template(path = "pages/connect-gateway.html")]
struct ConnectPage {
    frame: Frame,
    /// The gateway that gets its key just now.
    made: Option<Made>,
    /// The gateway that is waited for.
    awaited: Option<AwaitedGateway>,
    /// What all gateways are told to run.
    running: Option<VersionId>,
    /// What it can be told to run in place of that: the newest version of each configuration.
    versions: Vec<VersionId>,
}

impl ConnectPage {
    async fn new(
        doors: &Doors,
        visit: &Visit,
        key: Option<&ApiKeyId>,
        made: Option<Made>,
    ) -> Result<Self, Error> {
        let control = &doors.control;
        let awaited = match key {
            Some(key) => Some(control.awaited_gateway(&visit.ctx, key).await?),
            None => None,
        };
        let kept = control.configurations(&visit.ctx, &PageRequest::default()).await?.items;
        Ok(Self {
            frame: Frame::of(visit),
            made,
            awaited,
            running: control.running_for_all(&visit.ctx).await?,
            versions: kept.into_iter().map(|kept| kept.newest.id).collect(),
        })
    }

    /// What the gateway that is waited for is told to run that no other is.
    fn own(&self) -> Option<&VersionId> {
        self.awaited.as_ref()?.runs.as_ref()
    }

    /// The key to be made anew, where no gateway has come with it.
    fn lost(&self) -> Option<&ApiKeyId> {
        self.awaited.as_ref().filter(|awaited| awaited.arrived.is_empty()).map(|awaited| &awaited.key.key.id)
    }

    /// Whether a gateway can be asked for here: none is waited for, or it has not come and its line may be lost.
    fn has_form(&self) -> bool {
        self.made.is_none() && (self.awaited.is_none() || self.lost().is_some())
    }
}

/// A gateway that gets its key just now.
struct Made {
    /// The line that starts it, with the text of the key.
    line: String,
    /// Whether the line names files that hold a certificate.
    needs_certificate: bool,
}

/// Whose arrival is waited for.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Awaited {
    key: Option<ApiKeyId>,
}

/// The form; asked with a key, whether a gateway has come with it.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(awaited): Query<Awaited>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    page(&visit.look, &ConnectPage::new(&doors, &visit, awaited.key.as_ref(), None).await?)
}

/// A gateway to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    #[serde(default)]
    name: String,
    /// Where it will be reached.
    address: String,
    tls: Tls,
    /// What it is to run; empty for what all gateways do.
    #[serde(default)]
    runs: String,
    /// The key that was made for it before, and whose line is lost.
    #[serde(default)]
    instead_of: Option<ApiKeyId>,
}

/// Who speaks TLS to those who reach a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tls {
    /// The gateway.
    Itself,
    /// What stands before it.
    Before,
}

/// Makes a gateway's key, and shows the command that starts it. From then on the address of the page is that of the gateway that
/// is waited for, so that whoever loads it again sees whether it has come.
pub(crate) async fn make_key(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(new): Fields<New>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let address =
        PublicUrl::parse(new.address.trim()).map_err(|why| Error::invalid("address", format!("{why}")))?;
    let runs =
        Some(new.runs).filter(|runs| !runs.is_empty()).map(|runs| runs.parse::<VersionId>()).transpose();
    let runs = runs.map_err(|why| Error::invalid("runs", format!("{why}")))?;
    let gateway = NewGateway { name: new.name, runs, instead_of: new.instead_of };
    let made = doors.control.await_gateway(&visit.ctx, gateway).await?;
    let key = made.view.key.id;
    let made = Made {
        line: start_line(made.text.expose(), doors.control.api_address(), &address, new.tls),
        needs_certificate: !is_in_the_clear(&address) && new.tls == Tls::Itself,
    };
    let shown = ConnectPage::new(&doors, &visit, Some(&key), Some(made)).await?;
    let mut answer = page(&visit.look, &shown)?;
    let place = HeaderValue::from_str(&format!("/setup/gateway?key={key}")).map_err(Error::internal)?;
    answer.headers_mut().insert(HeaderName::from_static("hx-replace-url"), place);
    Ok(answer)
}

/// The line that starts a gateway which is reached at `address`. On this server's own machine it leaves alone what belongs to
/// the gateway that may run there already.
fn start_line(key: &str, api: &str, address: &PublicUrl, tls: Tls) -> String {
    let url = address.url();
    let port = url.port_or_known_default().unwrap_or(USUAL_PORT);
    let mut line = format!("KEEPTRUSTS_GATEWAY_TOKEN={key} kt gateway run --api-url {}", word(api));
    // Writing to a string cannot fail.
    let _ = write!(line, " --public-url {}", word(url.as_str().trim_end_matches('/')));
    line.push_str(" --data-dir ./keeptrusts-gateway");
    let _ = if is_in_the_clear(address) {
        let host = if address.host() == "localhost" { "127.0.0.1" } else { address.host() };
        write!(line, " --listen {host}:{port} --admin-listen off")
    } else if tls == Tls::Itself {
        write!(line, " --listen 0.0.0.0:{port} --tls-cert fullchain.pem --tls-key privkey.pem")
    } else {
        write!(line, " --listen 0.0.0.0:{USUAL_PORT}")
    };
    line
}

/// Whether nobody speaks TLS there, which is only where nobody else can listen: on this server's own machine.
fn is_in_the_clear(address: &PublicUrl) -> bool {
    address.url().scheme() == "http"
}

/// A text as one word of a shell (POSIX Shell Command Language, section 2.2.2).
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:.-_".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_the_gateway_is_reached_and_who_speaks_tls() {
        for (address, tls, expected) in [
            (
                "https://edge.example",
                Tls::Itself,
                "https://edge.example --data-dir ./keeptrusts-gateway --listen 0.0.0.0:443 --tls-cert fullchain.pem \
                 --tls-key privkey.pem",
            ),
            (
                "https://edge.example:8443/",
                Tls::Before,
                "https://edge.example:8443 --data-dir ./keeptrusts-gateway --listen 0.0.0.0:41002",
            ),
            (
                "http://localhost:41004",
                Tls::Itself,
                "http://localhost:41004 --data-dir ./keeptrusts-gateway --listen 127.0.0.1:41004 --admin-listen off",
            ),
            (
                "http://[::1]:41004",
                Tls::Before,
                "'http://[::1]:41004' --data-dir ./keeptrusts-gateway --listen [::1]:41004 --admin-listen off",
            ),
            (
                "https://edge.example/$(id)'",
                Tls::Before,
                r"'https://edge.example/$(id)'\''' --data-dir ./keeptrusts-gateway --listen 0.0.0.0:41002",
            ),
        ] {
            let address = PublicUrl::parse(address).unwrap();
            let line = start_line("kt_gk_x", "https://api.example", &address, tls);
            let start =
                "KEEPTRUSTS_GATEWAY_TOKEN=kt_gk_x kt gateway run --api-url https://api.example --public-url ";
            assert_eq!(line.strip_prefix(start), Some(expected));
        }
    }
}
