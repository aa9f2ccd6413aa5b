//! Looking for many patterns at once, in a whole text or in one that has not come to its end.
//!
//! What is found does not depend on how a text arrives: going from left to right, at each place the longest match that
//! its rule accepts is taken, and the search goes on behind it. A place is undecided as long as some pattern could still
//! go on; everything before the first such place is judged for good.
//!
//! A whole text is searched faster: a [`Lead`] names the places where a match can begin at all.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use kt_domain::patterns::Hir;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::{Anchored, Input, MatchKind};

use super::leads::{Lead, Scout};

/// How much text before a match its rule may look at, in bytes.
pub(crate) const CONTEXT: usize = 48;
/// The memory that one thread's automaton may take, in bytes; it is rebuilt from the beginning beyond.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// One pattern, and what must hold of a match beside it.
#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) pattern: Hir,
    pub(crate) accepts: fn(Candidate<'_>) -> bool,
    /// Whether a match that it does not accept cannot become acceptable by being shorter. Then the longest alone is asked
    /// about, which matters where a stranger writes many that begin at one place.
    pub(crate) needs_more: bool,
}

/// A match of a pattern that its rule is yet to accept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// Up to [`CONTEXT`] bytes before it.
    pub(crate) before: &'a [u8],
    pub(crate) text: &'a str,
}

/// Something found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match<'p> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: &'p Arc<str>,
}

/// What a search came to in a text that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'p> {
    Found(Match<'p>),
    /// From here on it depends on what follows.
    Undecided(usize),
    /// There is nothing more.
    Clear,
}

/// Patterns made ready.
pub(crate) struct Patterns {
    groups: Vec<Group>,
    /// Texts, in small letters, that are never reported.
    except: Vec<String>,
}

type MakeCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// For each byte, whether a match can begin with it.
type Beginnings = [bool; 256];
/// All that an automaton tells apart before a match: nothing, the ends of lines, a word, and anything else.
const BEFORE: [&[u8]; 5] = [b"", b"\n", b"\r", b"a", b" "];

/// The patterns of one lead, as one automaton.
struct Group {
    rules: Vec<Rule>,
    scout: Scout,
    automaton: Arc<DFA>,
    /// The bytes with which a match can begin, by what stands before it.
    beginnings: [Beginnings; BEFORE.len()],
    caches: Pool<Cache, MakeCache>,
}

/// Why patterns cannot be made ready: together they are larger than an automaton may be.
#[derive(Debug, thiserror::Error)]
#[error("the patterns are too large together: {0}")]
pub(crate) struct TooLarge(String);

impl Patterns {
    /// Makes `groups` ready; one without rules is left out. What is found and stands in `except` is not reported.
    pub(crate) fn new(groups: Vec<(Lead, Vec<Rule>)>, except: &[String]) -> Result<Self, TooLarge> {
        let used = groups.into_iter().filter(|(_, rules)| !rules.is_empty());
        let groups = used.map(|(lead, rules)| Group::new(lead, rules)).collect::<Result<_, _>>()?;
        Ok(Self { groups, except: except.iter().map(|text| text.to_lowercase()).collect() })
    }

    /// Everything found in a whole text, from left to right.
    pub(crate) fn find_all<'p>(&'p self, text: &str, mut found: impl FnMut(Match<'p>)) {
        let mut searches: Vec<Search<'p>> = self.groups.iter().map(|group| Search::of(group, text)).collect();
        while let Some(start) = searches.iter().filter_map(|search| search.next).min() {
            let longest = searches
                .iter_mut()
                .filter(|search| search.next == Some(start))
                .filter_map(|search| search.walk(text, start, true).accepted)
                .reduce(longer);
            let from = longest.map_or_else(|| next_char(text, start), |longest| longest.end);
            longest.into_iter().filter(|longest| !self.is_excepted(text, longest)).for_each(&mut found);
            for search in searches.iter_mut().filter(|search| search.next.is_some_and(|next| next < from)) {
                search.advance(text, from);
            }
        }
    }

    /// The first match at `from` or later of a text that goes on unless it has `ended`.
    pub(crate) fn step<'p>(&'p self, text: &str, from: usize, ended: bool) -> Step<'p> {
        let mut searches: Vec<Search<'p>> = self.groups.iter().map(Search::new).collect();
        let mut start = from;
        while start < text.len() {
            let mut longest: Option<Match<'p>> = None;
            for search in &mut searches {
                let walked = search.walk(text, start, ended);
                if walked.open {
                    return Step::Undecided(start);
                }
                longest = [longest, walked.accepted].into_iter().flatten().reduce(longer);
            }
            match longest {
                Some(found) if self.is_excepted(text, &found) => start = found.end,
                Some(found) => return Step::Found(found),
                None => start = next_char(text, start),
            }
        }
        Step::Clear
    }

    fn is_excepted(&self, text: &str, found: &Match<'_>) -> bool {
        !self.except.is_empty() && self.except.contains(&text[found.start..found.end].to_lowercase())
    }
}

/// The longer of two matches that begin at the same place; of equals the first.
fn longer<'p>(first: Match<'p>, second: Match<'p>) -> Match<'p> {
    if second.end > first.end { second } else { first }
}

fn next_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(text.len(), |c| at + c.len_utf8())
}

impl Group {
    fn new(lead: Lead, rules: Vec<Rule>) -> Result<Self, TooLarge> {
        let patterns: Vec<&Hir> = rules.iter().map(|rule| &rule.pattern).collect();
        let too_large = |error: &dyn ToString| TooLarge(error.to_string());
        let nfa = Compiler::new()
            .configure(Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(CACHE_BYTES)))
            .build_many_from_hir(&patterns)
            .map_err(|error| too_large(&error))?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true);
        let automaton =
            DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| too_large(&error))?;
        let automaton = Arc::new(automaton);
        let scout = Scout::new(lead, &patterns, CACHE_BYTES).map_err(|error| too_large(&error))?;
        let beginnings = beginnings(&automaton);
        let of_caches = Arc::clone(&automaton);
        let caches = Pool::new(Box::new(move || of_caches.create_cache()) as MakeCache);
        Ok(Self { rules, scout, automaton, beginnings, caches })
    }

    /// The first place between these two, or one of them, at which a match may begin.
    fn first_beginning(&self, text: &str, first: usize, last: usize) -> Option<usize> {
        (first..=last).find(|at| self.may_begin(text.as_bytes(), *at) && text.is_char_boundary(*at))
    }

    /// Whether the automaton is alive behind the first byte of what stands at `start`.
    fn may_begin(&self, text: &[u8], start: usize) -> bool {
        let begins = &self.beginnings[stands_before(text, start)];
        text.get(start).is_none_or(|first| begins[usize::from(*first)])
    }
}

/// The bytes with which a match can begin.
fn beginnings(automaton: &DFA) -> [Beginnings; BEFORE.len()] {
    let mut cache = automaton.create_cache();
    let mut is_alive = |before: &[u8], byte: u8| {
        let text = [before, &[byte]].concat();
        let input = Input::new(&text).range(before.len()..).anchored(Anchored::Yes);
        let start = automaton.start_state_forward(&mut cache, &input).ok();
        let next = start.and_then(|start| automaton.next_state(&mut cache, start, byte).ok());
        next.is_none_or(|next| !next.is_dead())
    };
    BEFORE.map(|before| std::array::from_fn(|byte| is_alive(before, u8::try_from(byte).unwrap_or_default())))
}

/// Which of [`BEFORE`] stands before a place.
fn stands_before(text: &[u8], at: usize) -> usize {
    match at.checked_sub(1).map(|before| text[before]) {
        None => 0,
        Some(b'\n') => 1,
        Some(b'\r') => 2,
        Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => 3,
        Some(_) => 4,
    }
}

/// One group's search through one text.
struct Search<'p> {
    group: &'p Group,
    /// Taken when a match may begin somewhere, which in most texts is nowhere.
    cache: Option<PoolGuard<'p, Cache, MakeCache>>,
    /// Where the next match may begin.
    next: Option<usize>,
    /// Up to where it may begin at every place from there on.
    until: usize,
}

/// What the patterns came to at one place.
struct Walked<'p> {
    accepted: Option<Match<'p>>,
    /// Whether some pattern could go on beyond the text's end.
    open: bool,
}

impl<'p> Search<'p> {
    fn new(group: &'p Group) -> Self {
        Self { group, cache: None, next: None, until: 0 }
    }

    fn of(group: &'p Group, text: &str) -> Self {
        let mut search = Self::new(group);
        search.advance(text, 0);
        search
    }

    /// Goes on to the next place, at `from` or later, at which a match may begin.
    fn advance(&mut self, text: &str, from: usize) {
        let goes_on = self.next.is_some() && from <= self.until;
        let scout = &self.group.scout;
        let mut places = if goes_on { Some((from, self.until)) } else { scout.next(text, from) };
        self.next = None;
        while let Some((first, last)) = places {
            self.until = last;
            self.next = self.group.first_beginning(text, first, last);
            if self.next.is_some() {
                return;
            }
            places = scout.next(text, next_char(text, last));
        }
    }

    /// Tries every pattern at `start`.
    fn walk(&mut self, text: &str, start: usize, ended: bool) -> Walked<'p> {
        if self.group.may_begin(text.as_bytes(), start) {
            self.walk_on(text, start, ended)
        } else {
            Walked { accepted: None, open: false }
        }
    }

    fn walk_on(&mut self, text: &str, start: usize, ended: bool) -> Walked<'p> {
        let automaton = &self.group.automaton;
        let cache = &mut **self.cache.get_or_insert_with(|| self.group.caches.get());
        let closed = Walked { accepted: None, open: false };
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let Ok(mut state) = automaton.start_state_forward(cache, &input) else { return closed };
        let mut ends: Vec<(usize, usize)> = Vec::new();
        let mut note = |cache: &Cache, state, end| {
            let count = automaton.match_len(cache, state);
            ends.extend(
                (0..count).map(|index| (end, automaton.match_pattern(cache, state, index).as_usize())),
            );
        };
        // A match is told one byte after its end, so that what follows it can be looked at.
        for (at, byte) in text.bytes().enumerate().skip(start) {
            let Ok(next) = automaton.next_state(cache, state, byte) else { return closed };
            state = next;
            if state.is_match() {
                note(cache, state, at);
            } else if state.is_dead() || state.is_quit() {
                return Walked { accepted: self.accepted(text, start, &ends), open: false };
            }
        }
        if !ended {
            return Walked { accepted: None, open: true };
        }
        if let Ok(last) = automaton.next_eoi_state(cache, state)
            && last.is_match()
        {
            note(cache, last, text.len());
        }
        Walked { accepted: self.accepted(text, start, &ends), open: false }
    }

    /// The longest of the ends that its rule accepts; of equals that of the first rule.
    fn accepted(&self, text: &str, start: usize, ends: &[(usize, usize)]) -> Option<Match<'p>> {
        let before = &text.as_bytes()[start.saturating_sub(CONTEXT)..start];
        let accepts = |end: usize, index: usize| {
            let rule = &self.group.rules[index];
            (rule.accepts)(Candidate { before, text: &text[start..end] })
        };
        // The longest stand last, and none that is shorter than an accepted one is looked at.
        let mut best: Option<(usize, usize)> = None;
        let mut hopeless: Vec<usize> = Vec::new();
        for &(end, index) in ends.iter().rev().filter(|(end, _)| *end > start) {
            let is_better =
                best.is_none_or(|(longest, first)| end > longest || (end == longest && index < first));
            if !is_better || hopeless.contains(&index) {
                continue;
            }
            if accepts(end, index) {
                best = Some((end, index));
            } else if self.group.rules[index].needs_more {
                hopeless.push(index);
            }
        }
        best.map(|(end, index)| Match { start, end, rule: &self.group.rules[index].name })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use kt_domain::patterns::regex;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_begins_where_nothing_may(text in "[ab9_ \\n\\r.é-]{0,12}", ended in any::<bool>()) {
            let forms = [r"\ba+b", r"(?m)^9", r"\Bb_", r"(?:é|\.)a", r"-?\b9", r"a$", r"(?m:-$)"];
            let rules = forms.map(|form| Rule {
                name: form.into(),
                pattern: regex(form).unwrap(),
                accepts: |_| true,
                needs_more: true,
            });
            let patterns = Patterns::new(vec![(Lead::Patterns, rules.to_vec())], &[]).unwrap();
            let group = &patterns.groups[0];
            for (start, _) in text.char_indices() {
                let walked = Search::new(group).walk_on(&text, start, ended);
                let begins = walked.open || walked.accepted.is_some();
                prop_assert!(!begins || group.may_begin(text.as_bytes(), start), "at {start} of {text:?}");
            }
        }
    }

    #[test]
    fn few_bytes_begin_a_match() {
        let rule =
            Rule { name: "a".into(), pattern: regex(r"\bab").unwrap(), accepts: |_| true, needs_more: true };
        let patterns = Patterns::new(vec![(Lead::Patterns, vec![rule])], &[]).unwrap();
        let text = b"ab ab aab";
        let begins = |start: &usize| patterns.groups[0].may_begin(text, *start);
        assert_eq!((0..text.len()).filter(begins).collect::<Vec<_>>(), [0, 3, 6]);
    }

    #[test]
    fn what_being_shorter_does_not_help_is_asked_about_once() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let accepts = |found: Candidate<'_>| {
            ASKED.fetch_add(1, Relaxed);
            found.text.contains('9')
        };
        let asked = |text: &str, needs_more: bool| {
            let rule =
                Rule { name: "a".into(), pattern: regex(r"\ba[a9-]{1,200}").unwrap(), accepts, needs_more };
            let patterns = Patterns::new(vec![(Lead::Patterns, vec![rule])], &[]).unwrap();
            let mut found = Vec::new();
            ASKED.store(0, Relaxed);
            patterns.find_all(text, |one| found.push((one.start, one.end)));
            (found, ASKED.load(Relaxed))
        };
        let (hopeless, accepted) = ("a-".repeat(100), "a-".repeat(100) + "9");
        assert_eq!(asked(&hopeless, true), (vec![], 100));
        assert!(asked(&hopeless, false).1 > 5000);
        assert_eq!(asked(&accepted, true), asked(&accepted, false));
        assert_eq!(asked(&accepted, true).0, [(0, 201)]);
    }
}
