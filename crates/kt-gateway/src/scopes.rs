//! Other rules for requests to some paths (`routes`) and for the holders of some keys (`consumer_groups`), made ready.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use kt_domain::events::MatchedRule;
use kt_domain::network::cidr::{Cidr, CidrError, CidrMap, CidrSet};
use kt_domain::policy_config::{self, Cors, PolicyConfig, Rates, SizeLimits};

use crate::policies::Chain;
use crate::providers::target::Target;
use crate::snapshot::CompileError;
use crate::stages::cors::CorsRules;

/// All of them.
pub(crate) struct Scopes {
    /// The longest path first.
    routes: Vec<Arc<Scope>>,
    /// By the ids of their keys.
    groups: HashMap<String, Arc<Scope>>,
    /// For each route, or none, and each group, or none, what judges its requests.
    chains: Vec<Vec<Arc<Chain>>>,
}

/// The rules of one route or group.
pub(crate) struct Scope {
    pub(crate) id: Arc<str>,
    /// Its place among the chains, from 1.
    place: usize,
    /// What all of its requests together may ask for.
    pub(crate) rates: Rates,
    /// What each key may ask for, if that is another rule than usual.
    pub(crate) per_key: Option<Rates>,
    /// The targets that its requests may go to; empty for all.
    targets: HashSet<String>,
    /// What a route has beyond that.
    pub(crate) edge: Edge,
}

/// What a route asks at the edge. A group has nothing of its own there.
pub(crate) struct Edge {
    path: String,
    allow: CidrSet,
    deny: CidrMap<Arc<str>>,
    pub(crate) cors: Option<CorsRules>,
    pub(crate) limits: Option<SizeLimits>,
}

impl Scopes {
    pub(crate) fn compile(config: &PolicyConfig) -> Result<Self, CompileError> {
        let numbered = |(index, route): (usize, &policy_config::Route)| {
            Scope::of_route(route, index + 1, config)
                .map(Arc::new)
                .map_err(|error| CompileError::new(format!("routes[{index}]"), &error))
        };
        let mut routes: Vec<Arc<Scope>> =
            config.routes.iter().enumerate().map(numbered).collect::<Result<_, _>>()?;
        routes.sort_by_key(|route| std::cmp::Reverse(route.edge.path.len()));
        let mut groups = HashMap::new();
        for (index, group) in config.consumer_groups.iter().enumerate() {
            let scope = Arc::new(Scope::of_group(group, index + 1));
            groups.extend(group.keys.iter().map(|key| (key.clone(), Arc::clone(&scope))));
        }
        Ok(Self { routes, groups, chains: chains(config)? })
    }

    /// The route that a normalised path belongs to.
    pub(crate) fn route(&self, path: &str) -> Option<&Arc<Scope>> {
        self.routes.iter().find(|route| route.edge.holds(path))
    }

    /// The group that a key belongs to.
    pub(crate) fn group(&self, key: &str) -> Option<&Arc<Scope>> {
        self.groups.get(key)
    }

    /// The group with this id.
    pub(crate) fn group_named(&self, id: &str) -> Option<&Arc<Scope>> {
        self.groups.values().find(|group| *group.id == *id)
    }

    /// What judges the requests of a route and a group.
    pub(crate) fn chain(&self, route: Option<&Arc<Scope>>, group: Option<&Arc<Scope>>) -> &Arc<Chain> {
        let place = |scope: Option<&Arc<Scope>>| scope.map_or(0, |scope| scope.place);
        &self.chains[place(route)][place(group)]
    }
}

/// The chains of all pairs of a route and a group. A route's chain takes the place of the usual one, a group's comes after
/// either. Most are the same.
fn chains(config: &PolicyConfig) -> Result<Vec<Vec<Arc<Chain>>>, CompileError> {
    let usual = &config.policies.chain;
    let of_routes = config.routes.iter().map(|route| route.policies.as_ref());
    let of_groups = config.consumer_groups.iter().map(|group| group.policies.as_ref());
    let mut made: HashMap<Vec<String>, Arc<Chain>> = HashMap::new();
    let mut chains = Vec::new();
    for route in std::iter::once(None).chain(of_routes) {
        let mut of_route = Vec::new();
        for group in std::iter::once(None).chain(of_groups.clone()) {
            let mut kinds = route.map_or(usual, |policies| &policies.chain).clone();
            for kind in group.iter().flat_map(|policies| &policies.chain) {
                if !kinds.contains(kind) {
                    kinds.push(kind.clone());
                }
            }
            let chain = match made.get(&kinds) {
                Some(chain) => Arc::clone(chain),
                None => Arc::new(Chain::new(&kinds, "policies.chain", &config.policy)?),
            };
            made.insert(kinds, Arc::clone(&chain));
            of_route.push(chain);
        }
        chains.push(of_route);
    }
    Ok(chains)
}

impl Scope {
    fn of_route(
        route: &policy_config::Route,
        place: usize,
        config: &PolicyConfig,
    ) -> Result<Self, RouteError> {
        let allow: Result<_, CidrError> = route.allow.iter().map(|range| range.parse::<Cidr>()).collect();
        let deny: Result<_, CidrError> =
            route.deny.iter().map(|range| Ok((range.parse::<Cidr>()?, Arc::from(range.as_str())))).collect();
        let with_origins = |origins: &Vec<String>| {
            CorsRules::compile(&Cors { allow_origins: origins.clone(), ..config.cors.clone() })
        };
        let cors = route.allow_origins.as_ref().map(with_origins).transpose()?.flatten();
        let limits = route.size_limits.clone();
        Ok(Self {
            id: route.id.as_str().into(),
            place,
            rates: route.limits.clone(),
            per_key: None,
            targets: route.targets.iter().cloned().collect(),
            edge: Edge { path: route.path.clone(), allow: allow?, deny: deny?, cors, limits },
        })
    }

    fn of_group(group: &policy_config::ConsumerGroup, place: usize) -> Self {
        Self {
            id: group.id.as_str().into(),
            place,
            rates: group.limits.clone(),
            per_key: group.per_key.clone(),
            targets: group.targets.iter().cloned().collect(),
            edge: Edge {
                path: String::new(),
                allow: CidrSet::from_iter([]),
                deny: CidrMap::from_iter([]),
                cors: None,
                limits: None,
            },
        }
    }

    /// The only targets that its requests may go to; `None` means any.
    pub(crate) fn only_targets(&self) -> Option<BTreeSet<String>> {
        (!self.targets.is_empty()).then(|| self.targets.iter().cloned().collect())
    }

    /// Whether its requests may go to a target.
    pub(crate) fn permits(&self, target: &Target) -> bool {
        self.targets.is_empty() || self.targets.contains(&*target.id)
    }
}

#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error(transparent)]
    Range(#[from] CidrError),
    #[error(transparent)]
    Cors(#[from] CompileError),
}

impl Edge {
    fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// The path of the surface that a request to `path` is for.
    pub(crate) fn surface<'p>(&self, path: &'p str) -> &'p str {
        let is_surface = self.path == "/v1" || self.path.starts_with("/v1/");
        let below = path.strip_prefix(&*self.path).filter(|below| !is_surface && !below.is_empty());
        below.unwrap_or(path)
    }

    /// Whether `source` may not call it, and by which rule. Where addresses matter, one that cannot be told may not.
    pub(crate) fn denies(&self, source: Option<IpAddr>) -> Option<(MatchedRule, Option<Arc<str>>)> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return None;
        }
        let Some(source) = source else { return Some((MatchedRule::UnresolvedSource, None)) };
        if let Some((_, range)) = self.deny.longest_match(source) {
            return Some((MatchedRule::Deny, Some(Arc::clone(range))));
        }
        let is_allowed = self.allow.is_empty() || self.allow.contains(source);
        (!is_allowed).then_some((MatchedRule::NotAllowed, None))
    }
}
