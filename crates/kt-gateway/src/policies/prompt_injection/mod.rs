//! `prompt-injection`: how suspicious a request reads.
//!
//! Each rule stands for a way in which texts try to take over a model (OWASP LLM01); a rule counts once for a request,
//! however often it matches. This is no understanding: who puts the same in other words gets past it, and a text about
//! such attacks reads like one. It keeps out what is copied, and tells of what is tried.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use kt_domain::events::Phase;
use kt_domain::patterns;
use kt_domain::policy_config::PolicySettings;

use super::text::patterns::{Candidate, Lead, Patterns, Rule, TooLarge};
use super::{Judge, Reading};

pub(super) const KIND: &str = "prompt-injection";

pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    let settings = settings.prompt_injection.clone().unwrap_or_default();
    let rules = RULES.iter().map(|(name, _, pattern)| rule(name, pattern)).collect();
    let patterns = Patterns::new(vec![(Lead::Patterns, rules)], &[])?;
    let reading =
        Reading { phases: vec![Phase::Request], unreadable: settings.unreadable, dry_run: settings.dry_run };
    Ok(Judge::Injection(Injection { patterns, threshold: settings.threshold, reading }))
}

/// The rules of `prompt-injection`, made ready.
pub(super) struct Injection {
    patterns: Patterns,
    threshold: u32,
    pub(super) reading: Reading,
}

#[expect(clippy::expect_used, reason = "the patterns are constants, and a test reads every one")]
fn rule(name: &str, pattern: &str) -> Rule {
    let pattern = patterns::regex(&pattern.replace("GAP", GAP).replace(' ', r"[ \t\r\n]{1,3}"));
    let accepts = if name == "role-heading" { begins_a_line } else { |_: Candidate<'_>| true };
    Rule { name: name.into(), pattern: pattern.expect("a pattern of this file"), accepts }
}

/// Whether a match is the first thing on its line but for marks of a heading.
fn begins_a_line(found: Candidate<'_>) -> bool {
    let marks = found.before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | b'#')).count();
    found.before.len() == marks || found.before[found.before.len() - marks - 1] == b'\n'
}

/// Up to four words in between.
const GAP: &str = r#"(?:[\s,;:"*_-]{1,3}[a-z']{1,16}){0,4}[\s,;:"*_-]{1,3}"#;

/// Name, points and pattern, over text in small letters. A space stands for one to three of any kind.
const RULES: [(&str, u32, &str); 19] = [
    (
        "override",
        10,
        r"\b(?:ignore|disregard|forget|override|bypass|neglect|overlook)GAP(?:previous|prior|above|earlier|preceding|initial|original|foregoing|system|existing|your)GAP(?:instruction|prompt|rule|guideline|direction|command|programming|training|context|message|polic)",
    ),
    (
        "override",
        10,
        r"\b(?:ignore|disregard|forget) (?:everything|all|anything)GAP(?:above|before|said|told|previous|prior|far|instructions)\b",
    ),
    (
        "override",
        10,
        r"\b(?:do not|don't|stop|no longer) (?:follow|obey|following|obeying)GAP(?:instruction|rule|guideline|polic|prompt)",
    ),
    (
        "override-other-language",
        10,
        r"\bignorier(?:e|en sie) (?:bitte )?(?:alle )?(?:deine |ihre |die )?(?:vorherigen|bisherigen|obigen|früheren) (?:anweisung|instruktion|regel|befehl)",
    ),
    (
        "override-other-language",
        10,
        r"\bignor(?:a|e|á) (?:todas )?(?:las |tus )?instrucciones (?:anteriores|previas)",
    ),
    (
        "override-other-language",
        10,
        r"\bignore[rz]? (?:toutes )?(?:les|tes|vos) instructions (?:précédentes|antérieures|ci-dessus)",
    ),
    ("override-other-language", 10, r"(?:忽略|无视)(?:之前|以上|先前|所有)\S{0,12}(?:指令|提示|规则)"),
    (
        "reveal-prompt",
        10,
        r"\b(?:reveal|show|print|repeat|output|display|disclose|leak|expose|give|tell|write|recite|share|dump)GAP(?:system|initial|hidden|original|secret|developer|internal) (?:prompt|instruction|message|rules)",
    ),
    (
        "reveal-text",
        6,
        r"\b(?:repeat|print|output) (?:everything|all(?: of)?(?: the)? (?:text|words)|the (?:text|words)) (?:above|before|preceding)",
    ),
    (
        "new-role",
        10,
        r"\b(?:do anything now|dan mode|developer mode (?:is )?(?:now )?(?:enabled|activated)|god mode|jailbreak mode)\b",
    ),
    (
        "new-persona",
        6,
        r"\byou (?:are|will) (?:now|henceforth|from now on) (?:be |act as |become )?(?:an? )?(?:unrestricted|unfiltered|uncensored|evil|dan|jailbroken|free)\b",
    ),
    (
        "no-restrictions",
        5,
        r"\b(?:without|no|free of|not bound by|ignoring)(?: any| all| your| the| of)? (?:restrictions|filters?|censorship|limitations|guardrails|safety|ethical|content polic)",
    ),
    (
        "pretend",
        4,
        r"\b(?:pretend|imagine|act as if|roleplay)GAP(?:no|without|not bound|unrestricted|unfiltered|evil|any)\b",
    ),
    (
        "role-marker",
        8,
        r"<\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)\|>|\[/?inst\]|<</?sys>>|<start_of_turn>",
    ),
    ("role-heading", 5, r"\b(?:system|developer|assistant)(?: message| prompt| note| override)?:[\x20\t\n]"),
    (
        "new-instructions",
        5,
        r"\b(?:new|updated|real|actual|true|revised) (?:instruction|task|objective|directive|goal)s?(?: (?:is|are|follow))?:",
    ),
    (
        "secrecy",
        5,
        r"\b(?:do not|don't|never|without) (?:tell|inform|mention|notify|alert|reveal|telling|informing|mentioning|alerting)GAP(?:user|human|anyone|operator)\b",
    ),
    ("exfiltration", 6, r"!\[[^\]\n]{0,60}\]\(https?://[^)\s]{1,200}[?&][^)\s=]{1,40}="),
    (
        "exfiltration",
        6,
        r"\b(?:send|post|forward|upload|exfiltrate|email)GAP(?:conversation|chat history|api key|password|secret|credential|system prompt|data)GAP(?:to|at) ",
    ),
];

/// Points for text that no screen shows, and for an attack that is encoded.
const HIDDEN: (&str, u32) = ("hidden-text", 8);
const ENCODED: (&str, u32) = ("encoded", 5);
/// How many characters that show nothing are more than a language or an emoji needs: tag characters spell out ASCII.
const MANY_TAGS: usize = 4;
/// The shortest run of Base64 that is looked into, in characters, and the longest.
const ENCODED_LENGTHS: std::ops::RangeInclusive<usize> = 24..=16_384;

impl Injection {
    /// Whether the texts of a request together read like an attack, and the rules that say so.
    pub(super) fn judge<'t>(
        &self,
        texts: impl Iterator<Item = (&'t str, &'t str)>,
    ) -> (bool, BTreeSet<Arc<str>>) {
        let mut found = Found::default();
        for (raw, read) in texts {
            self.read(read, &mut found);
            if raw.chars().filter(|c| matches!(c, '\u{E0020}'..='\u{E007E}')).take(MANY_TAGS).count()
                == MANY_TAGS
            {
                found.add(HIDDEN.0, HIDDEN.1);
            }
            for hidden in encoded(read) {
                let before = found.points;
                self.read(&hidden, &mut found);
                if found.points > before {
                    found.add(ENCODED.0, ENCODED.1);
                }
            }
        }
        (found.points >= self.threshold, found.rules)
    }

    fn read(&self, text: &str, found: &mut Found) {
        self.patterns.find_all(&skeleton(text), |hit| {
            let points =
                RULES.iter().find(|(name, ..)| *name == &**hit.rule).map_or(0, |(_, points, _)| *points);
            found.add(hit.rule, points);
        });
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    rules: BTreeSet<Arc<str>>,
    points: u32,
}

impl Found {
    fn add(&mut self, name: &str, points: u32) {
        if !self.rules.contains(name) {
            self.rules.insert(name.into());
            self.points += points;
        }
    }
}

/// Text in small letters, with Cyrillic and Greek letters that look like Latin ones written as those (the common
/// part of the confusables of Unicode TR39).
fn skeleton(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).map(latin).collect()
}

fn latin(c: char) -> char {
    const LOOK: &str = "аaеeоoрpсcуyхxіiјjѕsԁdһhԛqԝwкkмmтtвbнhαaεeοoρpυuνvιiκkτtχxɑaɡgıiłl";
    if c.is_ascii() {
        return c;
    }
    let mut pairs = LOOK.chars();
    while let (Some(own), Some(like)) = (pairs.next(), pairs.next()) {
        if own == c {
            return like;
        }
    }
    c
}

/// The texts that stand encoded as Base64 in a text.
fn encoded(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')));
    runs.filter(|run| ENCODED_LENGTHS.contains(&run.len())).filter_map(|run| {
        let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
        let bytes = STANDARD_NO_PAD.decode(whole).or_else(|_| URL_SAFE_NO_PAD.decode(whole)).ok()?;
        String::from_utf8(bytes).ok()
    })
}
