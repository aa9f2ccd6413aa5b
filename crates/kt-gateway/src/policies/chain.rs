//! The chain: asking each policy in order, until one does not let the content pass.
//!
//! Every policy judges the content as it came; what several of them cut out of one text is cut out together.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use kt_domain::policy_config::{Action, PolicySettings, Unreadable};

use super::reading::body::{Body, TextCuts, spliced};
use super::reading::outline::Outline;
use super::text::channel::{Channel, Cuts};
use super::text::patterns::Patterns;
use super::{Judge, Policy, Reading};
use crate::reply::Refusal;
use crate::snapshot::CompileError;

/// The policies of one chain, made ready.
pub(crate) struct Chain {
    policies: Vec<Policy>,
    /// What the chain looks like in an event when no policy of it reads content and all let a request pass.
    passed: Vec<PolicyEvaluation>,
}

/// What is to be judged.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// Something that is said to be JSON.
    Json(&'a [u8]),
    /// Something that is no JSON, such as an upload or a picture.
    Other,
    Nothing,
}

/// What a chain said of content.
pub(crate) struct Judged {
    pub(crate) evaluations: Vec<PolicyEvaluation>,
    pub(crate) outcome: Outcome,
}

/// What becomes of content.
pub(crate) enum Outcome {
    Pass,
    /// It passes in this form.
    Redacted(Bytes),
    Blocked(Block),
}

/// A policy did not let something pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) policy: Arc<str>,
    /// Whether that was because it could not be read.
    pub(crate) was_unreadable: bool,
}

impl Block {
    pub(crate) fn refusal(&self) -> Refusal {
        if self.was_unreadable {
            Refusal::unreadable(&self.policy)
        } else {
            Refusal::policy_block(&self.policy)
        }
    }
}

/// What each policy of a chain found so far in one phase.
pub(crate) struct Tallies {
    phase: Phase,
    /// One for each policy; of those that read nothing in this phase it stays empty.
    of_policies: Vec<Tally>,
}

#[derive(Default)]
struct Tally {
    rules: BTreeSet<Arc<str>>,
    not_scanned: bool,
    was_asked: bool,
    blocked: bool,
}

impl Tallies {
    pub(crate) fn new(chain: &Chain, phase: Phase) -> Self {
        Self { phase, of_policies: chain.policies.iter().map(|_| Tally::default()).collect() }
    }
}

impl Chain {
    /// The chain of these kinds; `path` is where the configuration names them.
    pub(crate) fn new(kinds: &[String], path: &str, settings: &PolicySettings) -> Result<Self, CompileError> {
        let make =
            |(index, kind): (usize, &String)| Policy::make(kind, &|| format!("{path}[{index}]"), settings);
        let policies: Vec<Policy> = kinds.iter().enumerate().map(make).collect::<Result<_, _>>()?;
        let passed = policies
            .iter()
            .map(|policy| PolicyEvaluation::new(Arc::clone(&policy.kind), Verdict::Allow))
            .collect();
        Ok(Self { policies, passed })
    }

    /// Whether any of it reads content in this phase.
    pub(crate) fn reads(&self, phase: Phase) -> bool {
        self.policies.iter().any(|policy| policy.reading(phase).is_some())
    }

    /// What the chain looks like in an event when no policy of it reads content.
    pub(crate) fn passed(&self) -> Vec<PolicyEvaluation> {
        self.passed.clone()
    }

    /// Judges a whole body.
    pub(crate) fn judge(&self, phase: Phase, content: Content<'_>) -> Judged {
        let mut tallies = Tallies::new(self, phase);
        let outcome = match self.judge_content(content, &mut tallies) {
            Ok(None) => Outcome::Pass,
            Ok(Some(redacted)) => Outcome::Redacted(redacted.into()),
            Err(block) => Outcome::Blocked(block),
        };
        Judged { evaluations: self.evaluations(&tallies), outcome }
    }

    fn judge_content(&self, content: Content<'_>, tallies: &mut Tallies) -> Result<Option<String>, Block> {
        let json = match content {
            Content::Nothing => {
                tallies.of_policies.iter_mut().for_each(|tally| tally.was_asked = true);
                return Ok(None);
            }
            Content::Other => None,
            Content::Json(bytes) => std::str::from_utf8(bytes).ok(),
        };
        let mut outline = Outline::default();
        let Some(json) = json.filter(|json| outline.read(json).is_ok()) else {
            return self.unreadable(tallies).map(|()| None);
        };
        let body = Body::read(json, &outline, &|_| false);
        let replacements = body.replacements(self.judge_texts(&body, tallies)?);
        Ok(if replacements.is_empty() { None } else { Some(spliced(json, replacements)) })
    }

    /// Judges the texts of a document, and says what is to be cut out of them.
    pub(crate) fn judge_texts(&self, body: &Body<'_>, tallies: &mut Tallies) -> Result<TextCuts, Block> {
        let mut cuts: TextCuts = Vec::new();
        for (index, policy, reading) in self.readers(tallies.phase) {
            let tally = &mut tallies.of_policies[index];
            tally.was_asked = true;
            if body.is_partly_unreadable {
                policy.could_not_read(reading, tally)?;
            }
            match &policy.judge {
                Judge::Silent => {}
                Judge::Finder(finder) => {
                    body.find(&finder.patterns, |text, place, rule| {
                        tally.note(rule);
                        if finder.action == Action::Redact && !reading.dry_run {
                            add_cut(&mut cuts, text, (place, index, rule));
                        }
                    });
                    policy.conclude(finder.action, reading, tally)?;
                }
            }
        }
        Ok(cuts)
    }

    /// Judges the next fragment of a text, and has cut out of it what is found.
    pub(crate) fn judge_fragment(
        &self,
        channel: &mut Channel,
        fragment: &str,
        ended: bool,
        tallies: &mut Tallies,
    ) -> Result<(), Block> {
        for (index, _, _) in self.readers(tallies.phase) {
            tallies.of_policies[index].was_asked = true;
        }
        let finders = self.finders(tallies.phase);
        let patterns: Vec<&Patterns> = finders.iter().map(|(_, _, patterns)| *patterns).collect();
        let mut found = Vec::new();
        channel.push(fragment, ended, &patterns, |find| found.push(find));
        for find in found {
            let (index, action, _) = finders[find.judge];
            let policy = &self.policies[index];
            let Some(reading) = policy.reading(tallies.phase) else { continue };
            let tally = &mut tallies.of_policies[index];
            tally.note(&find.rule);
            policy.conclude(action, reading, tally)?;
            if action == Action::Redact && !reading.dry_run {
                channel.cut(find);
            }
        }
        Ok(())
    }

    /// Every policy that reads content says what it thinks of content that it cannot read.
    pub(crate) fn unreadable(&self, tallies: &mut Tallies) -> Result<(), Block> {
        for (index, policy, reading) in self.readers(tallies.phase) {
            policy.could_not_read(reading, &mut tallies.of_policies[index])?;
        }
        Ok(())
    }

    /// The first policy that reads content refuses what is too large to be read, whatever its settings.
    pub(crate) fn block_unreadable(&self, tallies: &mut Tallies) -> Block {
        let first = self.readers(tallies.phase).next();
        let policy = first.map_or_else(|| "".into(), |(_, policy, _)| Arc::clone(&policy.kind));
        if let Some((index, _, _)) = first {
            let tally = &mut tallies.of_policies[index];
            (tally.was_asked, tally.not_scanned, tally.blocked) = (true, true, true);
        }
        Block { policy, was_unreadable: true }
    }

    /// What each policy that was asked has said. In the phase of requests every policy was asked up to the one that
    /// blocked; in that of answers those that read them.
    pub(crate) fn evaluations(&self, tallies: &Tallies) -> Vec<PolicyEvaluation> {
        let mut evaluations = Vec::new();
        for (policy, tally) in self.policies.iter().zip(&tallies.of_policies) {
            match policy.reading(tallies.phase) {
                Some(reading) if tally.was_asked => {
                    evaluations.push(policy.evaluation(reading, tally, tallies.phase));
                }
                None if tallies.phase == Phase::Request => {
                    evaluations.push(PolicyEvaluation::new(Arc::clone(&policy.kind), Verdict::Allow));
                }
                _ => {}
            }
            if tally.blocked {
                break;
            }
        }
        evaluations
    }

    fn readers(&self, phase: Phase) -> impl Iterator<Item = (usize, &Policy, &Reading)> {
        let policies = self.policies.iter().enumerate();
        policies.filter_map(move |(index, policy)| Some((index, policy, policy.reading(phase)?)))
    }

    /// The policies that look for patterns, each with what it does about them.
    fn finders(&self, phase: Phase) -> Vec<(usize, Action, &Patterns)> {
        self.policies
            .iter()
            .enumerate()
            .filter_map(|(index, policy)| match &policy.judge {
                Judge::Finder(finder) if finder.reading.phases.contains(&phase) => {
                    Some((index, finder.action, &finder.patterns))
                }
                _ => None,
            })
            .collect()
    }
}

/// The strictest of the verdicts that took effect.
pub(crate) fn strictest(evaluations: &[PolicyEvaluation]) -> Verdict {
    let said = |verdict| evaluations.iter().any(|own| own.verdict == verdict && !own.dry_run);
    if said(Verdict::Block) {
        Verdict::Block
    } else if said(Verdict::Redact) {
        Verdict::Redact
    } else {
        Verdict::Allow
    }
}

fn add_cut(cuts: &mut TextCuts, text: usize, (place, judge, rule): (Range<usize>, usize, &Arc<str>)) {
    if let Some((_, cuts)) = cuts.iter_mut().find(|(own, _)| *own == text) {
        return cuts.add(place, judge, rule);
    }
    let mut own = Cuts::default();
    own.add(place, judge, rule);
    cuts.push((text, own));
}

impl Tally {
    fn note(&mut self, rule: &Arc<str>) {
        if !self.rules.contains(rule) {
            self.rules.insert(Arc::clone(rule));
        }
    }
}

impl Policy {
    /// Blocks if something was found and that is what it is for.
    fn conclude(&self, action: Action, reading: &Reading, tally: &mut Tally) -> Result<(), Block> {
        if tally.rules.is_empty() || action != Action::Block || reading.dry_run {
            return Ok(());
        }
        tally.blocked = true;
        Err(Block { policy: Arc::clone(&self.kind), was_unreadable: false })
    }

    fn could_not_read(&self, reading: &Reading, tally: &mut Tally) -> Result<(), Block> {
        tally.was_asked = true;
        tally.not_scanned = true;
        if reading.unreadable == Unreadable::Allow || reading.dry_run {
            return Ok(());
        }
        tally.blocked = true;
        Err(Block { policy: Arc::clone(&self.kind), was_unreadable: true })
    }

    fn evaluation(&self, reading: &Reading, tally: &Tally, phase: Phase) -> PolicyEvaluation {
        let action = match &self.judge {
            Judge::Finder(finder) => finder.action,
            Judge::Silent => Action::Block,
        };
        let would_refuse_unread = tally.not_scanned && reading.unreadable == Unreadable::Block;
        let verdict = match (tally.rules.is_empty(), action) {
            _ if tally.blocked || would_refuse_unread => Verdict::Block,
            (true, _) => Verdict::Allow,
            (false, Action::Block) => Verdict::Block,
            (false, Action::Redact) => Verdict::Redact,
        };
        PolicyEvaluation {
            dry_run: reading.dry_run,
            not_scanned: tally.not_scanned,
            phase: (phase == Phase::Response).then_some(phase),
            rules: tally.rules.iter().cloned().collect(),
            ..PolicyEvaluation::new(Arc::clone(&self.kind), verdict)
        }
    }
}
