//! A stream that moderation services judge on its way: what came is held back until they have judged what it says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use kt_domain::events::{PolicyEvaluation, Verdict};

use crate::policies::StreamTexts;
use crate::reply::{Fill, Refusal};
use crate::stages::safety::{Moderator, Opinion};

/// How much is said before the services are asked, in bytes: a few sentences.
const PORTION: usize = 2000;
/// How much is held back at most before they are asked, in bytes, however little of it is said.
const MAX_HELD: usize = 256 * 1024;

/// What a stream says on its way through moderation services.
pub(crate) struct Moderation {
    moderator: Arc<Moderator>,
    texts: StreamTexts,
    /// What came and was not judged.
    held: Vec<u8>,
    asking: Option<Pin<Box<dyn Future<Output = Opinion> + Send>>>,
    is_over: bool,
    evaluations: Vec<PolicyEvaluation>,
}

impl Moderation {
    pub(crate) fn new(moderator: Moderator) -> Self {
        Self {
            moderator: Arc::new(moderator),
            texts: StreamTexts::default(),
            held: Vec::new(),
            asking: None,
            is_over: false,
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
            if let Some(asking) = &mut self.asking {
                let opinion = ready!(asking.as_mut().poll(cx));
                self.asking = None;
                merge(&mut self.evaluations, opinion.evaluations);
                if let Some(refusal) = opinion.refusal {
                    return Poll::Ready(Err(refusal));
                }
                out.append(&mut self.held);
                return Poll::Ready(Ok(if self.is_over { Fill::End } else { Fill::More }));
            }
            let before = self.held.len();
            let filled = ready!(fill(cx, &mut self.held))?;
            self.texts.feed(&self.held[before..]);
            match filled {
                Fill::Broken => return Poll::Ready(Ok(Fill::Broken)),
                Fill::End => {
                    self.is_over = true;
                    self.texts.finish();
                    self.ask();
                }
                Fill::More if self.texts.waiting() >= PORTION || self.held.len() >= MAX_HELD => self.ask(),
                Fill::More => {}
            }
        }
    }

    /// What each service said of the stream.
    pub(crate) fn evaluations(&mut self) -> Vec<PolicyEvaluation> {
        std::mem::take(&mut self.evaluations)
    }

    fn ask(&mut self) {
        let (moderator, texts) = (Arc::clone(&self.moderator), self.texts.take());
        self.asking = Some(Box::pin(async move { moderator.ask(texts.as_deref()).await }));
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
