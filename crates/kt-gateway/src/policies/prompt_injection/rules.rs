//! The rules of `prompt-injection`, in families that are found by the same few words.

use kt_domain::patterns;

use crate::policies::text::leads::Lead;
use crate::policies::text::patterns::{Candidate, Rule};

/// Rules, and by what a text shows where a match of one of them may begin.
pub(super) struct Family {
    pub(super) lead: Lead,
    pub(super) rules: &'static [Definition],
}

/// Name, points and pattern, over text in small letters. A space stands for one to three of any kind.
pub(super) type Definition = (&'static str, u32, &'static str);

/// Up to four words in between.
const GAP: &str = r#"(?:[\s,;:"*_-]{1,3}[a-z']{1,16}){0,4}[\s,;:"*_-]{1,3}"#;

/// What every match begins with is the quickest to look for. Where that is a common word, the lead is a rarer one, with how
/// many bytes of the match may stand before it.
pub(super) static FAMILIES: [Family; 5] = [
    Family {
        lead: Lead::Words(&[
            ("ignor", 0),
            ("disregard", 0),
            ("forget", 0),
            ("override", 0),
            ("bypass", 0),
            ("neglect", 0),
            ("overlook", 0),
            ("follow", 14),
            ("obey", 14),
            ("忽略", 0),
            ("无视", 0),
        ]),
        rules: &[
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
            (
                "override-other-language",
                10,
                r"(?:忽略|无视)(?:之前|以上|先前|所有)\S{0,12}(?:指令|提示|规则)",
            ),
        ],
    },
    Family {
        lead: Lead::Words(&[
            ("reveal", 0),
            ("show", 0),
            ("print", 0),
            ("repeat", 0),
            ("output", 0),
            ("display", 0),
            ("disclose", 0),
            ("leak", 0),
            ("expose", 0),
            ("give", 0),
            ("tell", 0),
            ("write", 0),
            ("recite", 0),
            ("share", 0),
            ("dump", 0),
        ]),
        rules: &[
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
        ],
    },
    Family {
        lead: Lead::Words(&[
            ("anything", 5),
            ("developer", 0),
            ("god", 0),
            ("dan", 47),
            ("jailbr", 47),
            ("evil", 47),
            ("free", 47),
            ("restrict", 49),
            ("filter", 49),
            ("censor", 49),
            ("limitation", 26),
            ("guardrail", 26),
            ("safety", 26),
            ("ethical", 26),
            ("polic", 36),
            ("pretend", 0),
            ("imagine", 0),
            ("roleplay", 0),
            ("act", 0),
        ]),
        rules: &[
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
        ],
    },
    Family {
        lead: Lead::Words(&[
            ("system", 0),
            ("developer", 0),
            ("assistant", 0),
            ("instruction", 10),
            ("task", 10),
            ("objective", 10),
            ("directive", 10),
            ("goal", 10),
            ("tell", 11),
            ("inform", 11),
            ("mention", 11),
            ("notify", 11),
            ("alert", 11),
            ("reveal", 11),
            ("send", 0),
            ("post", 0),
            ("forward", 0),
            ("upload", 0),
            ("exfiltrat", 0),
            ("email", 0),
        ]),
        rules: &[
            (
                "role-heading",
                5,
                r"\b(?:system|developer|assistant)(?: message| prompt| note| override)?:[\x20\t\n]",
            ),
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
            (
                "exfiltration",
                6,
                r"\b(?:send|post|forward|upload|exfiltrate|email)GAP(?:conversation|chat history|api key|password|secret|credential|system prompt|data)GAP(?:to|at) ",
            ),
        ],
    },
    Family {
        lead: Lead::Words(&[("<", 0), ("[", 1)]),
        rules: &[
            (
                "role-marker",
                8,
                r"<\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)\|>|<</?sys>>|<start_of_turn>",
            ),
            ("role-marker", 8, r"\[/?inst\]"),
            ("exfiltration", 6, r"!\[[^\]\n]{0,60}\]\(https?://[^)\s]{1,200}[?&][^)\s=]{1,40}="),
        ],
    },
];

/// The rule of a definition.
#[expect(clippy::expect_used, reason = "the patterns are constants, and a test reads every one")]
pub(super) fn rule((name, _, pattern): &Definition) -> Rule {
    let pattern = patterns::regex(&spelt(pattern));
    let accepts = if *name == "role-heading" { begins_a_line } else { |_: Candidate<'_>| true };
    Rule {
        name: (*name).into(),
        pattern: pattern.expect("a pattern of this file"),
        accepts,
        needs_more: true,
    }
}

/// A definition's pattern, as a regular expression.
pub(super) fn spelt(pattern: &str) -> String {
    pattern.replace("GAP", GAP).replace(' ', r"[ \t\r\n]{1,3}")
}

/// How many points a rule stands for; equal for all definitions of one name.
pub(super) fn points(name: &str) -> u32 {
    let mut rules = FAMILIES.iter().flat_map(|family| family.rules);
    rules.find(|(own, ..)| *own == name).map_or(0, |(_, points, _)| *points)
}

/// Whether a match is the first thing on its line but for marks of a heading.
fn begins_a_line(found: Candidate<'_>) -> bool {
    let marks = found.before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | b'#')).count();
    found.before.len() == marks || found.before[found.before.len() - marks - 1] == b'\n'
}
