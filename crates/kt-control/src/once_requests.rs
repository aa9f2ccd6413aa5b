//! Requests that are carried out once, however often they are sent: the caller names each with a word of their own
//! (`Idempotency-Key`), and whoever sends it again gets the answer of the first.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Actor;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::secret::SecretDigest;
use kt_store::once_requests;

use crate::control::Control;

/// A request as its caller names it.
#[derive(Clone, Copy, Debug)]
pub struct OnceRequest<'a> {
    /// What is asked for: a word is good for one address.
    pub address: &'a str,
    /// The word.
    pub key: &'a str,
    /// Of everything that is asked: with the same word it must be the same.
    pub fingerprint: SecretDigest,
}

/// Whether a request is to be carried out.
pub enum Begun {
    /// It is, and the outcome to be told with this.
    First(OnceClaim),
    /// It was: this was answered.
    Before(Vec<u8>),
}

/// The right to carry a request out.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct OnceClaim(SecretDigest);

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);

/// A request that is not answered by then was cut off, perhaps behind its change and before its answer was kept.
const CUT_OFF_AFTER: Duration = Duration::from_mins(5);

impl Control {
    /// Whether this request of this caller is the first of its name. A session and a key each have words of their own;
    /// nobody gets an answer that another was given.
    pub async fn begin_once(&self, ctx: &Ctx, request: &OnceRequest<'_>) -> Result<Begun, Error> {
        let digest = digest_of(ctx, request)?;
        let tx = self.store.begin_write().await?;
        if once_requests::begin(&tx, &digest, &request.fingerprint, ctx.now, ctx.now + KEPT).await? {
            tx.commit().await?;
            return Ok(Begun::First(OnceClaim(digest)));
        }
        let before =
            once_requests::find(&tx, &digest, ctx.now).await?.ok_or_else(|| under_way(CUT_OFF_AFTER))?;
        if before.fingerprint != request.fingerprint {
            let message =
                "This `Idempotency-Key` came with another request before. Use a new one for each request.";
            return Err(Error::new(ErrorKind::Invalid, "idempotency_key_reused", message));
        }
        match before.answer {
            Some(sealed) => Ok(Begun::Before(self.seal.open(&place_of(&digest), &sealed)?)),
            None => Err(unanswered(before.begun_at, ctx.now)),
        }
    }

    /// Keeps what was answered, for whoever sends the request again.
    pub async fn finish_once(&self, claim: OnceClaim, answer: &[u8]) -> Result<(), Error> {
        let sealed = self.draw(|random| self.seal.seal(&place_of(&claim.0), answer, random))?;
        let tx = self.store.begin_write().await?;
        once_requests::finish(&tx, &claim.0, &sealed).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets a request that was refused and so changed nothing: sent again, it is carried out anew.
    pub async fn give_up_once(&self, claim: OnceClaim) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        once_requests::give_up(&tx, &claim.0).await?;
        Ok(tx.commit().await?)
    }
}

fn digest_of(ctx: &Ctx, request: &OnceRequest<'_>) -> Result<SecretDigest, Error> {
    let caller = match &ctx.actor {
        Actor::Person(person) => person.session.as_str(),
        Actor::Program(program) => program.key.as_str(),
        Actor::Anonymous | Actor::System(_) => return Err(Error::missing_credentials()),
    };
    let text = serde_json::to_string(&(caller, request.address, request.key)).map_err(Error::internal)?;
    Ok(SecretDigest::of(&text))
}

fn place_of(digest: &SecretDigest) -> String {
    format!("once_requests/{digest}")
}

/// A request whose outcome is not known is never carried out a second time.
fn unanswered(begun_at: Timestamp, now: Timestamp) -> Error {
    let age = now.duration_since(begun_at).unsigned_abs();
    match CUT_OFF_AFTER.checked_sub(age) {
        Some(left) if !left.is_zero() => under_way(left),
        _ => {
            let message = "The request with this `Idempotency-Key` was cut off, and whether it was carried out is not \
                           known. Look at what there is; send it again with a new key if it was not.";
            Error::new(ErrorKind::Conflict, "idempotency_outcome_unknown", message)
        }
    }
}

fn under_way(wait: Duration) -> Error {
    let message = "The request with this `Idempotency-Key` is under way. Send it again in a moment.";
    let wait = wait.min(Duration::from_secs(1));
    Error::new(ErrorKind::Conflict, "idempotency_in_flight", message).with_retry_after(wait)
}
