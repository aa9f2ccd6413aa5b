//! Saying offline what the edge would decide about a request, and by which rule.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderValue, ORIGIN};
use kt_domain::events::MatchedRule;
use kt_domain::network::cidr::canonical;
use kt_domain::network::gateway_rules::Decision;
use kt_domain::policy_config::PolicyConfig;

use crate::access_keys::AccessKeys;
use crate::reply::Refusal;
use crate::snapshot::{AuthRules, CompileError, Lasting, Snapshot, Surroundings};
use crate::stages::{path, route, size_limits};

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The client's address, as the rules would see it.
    pub ip: IpAddr,
    /// The `Origin` that its browser would send.
    pub origin: Option<String>,
    /// The size of its body, in bytes.
    pub size: Option<u64>,
    /// Its path.
    pub path: Option<String>,
}

/// What one stage would decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The part of the configuration that decides.
    pub stage: &'static str,
    /// Whether the request goes on to the next stage.
    pub passes: bool,
    /// By which rule, in words.
    pub reason: String,
}

/// What each stage would decide, in the order in which they are asked; the first that refuses is the last.
pub fn explain(
    config: PolicyConfig,
    question: &Question,
    connected: bool,
) -> Result<Vec<Step>, CompileError> {
    let access_keys = connected.then(Arc::<AccessKeys>::default);
    let surroundings =
        Surroundings { lasting: &Lasting::default(), access_keys: access_keys.as_ref(), secrets: &|_| None };
    let (snapshot, _) = Snapshot::compile("".into(), config, surroundings)?;
    let stages = [
        Some(address(&snapshot, question.ip)),
        question.origin.as_deref().and_then(|origin| cors(&snapshot, origin)),
        question.size.map(|size| size_limit(&snapshot, size)),
        Some(authentication(&snapshot)),
        question.path.as_deref().map(|path| path_step(&snapshot, question.ip, path)),
        Some(policies(&snapshot, question.path.as_deref())),
    ];
    let mut steps = Vec::new();
    for step in stages.into_iter().flatten() {
        let passes = step.passes;
        steps.push(step);
        if !passes {
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
        Decision::Allowed { .. } => step(true, format!("{ip} is in `ip_allowlist.allow`")),
        Decision::Denied { rule: MatchedRule::Deny, range, .. } => {
            step(false, format!("{ip} is in the `deny` range {}: 403 ip_denied", range.unwrap_or_default()))
        }
        Decision::Denied { .. } if snapshot.config.ip_allowlist.allow.is_empty() => {
            step(false, "`ip_allowlist.allow` is empty, so everybody is refused: 403 ip_denied".into())
        }
        Decision::Denied { .. } => step(false, format!("{ip} is in no `allow` range: 403 ip_denied")),
    }
}

/// CORS refuses nothing; it tells browsers what their pages may read.
fn cors(snapshot: &Snapshot, origin: &str) -> Option<Step> {
    let step = |reason| Some(Step { stage: "cors", passes: true, reason });
    let Some(rules) = &snapshot.cors else {
        return step("no `Access-Control-*` header is sent (`cors.enabled` is false), so browsers keep the answer from the page".into());
    };
    let mut request = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(origin) else {
        return step("this is no origin".into());
    };
    request.insert(ORIGIN, value);
    let mut answer = HeaderMap::new();
    rules.decorate(&request, &mut answer);
    step(match answer.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
        Some(allowed) => format!(
            "the page may read the answer (Access-Control-Allow-Origin: {})",
            allowed.to_str().unwrap_or("?")
        ),
        None => format!("{origin} is not in `cors.allow_origins`, so browsers keep the answer from the page"),
    })
}

fn size_limit(snapshot: &Snapshot, size: u64) -> Step {
    let limit = snapshot.limits.max_request_body_bytes;
    let (passes, reason) = match size_limits::check_length(size, limit) {
        Ok(()) => (true, format!("{size} bytes are within `max_request_body_bytes` ({limit})")),
        Err(refusal) => (
            false,
            format!("{size} bytes are above `max_request_body_bytes` ({limit}): {}", name_of(&refusal)),
        ),
    };
    Step { stage: "size_limits", passes, reason }
}

fn authentication(snapshot: &Snapshot) -> Step {
    let reason = match &snapshot.auth {
        AuthRules::Open => "no key is asked for".to_owned(),
        AuthRules::AccessKeys(_) => {
            "an access key that may be used now and from this address must be sent as `Authorization: Bearer KEY`, \
             else 401 or 403"
                .to_owned()
        }
        AuthRules::Static(_) => {
            let count = snapshot.config.auth.keys.len();
            format!("one of {count} keys must be sent as `Authorization: Bearer KEY`, else 401")
        }
    };
    Step { stage: "auth", passes: true, reason }
}

fn path_step(snapshot: &Snapshot, ip: IpAddr, asked: &str) -> Step {
    let step = |passes, reason| Step { stage: "route", passes, reason };
    let path = match path::normalise(asked) {
        Ok(path) => path,
        Err(refusal) => {
            let reason =
                format!("{asked} is written in a way that hides another path: {}", name_of(&refusal));
            return step(false, reason);
        }
    };
    let scope = snapshot.scopes.route(&path);
    let (surface, rules) = match scope {
        None => (&*path, String::new()),
        Some(scope) => (scope.edge.surface(&path), format!(", by the rules of route `{}`", scope.id)),
    };
    if let Some((_, range)) = scope.and_then(|scope| scope.edge.denies(Some(canonical(ip)))) {
        let why = range.map_or("is in none of its `allow` ranges".to_owned(), |range| {
            format!("is in its `deny` range {range}")
        });
        return step(false, format!("{asked} goes{rules}: {ip} {why}: 403 ip_denied"));
    }
    match route::methods_of_known(surface) {
        None => step(false, format!("there is no {asked}: 404 unknown_path")),
        Some(methods) => step(true, format!("{asked} takes {methods}{rules}")),
    }
}

/// What they say depends on the content, which nobody knows here.
fn policies(snapshot: &Snapshot, path: Option<&str>) -> Step {
    let path = path.and_then(|path| path::normalise(path).ok());
    let route = path.and_then(|path| snapshot.scopes.route(&path));
    let described: Vec<String> = snapshot.scopes.chain(route, None).describe().collect();
    let reason =
        if described.is_empty() { "none is in `policies.chain`".to_owned() } else { described.join("; ") };
    Step { stage: "policies", passes: true, reason }
}

fn name_of(refusal: &Refusal) -> String {
    format!("{} {}", refusal.status().as_u16(), refusal.code)
}
