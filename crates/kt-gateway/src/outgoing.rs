//! A stream on its way to the client: passed on as it comes, or read by the policies before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, StatusCode, header};
use kt_domain::events::Phase;

use crate::access_keys::Life;
use crate::contain::{Panicked, contained};
use crate::limits::Denied;
use crate::metered::Meter;
use crate::moderated::Moderation;
use crate::policies::{Chain, StreamJudge, strictest};
use crate::providers::response::AnswerBody;
use crate::record::{Heard, Record};
use crate::reply::{Fill, Refusal, ReplyStream};
use crate::stages::policy_chain;
use crate::stages::safety::{self, Moderator};
use crate::surface::Surface;
use crate::usage::Usage;

/// Where a stream's events come from.
pub(crate) enum Source {
    Provider(Box<AnswerBody>),
    Echo(VecDeque<Vec<u8>>, Usage),
}

/// A source that breaks off where the budgets have no room for more.
struct Metered {
    source: Source,
    /// None where no budget concerns it.
    meter: Option<Box<Meter>>,
}

/// A stream with the record of its request.
pub(crate) struct JudgedStream {
    source: Metered,
    status: StatusCode,
    /// Whose errors the client understands.
    surface: Surface,
    sent: Tail,
    /// Whether what is sent is packed, so that nothing can be written behind it.
    is_encoded: bool,
    record: Option<Record>,
    /// Who reads it before the client does, if anybody.
    reader: Option<Box<Reader>>,
    /// Who is asked about what is left of it, if anybody.
    moderation: Option<Box<Moderation>>,
    /// Is ready once the key that it was asked for with is taken back.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// What reading a stream takes.
struct Reader {
    judge: StreamJudge,
    /// What came from the source at last.
    came: Vec<u8>,
    is_over: bool,
}

/// The last bytes that a client was given of a stream, the latest lowest. Before the first there is nothing unfinished.
struct Tail(u128);

impl Default for Tail {
    fn default() -> Self {
        let mut tail = Self(0);
        tail.add(b"\n\n");
        tail
    }
}

impl Tail {
    fn add(&mut self, piece: &[u8]) {
        for byte in &piece[piece.len().saturating_sub(16)..] {
            self.0 = self.0 << 8 | u128::from(*byte);
        }
    }

    /// Whether the last event is over: an empty line stands behind it (WHATWG HTML section 9.2.5).
    fn is_between_events(&self) -> bool {
        let last = self.0.to_be_bytes();
        [&b"\n\n"[..], b"\r\r", b"\n\r\n"].iter().any(|end| last.ends_with(end))
    }

    /// Whether the last thing said is that the stream is over, as OpenAI's APIs have it.
    fn says_done(&self) -> bool {
        let last = self.0.to_be_bytes();
        let end = last.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
        last[..end].ends_with(b"[DONE]")
    }
}

impl Source {
    fn usage(&self) -> Usage {
        match self {
            Self::Provider(body) => body.usage(),
            Self::Echo(_, usage) => *usage,
        }
    }

    /// How much was heard of an answer that ended with this code.
    fn heard(&self, code: &str) -> Heard {
        match (self, code) {
            // What an echo says is known before it says it.
            (Self::Echo(..), _) | (_, "ok") => Heard::ToTheEnd,
            (_, "client_closed") => Heard::LeftByItsClient,
            _ => Heard::InPart,
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        match self {
            Self::Provider(body) => body.poll_fill(cx, out),
            Self::Echo(events, _) => {
                out.extend(events.pop_front().unwrap_or_default());
                Poll::Ready(if events.is_empty() { Fill::End } else { Fill::More })
            }
        }
    }
}

impl Metered {
    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        if let Some(meter) = &mut self.meter
            && !ready!(meter.poll_covers(self.source.usage().estimated_output(), cx))
        {
            return Poll::Ready(Fill::Broken);
        }
        self.source.poll_fill(cx, out)
    }

    /// Why it broke off, and whether what it gave says so already.
    fn why_broken(&self) -> Option<(Refusal, bool)> {
        if let Some(denied) = self.meter.as_ref().and_then(|meter| meter.denied()) {
            return Some((denied.clone().into(), false));
        }
        let Source::Provider(body) = &self.source else { return None };
        body.fault().map(|fault| (fault.into(), body.told_its_fault()))
    }
}

impl Reader {
    /// Appends what may leave, waiting for more as long as nothing may.
    fn poll_fill(
        &mut self,
        source: &mut Metered,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<Fill, Refusal>> {
        let before = out.len();
        while !self.is_over {
            self.came.clear();
            let filled = ready!(source.poll_fill(cx, &mut self.came));
            if filled == Fill::Broken {
                return Poll::Ready(Ok(Fill::Broken));
            }
            self.is_over = filled == Fill::End;
            let judged = self.judge.feed(&self.came, out);
            let judged = if self.is_over { judged.and_then(|()| self.judge.finish(out)) } else { judged };
            if let Err(block) = judged {
                self.is_over = true;
                return Poll::Ready(Err(block.refusal()));
            }
            if out.len() > before && !self.is_over {
                return Poll::Ready(Ok(Fill::More));
            }
        }
        Poll::Ready(Ok(Fill::End))
    }
}

impl JudgedStream {
    /// A stream that passes as it comes, as far as the budgets have room for it.
    pub(crate) fn new(source: Source, status: StatusCode, surface: Surface, record: Record) -> Self {
        Self {
            source: Metered { source, meter: record.meter().map(Box::new) },
            status,
            surface,
            sent: Tail::default(),
            is_encoded: false,
            record: Some(record),
            reader: None,
            moderation: None,
            revoked: None,
        }
    }

    /// The same, which comes under these headers.
    pub(crate) fn described_by(mut self, headers: &HeaderMap) -> Self {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        self.is_encoded = codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        self
    }

    /// The same, cut off once this life is over (OWASP ASVS 5.0, 7.4.1: what was revoked is of no further use).
    pub(crate) fn for_as_long_as(mut self, life: Option<Life>) -> Self {
        self.revoked = life.map(|life| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(life.over()) });
        self
    }

    /// The same, read on its way by the policies of `chain` that read answers, which hold back `most` bytes.
    pub(crate) fn judged_by(mut self, chain: &Arc<Chain>, most: u64) -> Self {
        self.reader = chain.reads(Phase::Response).then(|| {
            let judge = StreamJudge::new(Arc::clone(chain), most);
            Box::new(Reader { judge, came: Vec::new(), is_over: false })
        });
        self
    }

    /// The same, with what is left of it judged by moderation services, if there are any.
    pub(crate) fn moderated_by(mut self, moderator: Option<Moderator>) -> Self {
        self.moderation = moderator.map(|moderator| Box::new(Moderation::new(moderator)));
        self
    }

    /// As [`ReplyStream::poll_fill`], a defect not contained.
    fn poll_next(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        if self.revoked.as_mut().is_some_and(|revoked| revoked.as_mut().poll(cx).is_ready()) {
            self.revoked = None;
            self.end_broken(&key_revoked(), false, out);
            return Poll::Ready(Fill::Broken);
        }
        let before = out.len();
        let Self { source, reader, moderation, .. } = self;
        let mut read = |cx: &mut Context<'_>, out: &mut Vec<u8>| match reader {
            None => source.poll_fill(cx, out).map(Ok),
            Some(reader) => reader.poll_fill(source, cx, out),
        };
        let judged = match moderation {
            None => ready!(read(cx, out)),
            Some(moderation) => ready!(moderation.poll_fill(cx, out, read)),
        };
        let filled = judged.unwrap_or_else(|refusal| self.end_blocked(&refusal, out));
        self.sent.add(&out[before..]);
        if filled == Fill::Broken
            && let Some((refusal, is_told)) = self.source.why_broken()
        {
            // A word that the policies have not read did not reach the client.
            let is_told = is_told && self.reader.is_none() && self.moderation.is_none();
            self.end_broken(&refusal, is_told, out);
        }
        Poll::Ready(filled)
    }

    fn finish(&mut self, code: &str) {
        if let Some(mut record) = self.record.take() {
            let Metered { source, meter } = &mut self.source;
            record.count_tokens(source.usage(), self.status, source.heard(code));
            if let Some(meter) = meter {
                meter.take_granted().into_iter().for_each(|grant| record.hold(grant));
                record.event().limited_by = meter.denied().and_then(Denied::limited_by).map(Into::into);
            }
            if let Source::Provider(body) = source {
                body.settle(code == "ok");
                if let Some(details) = record.details() {
                    details.answered = body.take_answered();
                }
            }
            if let Some(reader) = &self.reader {
                let evaluations = reader.judge.evaluations();
                let verdict = strictest(&evaluations);
                policy_chain::note(record.event(), evaluations, verdict);
            }
            if let Some(moderation) = &mut self.moderation {
                safety::note(record.event(), moderation.evaluations());
            }
            record.finish(self.status, code);
        }
    }

    /// Ends the answer with an event that says why, or cuts it off where none can be written; what was let out before was
    /// judged. The provider is not heard any further.
    fn end_blocked(&mut self, refusal: &Refusal, out: &mut Vec<u8>) -> Fill {
        if !self.is_encoded {
            self.write_error(refusal, out);
        }
        self.finish(refusal.code);
        if self.is_encoded { Fill::Broken } else { Fill::End }
    }

    /// Tells the client why a stream breaks off, unless it was told that it is over: nobody is to take a part for the
    /// whole. The answer is cut off behind it all the same, for whoever reads no errors. In the midst of an event nothing is
    /// told: whatever ends that one would have the client take the half of it for the whole.
    fn end_broken(&mut self, refusal: &Refusal, is_told: bool, out: &mut Vec<u8>) {
        let can_be_told = self.sent.is_between_events() && !self.is_encoded;
        if can_be_told && !is_told && !self.sent.says_done() {
            self.write_error(refusal, out);
        }
        self.finish(refusal.code);
    }

    fn write_error(&self, refusal: &Refusal, out: &mut Vec<u8>) {
        if let Some(record) = &self.record {
            refusal.write_event(self.surface, &record.request_id().to_string(), out);
        }
    }
}

fn key_revoked() -> Refusal {
    let message = "The key that this answer was asked for with was taken back meanwhile. Ask for a new one.";
    Refusal::authentication(401, "key_revoked", message)
}

impl ReplyStream for JudgedStream {
    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        contained(|| self.poll_next(cx, out)).unwrap_or_else(|Panicked| {
            self.end_broken(&Refusal::internal(), false, out);
            Poll::Ready(Fill::Broken)
        })
    }

    fn delivered(&mut self) {
        self.finish("ok");
    }
}

impl Drop for JudgedStream {
    fn drop(&mut self) {
        if let Some((_, code)) = self.record.as_ref().map(Record::left_undone) {
            self.finish(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_sent_is_known_however_it_came() {
        for (sent, is_between_events, says_done) in [
            ("", true, false),
            ("data: 1\n\n", true, false),
            ("data: 1\r\n\r\n", true, false),
            ("data: 1\r\r", true, false),
            ("data: 1\n", false, false),
            ("data: 1\r\n", false, false),
            ("data: 1", false, false),
            ("data: [DONE]\n\n", true, true),
            ("data: [DONE]\r\n\r\n", true, true),
            ("data: [DONE]", false, true),
            ("data: [DONE]\n\n: bye\n\n", true, false),
        ] {
            for size in 1..=sent.len().max(1) {
                let mut tail = Tail::default();
                sent.as_bytes().chunks(size).for_each(|piece| tail.add(piece));
                assert_eq!(
                    (tail.is_between_events(), tail.says_done()),
                    (is_between_events, says_done),
                    "{sent:?} in pieces of {size}"
                );
            }
        }
    }
}
