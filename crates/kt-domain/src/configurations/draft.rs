//! A first configuration, put together from a few answers.

use std::fmt::Write as _;

use super::KeptName;

/// What somebody has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The vendor, as `provider` names it.
    pub vendor: String,
    /// Where its API is, unless that is known.
    pub base_url: Option<String>,
    /// The only model that is asked for; any, without one.
    pub model: Option<String>,
    /// The credential that holds its key, if it asks for one.
    pub credential: Option<KeptName>,
    /// Whether everybody who reaches the gateway may use it; otherwise holders of access keys.
    pub is_open: bool,
    /// The ranges that may call; none means any.
    pub allow: Vec<String>,
    /// The origins of browser applications that may call.
    pub origins: Vec<String>,
    /// The largest body of a request, in megabytes; the usual one, without it.
    pub request_megabytes: Option<u64>,
    /// The kinds of policy that judge each request besides the audit logger, in order.
    pub policies: Vec<String>,
}

/// In bytes.
const MEGABYTE: u64 = 1024 * 1024;

impl Draft {
    /// The file. Whatever was typed stands in quotes, so that it is what it was meant to be or an error with its place.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml =
            String::from("pack:\n  name: first-configuration\n  version: 1.0.0\n\nproviders:\n  targets:\n");
        // Writing to a string cannot fail.
        let _ = writeln!(yaml, "    - id: {}", quoted(&self.vendor));
        let provider = match &self.model {
            Some(model) => format!("{}:chat:{model}", self.vendor),
            None => self.vendor.clone(),
        };
        let _ = writeln!(yaml, "      provider: {}", quoted(&provider));
        if let Some(base_url) = &self.base_url {
            let _ = writeln!(yaml, "      base_url: {}", quoted(base_url));
        }
        if let Some(credential) = &self.credential {
            let _ = writeln!(yaml, "      secret_key_ref:\n        stored: {credential}");
        }
        let mode = if self.is_open { "none" } else { "access_keys" };
        let _ = writeln!(yaml, "\nauth:\n  mode: {mode}");
        write_list(&mut yaml, "ip_allowlist", "allow", &self.allow);
        write_list(&mut yaml, "cors", "allow_origins", &self.origins);
        if !self.origins.is_empty() {
            // The SDKs send headers of their own from a browser; this permits what they ask for.
            yaml.push_str("  allow_headers: [\"*\"]\n");
        }
        if let Some(megabytes) = self.request_megabytes {
            let bytes = megabytes.saturating_mul(MEGABYTE);
            let _ = writeln!(yaml, "\nsize_limits:\n  max_request_body_bytes: {bytes}");
        }
        yaml.push_str("\npolicies:\n  chain:\n");
        for kind in self.policies.iter().map(String::as_str).chain(["audit-logger"]) {
            let _ = writeln!(yaml, "    - {}", quoted(kind));
        }
        yaml
    }
}

/// A section that is on with this list, unless the list is empty.
fn write_list(yaml: &mut String, section: &str, key: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(yaml, "\n{section}:\n  enabled: true\n  {key}:");
    for entry in entries {
        let _ = writeln!(yaml, "    - {}", quoted(entry));
    }
}

/// A text as a flow scalar in double quotes. JSON's escapes are YAML's (YAML 1.2.2 section 5.7).
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_config::{LoadOptions, Loaded, Source, load};

    fn loaded(draft: &Draft) -> Loaded {
        let source = Source { name: "draft.yaml".into(), text: draft.to_yaml() };
        load(&[source], LoadOptions { connected: true, kept: true })
    }

    #[test]
    fn every_choice_makes_a_configuration_without_findings() {
        let plain = Draft { vendor: "echo".into(), ..Draft::default() };
        let full = Draft {
            vendor: "openai".into(),
            base_url: Some("https://models.example.com/v1".into()),
            model: Some("gpt-4o".into()),
            credential: Some("openai".parse().unwrap()),
            is_open: true,
            allow: vec!["203.0.113.0/24".into(), "2001:db8::/32".into()],
            origins: vec!["https://app.example.com".into()],
            request_megabytes: Some(5),
            policies: vec!["prompt-injection".into()],
        };
        for draft in [plain, full.clone()] {
            let loaded = loaded(&draft);
            assert_eq!(loaded.findings, [], "{}", draft.to_yaml());
        }
        let config = loaded(&full).config.unwrap();
        assert_eq!(config.stored_credentials(), ["openai"].into());
        assert_eq!(config.ip_allowlist.allow.len(), 2);
        assert_eq!(config.size_limits.max_request_body_bytes, 5_242_880);
        assert_eq!(config.policies.chain, ["prompt-injection", "audit-logger"]);
    }

    #[test]
    fn what_was_typed_adds_no_key_of_its_own() {
        let hostile = "x\"\n  headers: {x-a: b} # ";
        let draft = Draft {
            vendor: "openai".into(),
            base_url: Some(hostile.into()),
            allow: vec![hostile.into()],
            origins: vec![hostile.into()],
            ..Draft::default()
        };
        let loaded = loaded(&draft);
        let codes: Vec<_> = loaded.errors().map(|finding| finding.code).collect();
        assert_eq!(codes, ["E017", "E009", "E010"], "{:?}", loaded.findings);
    }
}
