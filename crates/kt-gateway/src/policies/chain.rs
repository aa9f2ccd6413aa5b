//! The chain: asking each policy in order, until one does not let the content pass.
//!
//! Every policy judges the content as it came; what several of them cut out of one text is cut out together.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use kt_domain::policy_config::{PolicySettings, SafetyFilter};

use super::reading::body::{Body, TextCuts, spliced};
use super::reading::outline::Outline;
use super::tally::Tally;
use super::text::channel::Channel;
use super::{Asked, Finder, Judge, Policy};
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
    /// The only targets that it may go to; `None` means any.
    pub(crate) targets: Option<BTreeSet<String>>,
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

/// What there is to read.
enum Readable<'b> {
    Nothing,
    Not,
    Body(&'b Body<'b>),
}

/// What the chain asks for of content that passes.
#[derive(Default)]
struct Passing {
    cuts: TextCuts,
    targets: Option<BTreeSet<String>>,
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

    /// Whether any of it has something to say of a request.
    pub(crate) fn judges_requests(&self) -> bool {
        let routes = self.policies.iter().any(|policy| matches!(policy.judge, Judge::Routing(_)));
        routes || self.reads(Phase::Request) || self.safety_filters(Phase::Request).next().is_some()
    }

    /// Whether any of it reads content in this phase itself.
    pub(crate) fn reads(&self, phase: Phase) -> bool {
        self.policies.iter().any(|policy| policy.reading(phase).is_some())
    }

    /// What each policy does, in a few words.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> {
        self.policies.iter().map(|policy| {
            let read: Vec<&str> = [(Phase::Request, "requests"), (Phase::Response, "answers")]
                .into_iter()
                .filter(|(phase, _)| policy.reading(*phase).is_some())
                .map(|(_, name)| name)
                .collect();
            let reads =
                if read.is_empty() { String::new() } else { format!(" reads {}", read.join(" and ")) };
            let dry = if policy.runs_dry() { ", as a dry run" } else { "" };
            format!("{}{reads}{dry}", policy.kind)
        })
    }

    /// What the chain looks like in an event when no policy of it judges.
    pub(crate) fn passed(&self) -> Vec<PolicyEvaluation> {
        self.passed.clone()
    }

    /// The moderation services to be asked in this phase, with the kinds of their policies.
    pub(crate) fn safety_filters(&self, phase: Phase) -> impl Iterator<Item = (&Arc<str>, &SafetyFilter)> {
        self.policies.iter().filter_map(move |policy| match &policy.judge {
            Judge::Safety(settings) if settings.phases.contains(&phase) => Some((&policy.kind, settings)),
            _ => None,
        })
    }

    /// Judges a whole body.
    pub(crate) fn judge(&self, phase: Phase, content: Content<'_>, asked: Asked<'_>) -> Judged {
        let mut tallies = Tallies::new(self, phase);
        let judged = self.judge_content(content, asked, &mut tallies);
        let evaluations = self.evaluations(&tallies);
        let (outcome, targets) = match judged {
            Ok((None, targets)) => (Outcome::Pass, targets),
            Ok((Some(redacted), targets)) => (Outcome::Redacted(redacted.into()), targets),
            Err(block) => (Outcome::Blocked(block), None),
        };
        Judged { evaluations, outcome, targets }
    }

    fn judge_content(
        &self,
        content: Content<'_>,
        asked: Asked<'_>,
        tallies: &mut Tallies,
    ) -> Result<(Option<String>, Option<BTreeSet<String>>), Block> {
        let json = match content {
            Content::Nothing => {
                let passing = self.ask_each(&Readable::Nothing, asked, tallies)?;
                return Ok((None, passing.targets));
            }
            Content::Other => None,
            Content::Json(bytes) => std::str::from_utf8(bytes).ok(),
        };
        let mut outline = Outline::default();
        let Some(json) = json.filter(|json| outline.read(json).is_ok()) else {
            let passing = self.ask_each(&Readable::Not, asked, tallies)?;
            return Ok((None, passing.targets));
        };
        let mut body = Body::read(json, &outline, &|_| false);
        // The parts of an answer are judged one by one, as in a stream.
        if tallies.phase == Phase::Request {
            body.join_parts();
        }
        let passing = self.ask_each(&Readable::Body(&body), asked, tallies)?;
        let replacements = body.replacements(passing.cuts);
        let redacted = (!replacements.is_empty()).then(|| spliced(json, replacements));
        Ok((redacted, passing.targets))
    }

    /// Judges the texts of a document, and says what is to be cut out of them.
    pub(crate) fn judge_texts(&self, body: &Body<'_>, tallies: &mut Tallies) -> Result<TextCuts, Block> {
        self.ask_each(&Readable::Body(body), Asked::default(), tallies).map(|passing| passing.cuts)
    }

    /// Asks each policy in order, until one blocks.
    fn ask_each(
        &self,
        readable: &Readable<'_>,
        asked: Asked<'_>,
        tallies: &mut Tallies,
    ) -> Result<Passing, Block> {
        let mut passing = Passing::default();
        for (index, policy) in self.policies.iter().enumerate() {
            if let (Judge::Routing(routing), Phase::Request) = (&policy.judge, tallies.phase) {
                let directions = routing.directions(asked, &self.found_before(index, tallies));
                let tally = &mut tallies.of_policies[index];
                tally.was_asked = true;
                tally.rules.extend(directions.applied);
                if directions.is_refused {
                    tally.says(&policy.kind, Verdict::Block, routing.dry_run)?;
                } else if !routing.dry_run {
                    passing.targets = directions.targets;
                }
                continue;
            }
            let Some(reading) = policy.reading(tallies.phase) else { continue };
            let tally = &mut tallies.of_policies[index];
            tally.was_asked = true;
            let body = match readable {
                Readable::Body(body) => body,
                Readable::Nothing => continue,
                Readable::Not => {
                    tally.could_not_read(&policy.kind, reading)?;
                    continue;
                }
            };
            if body.is_partly_unreadable {
                tally.could_not_read(&policy.kind, reading)?;
            }
            policy.read(index, body, tally, &mut passing.cuts)?;
        }
        Ok(passing)
    }

    /// The names of everything that the policies before one found, and the kinds of those that found it.
    fn found_before(&self, index: usize, tallies: &Tallies) -> BTreeSet<Arc<str>> {
        let before = self.policies.iter().zip(&tallies.of_policies).take(index);
        let with_finds = before.filter(|(_, tally)| !tally.rules.is_empty());
        with_finds
            .flat_map(|(policy, tally)| tally.rules.iter().chain(std::iter::once(&policy.kind)))
            .cloned()
            .collect()
    }

    /// Judges the next fragment of a text, and has cut out of it what is found.
    pub(crate) fn judge_fragment(
        &self,
        channel: &mut Channel,
        fragment: &str,
        ended: bool,
        tallies: &mut Tallies,
    ) -> Result<(), Block> {
        let phase = tallies.phase;
        for (index, _) in self.finders(phase) {
            tallies.of_policies[index].was_asked = true;
        }
        let patterns = self.finders(phase).map(|(_, finder)| &finder.patterns);
        let mut found = Vec::new();
        channel.push(fragment, ended, &patterns, |find| found.push(find));
        for find in found {
            let Some((index, finder)) = self.finders(phase).nth(find.judge) else { continue };
            let tally = &mut tallies.of_policies[index];
            tally.note(&find.rule);
            tally.says(&self.policies[index].kind, finder.verdict(), finder.reading.dry_run)?;
            if finder.cuts() {
                channel.cut(find);
            }
        }
        Ok(())
    }

    /// Every policy that reads content says what it thinks of content that it cannot read.
    pub(crate) fn unreadable(&self, tallies: &mut Tallies) -> Result<(), Block> {
        self.ask_each(&Readable::Not, Asked::default(), tallies).map(|_| ())
    }

    /// The first policy that reads content refuses what is too large to be read, whatever its settings.
    pub(crate) fn block_unreadable(&self, tallies: &mut Tallies) -> Block {
        let first = self.policies.iter().position(|policy| policy.reading(tallies.phase).is_some());
        let index = first.unwrap_or_default();
        tallies.of_policies[index].refuse_unread(&self.policies[index].kind)
    }

    /// What each policy that was asked has said. In the phase of requests every policy was asked up to the one that
    /// blocked, but those that ask somebody else; in that of answers those that read them.
    pub(crate) fn evaluations(&self, tallies: &Tallies) -> Vec<PolicyEvaluation> {
        let mut evaluations = Vec::new();
        for (policy, tally) in self.policies.iter().zip(&tallies.of_policies) {
            let is_silent = matches!(policy.judge, Judge::Silent) && tallies.phase == Phase::Request;
            if tally.was_asked || is_silent {
                evaluations.push(tally.evaluation(&policy.kind, policy.runs_dry(), tallies.phase));
            }
            if tally.blocked {
                break;
            }
        }
        evaluations
    }

    /// The policies that look for patterns.
    fn finders(&self, phase: Phase) -> impl Iterator<Item = (usize, &Finder)> + Clone {
        self.policies.iter().enumerate().filter_map(move |(index, policy)| match &policy.judge {
            Judge::Finder(finder) if finder.reading.phases.contains(&phase) => Some((index, finder)),
            _ => None,
        })
    }
}

impl Policy {
    /// Reads the texts of a document: notes what is found, adds what is to be cut, and says what it thinks of it.
    fn read(
        &self,
        index: usize,
        body: &Body<'_>,
        tally: &mut Tally,
        cuts: &mut TextCuts,
    ) -> Result<(), Block> {
        match &self.judge {
            Judge::Finder(finder) => {
                body.find(&finder.patterns, |found, rule| {
                    tally.note(rule);
                    if finder.cuts() {
                        let cuts = cuts.entry(found.text).or_insert_with(|| body.cuts_of(found.text));
                        if found.is_rest {
                            cuts.add_rest(found.place, index);
                        } else {
                            cuts.add(found.place, index, rule);
                        }
                    }
                });
                let is_clean = tally.rules.is_empty();
                if is_clean {
                    Ok(())
                } else {
                    tally.says(&self.kind, finder.verdict(), finder.reading.dry_run)
                }
            }
            Judge::Injection(injection) => {
                let found = injection.judge(body.texts());
                let is_attack = injection.is_attack(&found);
                tally.score = found.score();
                tally.rules.extend(found.rules);
                if is_attack {
                    tally.says(&self.kind, Verdict::Block, injection.reading.dry_run)
                } else {
                    Ok(())
                }
            }
            Judge::Silent | Judge::Routing(_) | Judge::Safety(_) => Ok(()),
        }
    }

    fn runs_dry(&self) -> bool {
        match &self.judge {
            Judge::Silent => false,
            Judge::Finder(finder) => finder.reading.dry_run,
            Judge::Injection(injection) => injection.reading.dry_run,
            Judge::Routing(routing) => routing.dry_run,
            Judge::Safety(settings) => settings.dry_run,
        }
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
