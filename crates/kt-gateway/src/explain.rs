//! Saying offline what the edge would decide about a request, and by which rule.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderValue, ORIGIN};
use kt_domain::events::MatchedRule;
use kt_domain::network::cidr::{Cidr, CidrMap, canonical};
use kt_domain::network::gateway_rules::Decision;
use kt_domain::policy_config::{PolicyConfig, StaticKey};

use crate::access_keys::AccessKeys;
use crate::health;
use crate::http1::head;
use crate::reply::Refusal;
use crate::scopes::Scope;
use crate::snapshot::{AuthRules, CompileError, Lasting, Snapshot, Surroundings};
use crate::stages::{path, route, size_limits};

/// The stage at which the gateway answers health checks by itself.
const HEALTH: &str = "health";

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The client's address, as the rules would see it.
    pub ip: IpAddr,
    /// The `Origin` that its browser would send.
    pub origin: Option<String>,
    /// The size of its body, in bytes.
    pub size: Option<u64>,
    /// Its path, with or without a query behind it.
    pub path: Option<String>,
}

/// What one stage would decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The part of the configuration that decides, or `health`.
    pub stage: &'static str,
    /// Whether the request goes on to the next stage.
    pub passes: bool,
    /// By which rule, in words.
    pub reason: String,
}

impl Step {
    /// Whether the gateway answers here, so that no later stage is asked and nothing is forwarded.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.stage == HEALTH
    }
}

/// What each stage would decide, in the order in which they are asked; the first that refuses, or answers, is the last.
pub fn explain(
    config: PolicyConfig,
    question: &Question,
    connected: bool,
) -> Result<Vec<Step>, CompileError> {
    let access_keys = connected.then(Arc::<AccessKeys>::default);
    let surroundings =
        Surroundings { lasting: &Lasting::default(), access_keys: access_keys.as_ref(), secrets: &|_| None };
    let (snapshot, _) = Snapshot::compile("".into(), config, surroundings)?;
    let path = question.path.as_deref().map(read_path);
    let normal = path.as_ref().and_then(|path| path.as_deref().ok());
    let route = normal.and_then(|path| snapshot.scopes.route(path));
    let stages = [
        Some(address(&snapshot, question.ip)),
        path.as_ref().and_then(|path| path.as_ref().err().cloned()),
        route.map(|route| route_address(route, question.ip)),
        question.origin.as_deref().map(|origin| cors(&snapshot, route, origin)),
        normal.and_then(|path| health_check(route, path)),
        (!snapshot.config.pack.enabled).then(switched_off),
        question.size.map(|size| size_limit(&snapshot, route, size)),
        Some(authentication(&snapshot, question.ip)),
        normal.map(|path| surface(route, path)),
        Some(policies(&snapshot, route)),
    ];
    let mut steps = Vec::new();
    for step in stages.into_iter().flatten() {
        let is_last = !step.passes || step.is_answer();
        steps.push(step);
        if is_last {
            break;
        }
    }
    Ok(steps)
}

fn address(snapshot: &Snapshot, ip: IpAddr) -> Step {
    let step = |passes, reason| Step { stage: "ip_allowlist", passes, reason };
    if !snapshot.config.ip_allowlist.enabled {
        return step(true, "addresses are not checked (`ip_allowlist.enabled` is false)".into());
    }
    match snapshot.ip.decide_source(canonical(ip)) {
        Decision::Allowed { .. } => {
            let range = narrowest(snapshot.config.ip_allowlist.allow.iter(), ip).unwrap_or_default();
            step(true, format!("{ip} is in the `allow` range {range}"))
        }
        Decision::Denied { rule: MatchedRule::Deny, range, .. } => {
            step(false, format!("{ip} is in the `deny` range {}: 403 ip_denied", range.unwrap_or_default()))
        }
        Decision::Denied { .. } if snapshot.config.ip_allowlist.allow.is_empty() => {
            step(false, "`ip_allowlist.allow` is empty, so everybody is refused: 403 ip_denied".into())
        }
        Decision::Denied { .. } => step(false, format!("{ip} is in no `allow` range: 403 ip_denied")),
    }
}

/// The narrowest of these ranges that holds an address, as it is written.
fn narrowest<'a>(ranges: impl Iterator<Item = &'a str>, ip: IpAddr) -> Option<&'a str> {
    let with_places = ranges.filter_map(|range| Some((range.parse::<Cidr>().ok()?, range)));
    with_places.collect::<CidrMap<&str>>().longest_match(ip).map(|(_, range)| *range)
}

/// The path of a request target, in its one form; or the step that refuses it.
fn read_path(target: &str) -> Result<Cow<'_, str>, Step> {
    let refused = |why, with| Step { stage: "path", passes: false, reason: format!("{why}: {with}") };
    head::check_characters(target).map_err(|fault| {
        let why = "it holds a character that must be percent-encoded";
        refused(why, format!("{} {}", fault.status.as_u16(), fault.code))
    })?;
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    path::normalise(path).map_err(|refusal| {
        let why = if path.starts_with('/') {
            "it is written in a way that hides another path"
        } else {
            "a path begins with `/`"
        };
        refused(why, name_of(&refusal))
    })
}

/// The route's own addresses narrow those for all.
fn route_address(route: &Scope, ip: IpAddr) -> Step {
    let step = |passes, reason| Step { stage: "route", passes, reason };
    match route.edge.denies(Some(canonical(ip))) {
        None => step(true, format!("the rules of route `{}` hold, and let {ip} in", route.id)),
        Some((_, Some(range))) => {
            step(false, format!("{ip} is in the `deny` range {range} of route `{}`: 403 ip_denied", route.id))
        }
        Some((_, None)) => step(
            false,
            format!("{ip} is in none of the `allow` ranges of route `{}`: 403 ip_denied", route.id),
        ),
    }
}

/// CORS refuses nothing; it tells browsers what their pages may read.
fn cors(snapshot: &Snapshot, route: Option<&Arc<Scope>>, origin: &str) -> Step {
    let step = |reason| Step { stage: "cors", passes: true, reason };
    let Some(rules) = snapshot.cors_of(route) else {
        return step("no `Access-Control-*` header is sent (`cors.enabled` is false), so browsers keep the answer from the page".into());
    };
    let Ok(value) = HeaderValue::from_str(origin) else {
        return step("this is no origin".into());
    };
    let request = HeaderMap::from_iter([(ORIGIN, value)]);
    let mut answer = HeaderMap::new();
    rules.decorate(&request, &mut answer);
    step(match answer.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
        Some(allowed) => format!(
            "the page may read the answer (Access-Control-Allow-Origin: {})",
            allowed.to_str().unwrap_or("?")
        ),
        None => format!("{origin} is not in `allow_origins`, so browsers keep the answer from the page"),
    })
}

fn switched_off() -> Step {
    let reason = "`pack.enabled` is false: 503 pack_disabled".to_owned();
    Step { stage: "pack", passes: false, reason }
}

fn size_limit(snapshot: &Snapshot, route: Option<&Arc<Scope>>, size: u64) -> Step {
    let limit = snapshot.limits_of(route).max_request_body_bytes;
    let (passes, reason) = match size_limits::check_length(size, limit) {
        Ok(()) => (true, format!("{size} bytes are within `max_request_body_bytes` ({limit})")),
        Err(refusal) => (
            false,
            format!("{size} bytes are above `max_request_body_bytes` ({limit}): {}", name_of(&refusal)),
        ),
    };
    Step { stage: "size_limits", passes, reason }
}

fn authentication(snapshot: &Snapshot, ip: IpAddr) -> Step {
    let step = |passes, reason: String| Step { stage: "auth", passes, reason };
    match &snapshot.auth {
        AuthRules::Open(_) => step(true, "no key is asked for".into()),
        AuthRules::AccessKeys(_) => step(
            true,
            "an access key that may be used now and from this address must be sent as `Authorization: Bearer KEY`, \
             else 401 or 403"
                .into(),
        ),
        AuthRules::Static(_) => {
            let (passes, reason) = static_keys(&snapshot.config.auth.keys, ip);
            step(passes, reason)
        }
    }
}

/// Whether a key of these may be used from an address, and what that means.
fn static_keys(keys: &[StaticKey], ip: IpAddr) -> (bool, String) {
    let all = keys.len();
    let here = keys.iter().filter(|key| may_be_used_from(key, ip)).count();
    let which = match (here, all) {
        (0, _) => {
            return (false, format!("{ip} is in none of the `allowed_ranges` of any key: 403 key_ip_denied"));
        }
        (1, 1) => "the key".to_owned(),
        (_, _) if here == all => format!("one of the {all} keys"),
        (1, _) => format!("of {all} keys, the only one that may be used from {ip}"),
        (_, _) => format!("of {all} keys, one of the {here} that may be used from {ip}"),
    };
    let otherwise = if here == all { "401" } else { "401 or 403" };
    (true, format!("{which} must be sent as `Authorization: Bearer KEY`, else {otherwise}"))
}

fn may_be_used_from(key: &StaticKey, ip: IpAddr) -> bool {
    key.allowed_ranges.is_empty() || narrowest(key.allowed_ranges.iter().map(String::as_str), ip).is_some()
}

/// Asked before everything that only requests for a provider have to keep to.
fn health_check(route: Option<&Arc<Scope>>, path: &str) -> Option<Step> {
    let reason = format!("{path} is answered here, without a key");
    health::is_at(surface_of(route, path)).then_some(Step { stage: HEALTH, passes: true, reason })
}

/// The path below a route's own.
fn surface_of<'a>(route: Option<&Arc<Scope>>, path: &'a str) -> &'a str {
    route.map_or(path, |route| route.edge.surface(path))
}

fn surface(route: Option<&Arc<Scope>>, path: &str) -> Step {
    let (passes, reason) = match route::methods_of_known(surface_of(route, path)) {
        None => (false, format!("there is no {path}: 404 unknown_path")),
        Some(methods) => (true, format!("{path} takes {methods}")),
    };
    Step { stage: "path", passes, reason }
}

/// What they say depends on the content, which nobody knows here.
fn policies(snapshot: &Snapshot, route: Option<&Arc<Scope>>) -> Step {
    let described: Vec<String> = snapshot.scopes.chain(route, None).describe().collect();
    let reason =
        if described.is_empty() { "none is in `policies.chain`".to_owned() } else { described.join("; ") };
    Step { stage: "policies", passes: true, reason }
}

fn name_of(refusal: &Refusal) -> String {
    format!("{} {}", refusal.status().as_u16(), refusal.code)
}
