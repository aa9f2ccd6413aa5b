//! `routes`: other rules for requests to some paths.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policies::Policies;
use super::rules::Review;
use super::{PolicyConfig, Rates, SizeLimits, codes, cors, policies};

/// Other rules for requests to some paths. A rule that is not given is that of the top level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name in events; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// Requests whose path is this one or lies below it, such as `/v1/embeddings` or `/team-a`; the longest that fits
    /// counts. One that does not begin with `/v1` is taken off: `/team-a/v1/models` is served as `/v1/models`.
    #[schemars(length(min = 2, max = 200))]
    pub path: String,
    /// Ranges (CIDR) from which alone the route may be called, within what `ip_allowlist` permits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Ranges (CIDR) from which the route may not be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The browser origins, in the place of `cors.allow_origins`; the rest of `cors` holds, and it must be enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// How large a body may be, in the place of `size_limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limits: Option<SizeLimits>,
    /// Which policies judge a request, in the place of `policies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    /// How much may be asked for through this route, by all together.
    #[serde(default, skip_serializing_if = "Rates::is_empty")]
    pub limits: Rates,
    /// The targets that its requests may go to, by their ids; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

/// Paths that the gateway answers itself.
const OWN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

pub(super) fn review(config: &PolicyConfig, review: &mut Review) {
    let ids = config.routes.iter().map(|route| route.id.as_str());
    review.unique(ids, |index| format!("routes[{index}].id"), "give each route a name of its own");
    let paths = config.routes.iter().map(|route| route.path.as_str());
    review.unique(paths, |index| format!("routes[{index}].path"), "give each route a path of its own");
    for (index, route) in config.routes.iter().enumerate() {
        route.review(&format!("routes[{index}]"), config, review);
    }
    review_ways_past(&config.routes, review);
}

/// Warns of rules for a part of `/v1` that do not hold for those who come by another path.
fn review_ways_past(routes: &[Route], review: &mut Review) {
    let others: Vec<_> =
        routes.iter().filter(|other| !other.is_of_surface()).map(|other| (other, other.rules())).collect();
    for (index, route) in routes.iter().enumerate().filter(|(_, route)| route.is_of_surface()) {
        let rules = route.rules();
        for (other, others_rules) in &others {
            let missing: Vec<&str> =
                rules.iter().copied().filter(|rule| !others_rules.contains(rule)).collect();
            if missing.is_empty() {
                continue;
            }
            if !review.has_room_for(&codes::PASSED_ROUTE) {
                return;
            }
            let missing = format!("`{}`", missing.join("`, `"));
            let path = format!("routes[{index}].path");
            let message = format!(
                "who calls `{}{}` comes by route `{}`, for which {missing} of this route does not hold",
                other.path, route.path, other.id
            );
            let suggestion = format!("give route `{}` {missing} of its own", other.id);
            review.say(&codes::PASSED_ROUTE, &path, message, suggestion);
        }
    }
}

impl Route {
    fn review(&self, path: &str, config: &PolicyConfig, review: &mut Review) {
        self.review_path(&format!("{path}.path"), review);
        review.ranges(&format!("{path}.allow"), &self.allow);
        review.ranges(&format!("{path}.deny"), &self.deny);
        if let Some(origins) = &self.allow_origins {
            let path = format!("{path}.allow_origins");
            cors::review_origins(&path, origins, review);
            if !config.cors.enabled {
                let message = format!("`{path}` has no effect unless `cors.enabled` is true");
                review.say(&codes::BAD_ROUTE, &path, message, "add `cors: {enabled: true}`");
            } else if config.cors.allow_credentials && origins.iter().any(|origin| origin == "*") {
                let message = "`cors.allow_credentials` must be false where any origin is allowed";
                review.say(&codes::CREDENTIALS_WITH_WILDCARD, &path, message, "list the exact origins");
            }
        }
        if let Some(policies) = &self.policies {
            policies::review_chain(&policies.chain, &format!("{path}.policies.chain"), review);
        }
        review_targets(&self.targets, &format!("{path}.targets"), config, review);
    }

    /// Whether its path is one of the surface itself, which is not taken off.
    fn is_of_surface(&self) -> bool {
        self.path == "/v1" || self.path.starts_with("/v1/")
    }

    /// What it asks of requests beyond what is asked of all, by the keys.
    fn rules(&self) -> Vec<&'static str> {
        let Rates { requests_per_minute, tokens_per_minute, concurrent } = &self.limits;
        let rules = [
            ("allow", !self.allow.is_empty()),
            ("deny", !self.deny.is_empty()),
            ("size_limits", self.size_limits.is_some()),
            ("policies", self.policies.is_some()),
            ("limits.requests_per_minute", requests_per_minute.is_some()),
            ("limits.tokens_per_minute", tokens_per_minute.is_some()),
            ("limits.concurrent", concurrent.is_some()),
            ("targets", !self.targets.is_empty()),
        ];
        rules.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect()
    }

    fn review_path(&self, at: &str, review: &mut Review) {
        let is_plain = |segment: &str| {
            !segment.is_empty()
                && !matches!(segment, "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        };
        let segments = self.path.strip_prefix('/');
        if !self.path.is_empty() && !segments.is_some_and(|rest| rest.split('/').all(is_plain)) {
            let message = format!("`{}` is no path", self.path);
            let suggestion = "write it like `/team-a` or `/v1/embeddings`: letters, digits, `-`, `.`, `_` and `~` between slashes";
            review.say(&codes::BAD_ROUTE, at, message, suggestion);
        } else if OWN_PATHS.contains(&self.path.as_str()) {
            let message = format!("the gateway answers `{}` itself", self.path);
            review.say(&codes::BAD_ROUTE, at, message, "choose another path");
        }
    }
}

/// Reports each target that there is not.
pub(super) fn review_targets(ids: &[String], path: &str, config: &PolicyConfig, review: &mut Review) {
    for (index, id) in ids.iter().enumerate() {
        if !config.providers.targets.iter().any(|target| target.id == *id) {
            let message = format!("there is no target `{id}`");
            let suggestion = "name a target by its `id` in `providers.targets`";
            review.say(&codes::UNKNOWN_NAME, &format!("{path}[{index}]"), message, suggestion);
        }
    }
}
