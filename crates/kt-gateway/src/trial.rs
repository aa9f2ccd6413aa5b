//! Trying out a chain of policies offline: what it would say of content, without a gateway, a client or a provider.

use std::collections::BTreeSet;
use std::sync::Arc;

use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use kt_domain::policy_config::PolicyConfig;

use crate::policies::{Asked, Content, Judged, Outcome, StreamJudge, strictest};
use crate::scopes::{Scope, Scopes};
use crate::snapshot::CompileError;
use crate::stages::{path, route};

/// The largest event of a stream that is read, in bytes.
const MAX_EVENT: u64 = 32 * 1024 * 1024;

/// The chains of a configuration to be tried out. Moderation services are not asked.
pub struct Trial {
    scopes: Scopes,
}

/// Who sends content, and what they ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The id of the key that is shown. It brings its consumer group with it.
    pub key: Option<&'a str>,
    /// The id of a consumer group, whichever key of it is shown.
    pub group: Option<&'a str>,
    /// The model that is asked for.
    pub model: Option<&'a str>,
    /// The path that is asked. It brings its route with it.
    pub path: Option<&'a str>,
}

/// What a chain said of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What became of it.
    pub verdict: Verdict,
    /// The policy that blocked it.
    pub blocked_by: Option<String>,
    /// The names of the rules of all policies that found something or applied, in order and none twice.
    pub rules: Vec<String>,
    /// The points of what `prompt-injection` found.
    pub score: Option<u32>,
    /// The targets that it may go to; `None` means any.
    pub targets: Option<Vec<String>>,
    /// Whether a moderation service would be asked about it as well, of which nothing is known here.
    pub needs_service: bool,
    /// What passes: nothing of a body that was blocked, and of a stream what left before it was.
    pub body: Option<Vec<u8>>,
}

impl Trial {
    /// Makes the chains of a configuration ready.
    pub fn new(config: &PolicyConfig) -> Result<Self, CompileError> {
        Scopes::compile(config).map(|scopes| Self { scopes })
    }

    /// Whether there is a consumer group with this id.
    #[must_use]
    pub fn knows_group(&self, id: &str) -> bool {
        self.scopes.group_named(id).is_some()
    }

    /// Whether a request to this path is forwarded at all.
    #[must_use]
    pub fn knows_path(&self, path: &str) -> bool {
        path::normalise(path).is_ok_and(|path| {
            let surface = self.scopes.route(&path).map_or(&*path, |route| route.edge.surface(&path));
            route::methods_of_known(surface).is_some()
        })
    }

    /// Judges a body of JSON as the gateway would for this caller: by the chain of the route, or the usual one, and that of the
    /// group. Answers are judged for whoever asked for them.
    #[must_use]
    pub fn judge(&self, phase: Phase, body: &[u8], caller: Caller<'_>) -> Observed {
        let Caller { key, model, .. } = caller;
        let [route, group] = self.scopes_of(caller);
        let chain = self.scopes.chain(route, group);
        let asked = Asked { key, group: group.map(|group| &*group.id), model, hides_model: false };
        let Judged { evaluations, outcome, targets } = chain.judge(phase, Content::Json(body), asked);
        let targets = match phase {
            Phase::Request => {
                [route, group].into_iter().flatten().fold(targets, |targets, scope| within(targets, scope))
            }
            Phase::Response => None,
        };
        let (blocked_by, body) = match outcome {
            Outcome::Pass => (None, Some(body.to_vec())),
            Outcome::Redacted(redacted) => (None, Some(redacted.to_vec())),
            Outcome::Blocked(block) => (Some(block.policy.to_string()), None),
        };
        let targets = targets.map(|targets| targets.into_iter().collect());
        let needs_service = chain.safety_filters(phase).next().is_some();
        Observed { targets, needs_service, ..observed(&evaluations, blocked_by, body) }
    }

    /// Judges a stream of events that comes in pieces of `size` bytes, as the gateway would for whoever asked for it.
    #[must_use]
    pub fn judge_stream(&self, stream: &[u8], size: usize, caller: Caller<'_>) -> Observed {
        let [route, group] = self.scopes_of(caller);
        let chain = self.scopes.chain(route, group);
        let needs_service = chain.safety_filters(Phase::Response).next().is_some();
        let mut judge = StreamJudge::new(Arc::clone(chain), MAX_EVENT);
        let mut out = Vec::new();
        let mut pieces = stream.chunks(size.max(1));
        let fed = pieces.try_for_each(|piece| judge.feed(piece, &mut out));
        let blocked_by =
            fed.and_then(|()| judge.finish(&mut out)).err().map(|block| block.policy.to_string());
        Observed { needs_service, ..observed(&judge.evaluations(), blocked_by, Some(out)) }
    }

    /// The route and the group whose rules hold for a caller.
    fn scopes_of(&self, Caller { key, group, path, .. }: Caller<'_>) -> [Option<&Arc<Scope>>; 2] {
        let path = path.and_then(|path| path::normalise(path).ok());
        let group = match group {
            Some(id) => self.scopes.group_named(id),
            None => key.and_then(|key| self.scopes.group(key)),
        };
        [path.and_then(|path| self.scopes.route(&path)), group]
    }
}

/// The targets that both a policy and a route or group let a request go to; `None` means any.
fn within(targets: Option<BTreeSet<String>>, scope: &Scope) -> Option<BTreeSet<String>> {
    match (targets, scope.only_targets()) {
        (Some(targets), Some(of_scope)) => Some(targets.intersection(&of_scope).cloned().collect()),
        (targets, of_scope) => targets.or(of_scope),
    }
}

fn observed(evaluations: &[PolicyEvaluation], blocked_by: Option<String>, body: Option<Vec<u8>>) -> Observed {
    let mut rules: Vec<String> =
        evaluations.iter().flat_map(|own| &own.rules).map(ToString::to_string).collect();
    rules.sort_unstable();
    rules.dedup();
    let score = evaluations.iter().find_map(|own| own.score);
    Observed {
        verdict: strictest(evaluations),
        blocked_by,
        rules,
        score,
        targets: None,
        needs_service: false,
        body,
    }
}
