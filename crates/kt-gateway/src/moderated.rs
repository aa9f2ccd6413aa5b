//! A stream that moderation services judge on its way: what came is held back until they have judged what it says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use kt_domain::events::{PolicyEvaluation, Verdict};

use crate::policies::{Portion, StreamTexts};
use crate::reply::{Fill, Refusal};
use crate::stages::safety::{Moderator, Opinion};

/// What a stream says on its way through moderation services.
pub(crate) struct Moderation {
    moderator: Arc<Moderator>,
    texts: StreamTexts,
    /// What came and was not judged.
    held: Vec<u8>,
    asking: Option<Asking>,
    /// Whether nothing more will come.
    is_over: bool,
    /// Whether the services were asked about the last of it.
    is_last: bool,
    evaluations: Vec<PolicyEvaluation>,
}

/// What the services are asked about.
struct Asking {
    opinion: Pin<Box<dyn Future<Output = Opinion> + Send>>,
    /// How much of what is held it is.
    length: usize,
}

impl Moderation {
    pub(crate) fn new(moderator: Moderator) -> Self {
        Self {
            moderator: Arc::new(moderator),
            texts: StreamTexts::default(),
            held: Vec::new(),
            asking: None,
            is_over: false,
            is_last: false,
            evaluations: Vec::new(),
        }
    }

    /// Appends what may leave of what `fill` gives, waiting for more and for the services as long as nothing may.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        mut fill: impl FnMut(&mut Context<'_>, &mut Vec<u8>) -> Poll<Result<Fill, Refusal>>,
    ) -> Poll<Result<Fill, Refusal>> {
        loop {
            if let Some(Asking { opinion, length }) = &mut self.asking {
                let (opinion, length) = (ready!(opinion.as_mut().poll(cx)), *length);
                self.asking = None;
                merge(&mut self.evaluations, opinion.evaluations);
                if let Some(refusal) = opinion.refusal {
                    return Poll::Ready(Err(refusal));
                }
                out.extend(self.held.drain(..length));
                return Poll::Ready(Ok(if self.is_last { Fill::End } else { Fill::More }));
            }
            if let Some(portion) = self.next_portion() {
                self.ask(portion);
                continue;
            }
            let before = self.held.len();
            match ready!(fill(cx, &mut self.held))? {
                Fill::Broken => return Poll::Ready(Ok(Fill::Broken)),
                Fill::End => self.is_over = true,
                Fill::More => {}
            }
            self.texts.feed(&self.held[before..]);
        }
    }

    /// What each service said of the stream.
    pub(crate) fn evaluations(&mut self) -> Vec<PolicyEvaluation> {
        std::mem::take(&mut self.evaluations)
    }

    fn next_portion(&mut self) -> Option<Portion> {
        let portion = self.texts.next();
        if portion.is_some() || !self.is_over {
            return portion;
        }
        self.is_last = true;
        Some(self.texts.rest())
    }

    fn ask(&mut self, Portion { said, length }: Portion) {
        let moderator = Arc::clone(&self.moderator);
        let opinion = Box::pin(async move { moderator.ask(&said).await });
        self.asking = Some(Asking { opinion, length });
    }
}

/// Adds what was said of one portion to what was said of those before: the strictest word stands.
fn merge(known: &mut Vec<PolicyEvaluation>, said: Vec<PolicyEvaluation>) {
    for own in said {
        match known.iter_mut().find(|earlier| earlier.kind == own.kind) {
            None => known.push(own),
            Some(earlier) => {
                earlier.not_scanned |= own.not_scanned;
                if own.verdict == Verdict::Block {
                    earlier.verdict = own.verdict;
                }
                earlier.rules.extend(own.rules);
                earlier.rules.sort_unstable();
                earlier.rules.dedup();
            }
        }
    }
}
