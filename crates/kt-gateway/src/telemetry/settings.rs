//! The `telemetry` section, made ready.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use kt_domain::network::cidr::{Cidr, CidrSet};
use kt_domain::policy_config;

use crate::snapshot::{CompileError, Secrets};
use crate::upstream::Origin;

/// Where telemetry goes, and what of it.
pub(crate) struct Settings {
    pub(super) origin: Arc<Origin>,
    pub(super) base_path: String,
    /// The lines that go into every request to the collector. Each ends in CRLF.
    pub(super) fixed_lines: String,
    pub(super) service_name: String,
    pub(crate) sample_percent: u32,
    pub(crate) trusted_callers: CidrSet,
}

impl Settings {
    /// Makes the section ready; `None` when nothing is to be sent.
    pub(crate) fn compile(
        config: &policy_config::Telemetry,
        secrets: Secrets<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, CompileError> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let error = |message: &str| CompileError::new("telemetry.otlp_endpoint", message);
        let base: Uri = endpoint.parse().map_err(|_| error("is no URL"))?;
        let origin = Origin::of(&base).ok_or_else(|| error("is no http or https URL"))?;
        let mut fixed_lines = format!("host: {}\r\n", origin.host_field());
        if let Some(secret) = &config.secret_key_ref {
            match secrets(secret) {
                Some(key) if HeaderValue::from_str(&key).is_err() => {
                    warnings.push(format!("telemetry is sent without a key: {}", secret.unsoundness()));
                }
                Some(key) => fixed_lines.extend(["authorization: Bearer ", &key, "\r\n"]),
                None => warnings.push(format!("telemetry is sent without a key: {}", secret.absence())),
            }
        }
        let ranges: Result<Vec<Cidr>, _> = config.trusted_callers.iter().map(|range| range.parse()).collect();
        let ranges = ranges.map_err(|error| CompileError::new("telemetry.trusted_callers", &error))?;
        Ok(Some(Self {
            origin: Arc::new(origin),
            base_path: base.path().trim_end_matches('/').to_owned(),
            fixed_lines,
            service_name: config.service_name.clone(),
            sample_percent: config.sample_percent,
            trusted_callers: ranges.into_iter().collect(),
        }))
    }
}
