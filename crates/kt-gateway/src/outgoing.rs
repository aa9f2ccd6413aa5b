//! A stream on its way to the client: passed on as it comes, or read by the policies before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use kt_domain::events::Phase;

use crate::policies::{Block, Chain, StreamJudge, strictest};
use crate::providers::response::AnswerBody;
use crate::record::Record;
use crate::reply::{Fill, ReplyStream};
use crate::stages::policy_chain;
use crate::usage::Usage;

/// Where a stream's events come from.
pub(crate) enum Source {
    Provider(Box<AnswerBody>),
    Echo(VecDeque<Vec<u8>>, Usage),
}

/// A stream with the record of its request.
pub(crate) struct JudgedStream {
    source: Source,
    status: StatusCode,
    record: Option<Record>,
    /// Who reads it before the client does, if anybody.
    reader: Option<Box<Reader>>,
}

/// What reading a stream takes.
struct Reader {
    judge: StreamJudge,
    /// What came from the source at last.
    came: Vec<u8>,
    is_over: bool,
}

impl Source {
    fn usage(&self) -> Usage {
        match self {
            Self::Provider(body) => body.usage(),
            Self::Echo(_, usage) => *usage,
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

impl Reader {
    /// Appends what may leave, waiting for more as long as nothing may.
    fn poll_fill(
        &mut self,
        source: &mut Source,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<Fill, Block>> {
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
                return Poll::Ready(Err(block));
            }
            if out.len() > before && !self.is_over {
                return Poll::Ready(Ok(Fill::More));
            }
        }
        Poll::Ready(Ok(Fill::End))
    }
}

impl JudgedStream {
    /// A stream that the policies of `chain` read on its way, if any of them reads answers, holding back `most` bytes.
    pub(crate) fn new(
        source: Source,
        status: StatusCode,
        record: Record,
        chain: &Arc<Chain>,
        most: u64,
    ) -> Self {
        let reader = chain.judges(Phase::Response).then(|| {
            let judge = StreamJudge::new(Arc::clone(chain), most);
            Box::new(Reader { judge, came: Vec::new(), is_over: false })
        });
        Self { source, status, record: Some(record), reader }
    }

    fn finish(&mut self, code: &str) {
        if let Some(mut record) = self.record.take() {
            record.count_tokens(self.source.usage(), self.status, code == "ok");
            if let Some(reader) = &self.reader {
                let evaluations = reader.judge.evaluations();
                let verdict = strictest(&evaluations);
                policy_chain::note(record.event(), evaluations, verdict);
            }
            record.finish(self.status, code);
        }
    }

    /// Ends the answer with an event that says why; what was let out before was judged. The provider is not heard any
    /// further.
    fn end_blocked(&mut self, block: &Block, out: &mut Vec<u8>) -> Fill {
        let refusal = block.refusal();
        if let (Some(reader), Some(record)) = (&self.reader, &self.record) {
            reader.judge.write_refusal(&refusal, &record.request_id().to_string(), out);
        }
        self.finish(refusal.code);
        Fill::End
    }
}

impl ReplyStream for JudgedStream {
    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill> {
        let filled = match &mut self.reader {
            None => ready!(self.source.poll_fill(cx, out)),
            Some(reader) => match ready!(reader.poll_fill(&mut self.source, cx, out)) {
                Ok(filled) => filled,
                Err(block) => self.end_blocked(&block, out),
            },
        };
        if filled == Fill::Broken
            && let Source::Provider(body) = &self.source
            && let Some(fault) = body.fault()
        {
            self.finish(fault.code());
        }
        Poll::Ready(filled)
    }

    fn delivered(&mut self) {
        self.finish("ok");
    }
}

impl Drop for JudgedStream {
    fn drop(&mut self) {
        self.finish("client_closed");
    }
}
