//! Judging a stream of events (WHATWG HTML section 9.2) on its way.
//!
//! An event leaves once every character in it has been judged: its own texts at once, a fragment of a text that goes on
//! in later events as soon as nothing can begin in it any more. Events keep their order and their shape; only what was
//! found is replaced.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use kt_domain::events::{Phase, PolicyEvaluation};

use super::body::{self, Body};
use super::dialect::{self, Shape};
use super::events::{Splitter, fields};
use super::outline::Outline;
use crate::policies::chain::{Block, Chain, Tallies};
use crate::policies::text::channel::Channel;

/// How much of a stream is held back at most, in bytes. A text is held back for 8 KiB at most, which even letter by
/// letter makes less than this.
const MAX_HELD: usize = 4 * 1024 * 1024;
/// How many texts a stream may have: choices, blocks, tool calls.
const MAX_CHANNELS: usize = 1024;
/// What may stand before the first event.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A stream under judgement.
pub(crate) struct StreamJudge {
    chain: Arc<Chain>,
    tallies: Tallies,
    events: Splitter,
    /// How long one event may be.
    max_event: u64,
    channels: Vec<(String, Channel, Life)>,
    /// Events that came and have not left.
    held: VecDeque<Event>,
    held_bytes: usize,
    outline: Outline,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Ended,
}

/// One event on its way.
struct Event {
    raw: Vec<u8>,
    /// Its lines other than `data`, without line ends, as they leave.
    lines: Vec<String>,
    data: String,
    fragments: Vec<Fragment>,
    /// What replaces which places of `data`.
    replacements: Vec<(Range<usize>, String)>,
    is_changed: bool,
}

/// A piece of a text that goes on.
struct Fragment {
    channel: usize,
    start: usize,
    text: String,
    /// Where it stands in the event's data, without quotes.
    place: Range<usize>,
}

impl StreamJudge {
    pub(crate) fn new(chain: Arc<Chain>, max_event: u64) -> Self {
        let tallies = Tallies::new(&chain, Phase::Response);
        Self {
            chain,
            tallies,
            events: Splitter::default(),
            max_event,
            channels: Vec::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            outline: Outline::default(),
        }
    }

    /// Takes what came and appends to `out` what may leave.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Block> {
        self.events.push(piece);
        while let Some(raw) = self.events.next() {
            self.take(raw)?;
            self.release(out);
        }
        if self.events.unfinished() as u64 > self.max_event || self.held_bytes > MAX_HELD {
            return Err(self.chain.block_unreadable(&mut self.tallies));
        }
        Ok(())
    }

    /// Lets out the rest: nothing more will come.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Block> {
        let rest = self.events.rest();
        if !rest.is_empty() {
            self.take(rest)?;
        }
        self.end_channels("")?;
        self.release(out);
        Ok(())
    }

    /// What each policy said of the stream.
    pub(crate) fn evaluations(&self) -> Vec<PolicyEvaluation> {
        self.chain.evaluations(&self.tallies)
    }

    /// Judges one event and holds it.
    fn take(&mut self, raw: Vec<u8>) -> Result<(), Block> {
        self.held_bytes += raw.len();
        let Ok(text) = std::str::from_utf8(raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&raw)) else {
            return self.take_unread(raw);
        };
        let (mut lines, data) = fields(text);
        let is_changed = self.judge_lines(&mut lines)?;
        let mut event =
            Event { lines, data, fragments: Vec::new(), replacements: Vec::new(), is_changed, raw };
        let is_last = event.data.trim() == "[DONE]";
        if is_last {
            self.end_channels("")?;
        } else if !event.data.is_empty() {
            let mut outline = std::mem::take(&mut self.outline);
            let taken = self.take_data(&mut event, &mut outline);
            self.outline = outline;
            taken?;
        }
        self.held.push_back(event);
        Ok(())
    }

    fn take_data(&mut self, event: &mut Event, outline: &mut Outline) -> Result<(), Block> {
        let shape = match outline.read(&event.data) {
            Ok(()) => dialect::shape(&event.data, outline),
            Err(_) => None,
        };
        let Some(Shape { fragments, ends }) = shape else {
            return self.chain.unreadable(&mut self.tallies);
        };
        let body =
            Body::read(&event.data, outline, &|index| fragments.iter().any(|(_, node)| *node == index));
        let cuts = self.chain.judge_texts(&body, &mut self.tallies)?;
        event.replacements = body.replacements(cuts);
        for (name, index) in fragments {
            let node = &outline.nodes()[index];
            match node.text(&event.data) {
                Some(text) => {
                    let text = text.into_owned();
                    let place = node.place.clone();
                    let (channel, start) = self.push(name, &text)?;
                    event.fragments.push(Fragment { channel, start, text, place });
                }
                None => self.chain.unreadable(&mut self.tallies)?,
            }
        }
        ends.iter().try_for_each(|prefix| self.end_channels(prefix))
    }

    /// Holds an event that nobody can read, unless that is forbidden.
    fn take_unread(&mut self, raw: Vec<u8>) -> Result<(), Block> {
        self.chain.unreadable(&mut self.tallies)?;
        let (lines, data) = Default::default();
        let event =
            Event { raw, lines, data, fragments: Vec::new(), replacements: Vec::new(), is_changed: false };
        self.held.push_back(event);
        Ok(())
    }

    /// Judges what stands beside the data: names, comments.
    fn judge_lines(&mut self, lines: &mut [String]) -> Result<bool, Block> {
        let mut is_changed = false;
        for line in lines.iter_mut().filter(|line| !is_name(line)) {
            let mut channel = Channel::default();
            self.chain.judge_fragment(&mut channel, line, true, &mut self.tallies)?;
            if let Some(shown) = channel.let_out(0, line) {
                *line = shown;
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    /// Adds a fragment to its text: which one that is, and where in it.
    fn push(&mut self, name: String, text: &str) -> Result<(usize, usize), Block> {
        let known = self.channels.iter().position(|(own, _, _)| *own == name);
        if known.is_none() && self.channels.len() >= MAX_CHANNELS {
            return Err(self.chain.block_unreadable(&mut self.tallies));
        }
        let index = known.unwrap_or_else(|| {
            let channel = if is_json(&name) { Channel::of_json() } else { Channel::default() };
            self.channels.push((name, channel, Life::Open));
            self.channels.len() - 1
        });
        let (_, channel, life) = &mut self.channels[index];
        if *life == Life::Ended && !text.is_empty() {
            // What goes on after its end could hide a match that spans it.
            self.chain.unreadable(&mut self.tallies)?;
        }
        let start = channel.length();
        self.chain.judge_fragment(channel, text, *life == Life::Ended, &mut self.tallies)?;
        Ok((index, start))
    }

    /// Learns that the texts whose names begin like this are over.
    fn end_channels(&mut self, prefix: &str) -> Result<(), Block> {
        for (name, channel, life) in &mut self.channels {
            if *life == Life::Open && name.starts_with(prefix) {
                *life = Life::Ended;
                self.chain.judge_fragment(channel, "", true, &mut self.tallies)?;
            }
        }
        Ok(())
    }

    /// Lets out every event up to the first that is not judged yet.
    fn release(&mut self, out: &mut Vec<u8>) {
        while let Some(event) = self.held.front() {
            let is_judged = event.fragments.iter().all(|fragment| {
                fragment.start + fragment.text.len() <= self.channels[fragment.channel].1.decided()
            });
            if !is_judged {
                return;
            }
            if let Some(event) = self.held.pop_front() {
                self.held_bytes -= event.raw.len();
                self.write(event, out);
            }
        }
    }

    fn write(&mut self, mut event: Event, out: &mut Vec<u8>) {
        for fragment in event.fragments {
            let channel = &mut self.channels[fragment.channel].1;
            if let Some(shown) = channel.let_out(fragment.start, &fragment.text) {
                event.replacements.push((fragment.place, body::escaped(&shown)));
            }
        }
        if !event.is_changed && event.replacements.is_empty() {
            out.extend_from_slice(&event.raw);
            return;
        }
        for line in event.lines {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        let data = body::spliced(&event.data, event.replacements);
        for line in data.lines() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// Whether the text of this name is JSON: what a tool takes.
fn is_json(name: &str) -> bool {
    name.ends_with("/arguments") || name.ends_with("/partial_json") || name.contains("_call_arguments ")
}

/// Whether a line merely names an event, as the APIs have it: `event: message_start`.
fn is_name(line: &str) -> bool {
    let is_word = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || b" _.".contains(&byte));
    line.strip_prefix("event:").is_some_and(is_word)
}
