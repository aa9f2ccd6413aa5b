//! Where this process sends the audit log, as its configuration says.

use std::path::Path;

use kt_control::outbound::Outbound;
use kt_control::{AuditSink, Syslog, Webhook};
use kt_domain::deployment_config::{DeploymentConfig, SyslogSection, WebhookSection};
use kt_domain::network::reach::Reach;
use kt_domain::public_url::PublicUrl;

use crate::environment;
use crate::failure::Failure;

/// Who we are to a collector of logs unless `api.public_url` says so: nobody (RFC 5424 section 6.2.4).
const NOBODY: &str = "-";

/// Every sink that is configured.
pub(crate) fn audit_sinks(config: &DeploymentConfig) -> Result<Vec<AuditSink>, Failure> {
    let mut sinks = Vec::new();
    if let Some(section) = &config.audit.webhook {
        sinks.push(AuditSink::Webhook(webhook(section)?));
    }
    if let Some(section) = &config.audit.syslog {
        sinks.push(AuditSink::Syslog(syslog(section, config)?));
    }
    Ok(sinks)
}

fn webhook(section: &WebhookSection) -> Result<Webhook, Failure> {
    let name = &section.secret_ref.env;
    let secret = environment::variable(name).ok_or_else(|| {
        Failure::invalid(format!("`audit.webhook.secret_ref` names {name}, which is not set"))
    })?;
    let outbound = outbound("audit.webhook", section.allow_private, section.ca_file.as_deref())?;
    Webhook::new(&section.url, &secret.into(), outbound).map_err(|why| invalid("audit.webhook", &why))
}

fn syslog(section: &SyslogSection, config: &DeploymentConfig) -> Result<Syslog, Failure> {
    let address = section.address.parse().map_err(|why| invalid("audit.syslog", &why))?;
    let public = config.api.public_url.as_deref().and_then(|url| url.parse::<PublicUrl>().ok());
    let host_name = public.map_or_else(|| NOBODY.to_owned(), |url| url.host().to_owned());
    let outbound = outbound("audit.syslog", section.allow_private, section.ca_file.as_deref())?;
    Ok(Syslog::new(address, host_name, outbound))
}

fn outbound(section: &str, allow_private: bool, ca_file: Option<&str>) -> Result<Outbound, Failure> {
    let reach = if allow_private { Reach::Private } else { Reach::Public };
    Outbound::new(reach, ca_file.map(Path::new)).map_err(|why| invalid(section, &why))
}

fn invalid(section: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::invalid(format!("`{section}` cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(audit: &str) -> DeploymentConfig {
        serde_json::from_value(
            serde_json::json!({ "audit": serde_json::from_str::<serde_json::Value>(audit).unwrap() }),
        )
        .unwrap()
    }

    #[test]
    fn nothing_leaves_the_machine_unless_it_is_configured() {
        assert_eq!(audit_sinks(&DeploymentConfig::default()).unwrap().len(), 0);
        assert_eq!(
            audit_sinks(&config(r#"{"syslog":{"address":"udp://logs.example.com"}}"#)).unwrap().len(),
            1
        );
    }

    #[test]
    fn what_cannot_work_stops_the_start_and_names_its_place() {
        for (audit, told) in [
            (r#"{"syslog":{"address":"logs.example.com"}}"#, "`audit.syslog`"),
            (r#"{"syslog":{"address":"tls://a.example","ca_file":"/nowhere"}}"#, "/nowhere"),
            (
                r#"{"webhook":{"url":"https://a.example","secret_ref":{"env":"KEEPTRUSTS_NOT_SET"}}}"#,
                "KEEPTRUSTS_NOT_SET",
            ),
        ] {
            let Err(failure) = audit_sinks(&config(audit)) else { panic!("{audit}") };
            assert!(failure.to_string().contains(told), "{failure}");
        }
    }
}
