//! One place to forward to, made ready: everything of a request to it that does not depend on the request.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri, header};
use kt_domain::gateways::{TargetReport, TargetState};
use kt_domain::policy_config::vendors::{self, KeyStyle, ProviderName, Wire};
use kt_domain::policy_config::{self, PolicyConfig};

use crate::breaker::State;
use crate::providers::health::TargetHealth;
use crate::snapshot::{CompileError, Surroundings};
use crate::stages::route::Api;
use crate::upstream::Origin;

/// One place to forward to.
pub(crate) struct Target {
    pub(crate) id: Arc<str>,
    pub(crate) vendor: Arc<str>,
    pub(crate) model: Option<String>,
    /// Further names by which clients may ask for `model`.
    pub(crate) serves: Vec<String>,
    pub(crate) wire: Wire,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    /// Whether its key could be found.
    pub(crate) available: bool,
    pub(crate) health: Arc<TargetHealth>,
    /// Where it is; `None` for `echo`.
    pub(crate) origin: Option<Arc<Origin>>,
    /// The version of Azure's API, if requests are addressed by deployment.
    pub(crate) api_version: Option<String>,
    /// The path of its base URL, without a slash at the end.
    pub(crate) base_path: String,
    /// The lines that go into every request to it: `Host`, its key, its own headers. Each ends in CRLF.
    pub(crate) fixed_lines: Vec<u8>,
    /// The names of its own headers; a client's header of such a name is dropped.
    pub(crate) fixed_names: Vec<HeaderName>,
}

/// Every target of `config`, made ready.
pub(crate) fn compile_all(
    config: &PolicyConfig,
    surroundings: Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<Target>>, CompileError> {
    let compile = |(index, target): (usize, &policy_config::Target)| {
        let health = surroundings.lasting.targets.of(&target.id, &config.circuit_breaker);
        Target::compile(target, health, surroundings, warnings)
            .map(Arc::new)
            .map_err(|message| CompileError::new(format!("providers.targets[{index}]"), &message))
    };
    config.providers.targets.iter().enumerate().map(compile).collect()
}

impl Target {
    fn compile(
        target: &policy_config::Target,
        health: Arc<TargetHealth>,
        Surroundings { secrets, .. }: Surroundings<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let name = ProviderName::parse(&target.provider)
            .ok_or("`provider` is no `vendor` or `vendor:surface:model`")?;
        let vendor = vendors::find(name.vendor);
        let wire = vendor.map_or(Wire::OpenAi, |vendor| vendor.wire);
        let key_style = vendor.map_or(KeyStyle::Bearer, |vendor| vendor.key);
        let secret = target.secret_key_ref.as_ref().map(|secret| {
            let found = secrets(secret);
            if found.is_none() {
                warnings.push(format!("target `{}` is unavailable: {}", target.id, secret.absence()));
            }
            found
        });
        let mut compiled = Self {
            id: target.id.as_str().into(),
            vendor: name.vendor.into(),
            model: target.model.clone().or_else(|| name.model.map(str::to_owned)),
            serves: target.serves.clone(),
            wire,
            weight: target.weight.max(1),
            priority: target.priority,
            available: !matches!(secret, Some(None)),
            health,
            origin: None,
            api_version: target.api_version.clone(),
            base_path: String::new(),
            fixed_lines: Vec::new(),
            fixed_names: Vec::new(),
        };
        if wire == Wire::Echo {
            return Ok(compiled);
        }
        let base_url = target.base_url.as_deref().or(vendor.and_then(|vendor| vendor.base_url));
        let base_url = base_url.ok_or("needs a `base_url`, since the vendor has no address of its own")?;
        let base: Uri = base_url.parse().map_err(|_| "`base_url` is no URL")?;
        let origin = Origin::of(&base).ok_or("`base_url` is no http or https URL")?;
        compiled.add_line(&header::HOST, origin.host_field().as_bytes());
        for (name, value) in &target.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            compiled.add_line(&name, value.as_bytes());
        }
        if let Some((reference, Some(secret))) = target.secret_key_ref.as_ref().zip(secret) {
            let (name, value) = match key_style {
                KeyStyle::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
                KeyStyle::XApiKey => (HeaderName::from_static("x-api-key"), secret),
                KeyStyle::ApiKey => (HeaderName::from_static("api-key"), secret),
            };
            let value = HeaderValue::from_str(&value)
                .map_err(|_| format!("target `{}`: {}", target.id, reference.unsoundness()))?;
            compiled.add_line(&name, value.as_bytes());
        }
        base.path().trim_end_matches('/').clone_into(&mut compiled.base_path);
        compiled.origin = Some(Arc::new(origin));
        Ok(compiled)
    }

    fn add_line(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.fixed_lines.extend_from_slice(part);
        }
        self.fixed_names.push(name.clone());
    }

    /// How it stands at `now` (microseconds), for people.
    pub(crate) fn report(&self, now: i64) -> TargetReport {
        let state = match self.health.state(now) {
            _ if !self.available => TargetState::NoCredential,
            State::Open(_) => TargetState::Failing,
            State::Closed | State::HalfOpen => TargetState::Usable,
        };
        let built_in = (self.wire == Wire::Echo).then_some("echo");
        let named = self.model.as_deref().into_iter().chain(self.serves.iter().map(String::as_str));
        TargetReport {
            id: self.id.to_string(),
            provider: self.vendor.to_string(),
            state,
            models: named.chain(built_in.filter(|_| self.model.is_none())).map(str::to_owned).collect(),
        }
    }

    /// Whether it understands requests of this API as they are.
    pub(crate) fn speaks(&self, api: Api) -> bool {
        match self.wire {
            Wire::Echo => true,
            Wire::OpenAi => api == Api::OpenAi,
            Wire::Anthropic => api == Api::Anthropic,
        }
    }

    /// The model that it is asked for when a client asks for this one.
    pub(crate) fn model_for<'m>(&'m self, asked: Option<&'m str>) -> Option<&'m str> {
        self.model_instead_of(asked).or(asked)
    }

    /// The model to send in the place of the one that was asked for, if it is another.
    pub(crate) fn model_instead_of(&self, asked: Option<&str>) -> Option<&str> {
        let asked = asked?;
        let stands_in = self.serves.iter().any(|served| served == asked);
        self.model.as_deref().filter(|own| stands_in && *own != asked)
    }
}
