//! What a gateway tells of itself and of the places that it forwards to: where it is reached, and when it counts as a
//! deployment.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::network::cidr::canonical;
use crate::public_url::PublicUrl;
use crate::words;

/// Where the control plane reaches a gateway that says it is at `address`, and came from `ip`, or from no address where it
/// runs in the same process; `None` where it can be asked nothing.
///
/// An address that leads to its own machine is believed to whoever is on this one. From anywhere else it names another
/// service than the gateway, and whoever holds a gateway's key could speak to it through this server (OWASP: server-side
/// request forgery).
#[must_use]
pub fn reached_at(address: Option<&str>, ip: Option<IpAddr>) -> Option<PublicUrl> {
    let address = PublicUrl::parse(address?).ok()?;
    let is_here = ip.is_none_or(|ip| canonical(ip).is_loopback());
    (is_here || !address.is_of_its_own_machine()).then_some(address)
}

/// A place that a gateway forwards to, as it stands at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetReport {
    /// Its name in the gateway's configuration.
    pub id: String,
    /// Its vendor.
    pub provider: String,
    /// Whether requests can go there.
    pub state: TargetState,
    /// The models that can be asked for there by name; none where the target lists its own.
    #[serde(default)]
    pub models: Vec<String>,
}

/// Whether requests can go to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// They can.
    Usable,
    /// The credential that its configuration names is not there.
    NoCredential,
    /// It has failed again and again and is left alone for a while.
    Failing,
}

words!(TargetState { Usable = "usable", NoCredential = "no_credential", Failing = "failing" });

/// The vendor whose answers the gateway makes up itself.
const BUILT_IN: &str = "echo";

/// Most targets of a gateway, and most models of one of them, that are taken note of.
const MOST: usize = 200;

/// The longest name, in bytes.
const LONGEST: usize = 200;

impl TargetReport {
    /// Refuses a report that is larger than any configuration, or holds names that are none.
    pub fn check_all(targets: &[Self]) -> Result<(), Error> {
        let is_name =
            |text: &String| (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
        let is_good = |target: &Self| {
            is_name(&target.id)
                && is_name(&target.provider)
                && target.models.len() <= MOST
                && target.models.iter().all(is_name)
        };
        if targets.len() <= MOST && targets.iter().all(is_good) {
            return Ok(());
        }
        let message = format!(
            "Report at most {MOST} targets with {MOST} models each, by names of 1 to {LONGEST} bytes."
        );
        Err(Error::invalid("targets", message))
    }

    /// Whether requests can go there.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == TargetState::Usable
    }

    /// Whether a gateway that reports it is a deployment: requests can go there, and a model answers (SPEC section 10).
    /// The built-in answers of a first start show how everything works, and deploy nothing.
    #[must_use]
    pub fn deploys(&self) -> bool {
        self.is_usable() && self.provider != BUILT_IN
    }
}

/// What a gateway tells of a configuration that comes from its own files, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownConfiguration {
    /// Its version, as the gateway reports it and its events name it.
    pub version: String,
    /// What is in force: the files laid over each other, with every default, and what could help a thief covered. `None`
    /// where that is longer than 256 KiB of JSON.
    pub document: Option<Value>,
}

/// The longest document, in bytes of JSON.
const MOST_DOCUMENT: usize = 256 * 1024;

impl ShownConfiguration {
    /// What is told of a version with this document: without it, where it is too long.
    #[must_use]
    pub fn new(version: String, document: Value) -> Self {
        Self { version, document: Some(document).filter(is_short) }
    }

    /// Refuses a document that is too long.
    pub fn check(&self) -> Result<(), Error> {
        if self.document.as_ref().is_none_or(is_short) {
            return Ok(());
        }
        let message = format!("Leave the document out that is longer than {} KiB.", MOST_DOCUMENT / 1024);
        Err(Error::invalid("configuration", message))
    }
}

fn is_short(document: &Value) -> bool {
    document.to_string().len() <= MOST_DOCUMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(provider: &str, state: TargetState) -> TargetReport {
        TargetReport { id: "main".into(), provider: provider.into(), state, models: Vec::new() }
    }

    #[test]
    fn an_address_of_its_own_machine_is_believed_to_a_gateway_on_this_one() {
        let (far, here) = (Some("203.0.113.9".parse().unwrap()), Some("::ffff:127.0.0.1".parse().unwrap()));
        for (address, ip, is_reached) in [
            (Some("http://127.0.0.1:41002"), far, false),
            (Some("https://localhost:41002"), far, false),
            (Some("http://127.0.0.1:41002"), here, true),
            (Some("http://127.0.0.1:41002"), None, true),
            (Some("https://gateway.example"), far, true),
            (Some("https://gateway.example"), here, true),
            (Some("gateway.example"), far, false),
            (None, here, false),
        ] {
            assert_eq!(reached_at(address, ip).is_some(), is_reached, "{address:?} from {ip:?}");
        }
    }

    #[test]
    fn a_model_that_can_be_asked_makes_a_deployment_and_the_built_in_echo_does_not() {
        let table = [
            ("openai", TargetState::Usable, true),
            ("openai", TargetState::NoCredential, false),
            ("openai", TargetState::Failing, false),
            ("echo", TargetState::Usable, false),
        ];
        for (provider, state, deploys) in table {
            assert_eq!(target(provider, state).deploys(), deploys, "{provider} {state}");
        }
    }

    #[test]
    fn a_document_that_is_too_long_is_left_out_and_refused() {
        let quotes_and = |bytes: usize| Value::from("x".repeat(bytes - 2));
        for (document, is_told) in [(quotes_and(MOST_DOCUMENT), true), (quotes_and(MOST_DOCUMENT + 1), false)]
        {
            let told = ShownConfiguration::new("v".into(), document.clone());
            assert_eq!(told.document.is_some(), is_told);
            assert!(told.check().is_ok(), "what is left out does no harm");
            let sent = ShownConfiguration { document: Some(document), ..told };
            assert_eq!(sent.check().is_ok(), is_told);
        }
    }

    #[test]
    fn a_report_is_bounded_and_its_names_are_names() {
        let good = target("openai", TargetState::Usable);
        assert!(TargetReport::check_all(&vec![good.clone(); MOST]).is_ok());
        for bad in [
            vec![good.clone(); MOST + 1],
            vec![TargetReport { id: String::new(), ..good.clone() }],
            vec![TargetReport { id: "a\nb".into(), ..good.clone() }],
            vec![TargetReport { provider: "x".repeat(LONGEST + 1), ..good.clone() }],
            vec![TargetReport { models: vec![String::new()], ..good.clone() }],
            vec![TargetReport { models: vec!["m".into(); MOST + 1], ..good }],
        ] {
            assert_eq!(TargetReport::check_all(&bad).unwrap_err().param.as_deref(), Some("targets"));
        }
    }
}
