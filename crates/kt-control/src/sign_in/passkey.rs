//! Signing in with a passkey: alone, as the second factor of a password, and to prove again who one is.

use std::time::Duration;

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::UserId;
use kt_domain::lockout::{CODE_WINDOW, network_of, step_key};
use kt_domain::secret::SecretDigest;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{Factor, Gate, Proofs};
use kt_store::users::{self, User};
use kt_store::{Tx, audit, limits, memberships, passkeys};
use serde_json::{Value, json};
use webauthn_rs::prelude::DiscoverableAuthentication;

use super::flow::step_is_over;
use super::{Entrant, Flow, SignInOutcome};
use crate::control::Control;
use crate::mail::Message;
use crate::post::{circumstances, kept_email};
use crate::second_factors::ceremonies::{ASSERTION, Bond, Ceremony, PasskeyAnswer, PasskeyChallenge, over};
use crate::second_factors::fault::{Fault, Refusal};
use crate::second_factors::passkeys::{KeptPasskey, is_backed_up};
use crate::second_factors::webauthn::{Assertion, base64url, from_base64url};

/// A passkey that is shown at a door.
pub struct PasskeySignIn {
    /// What the browser has answered.
    pub answer: PasskeyAnswer,
    /// The organization's identifier, where somebody belongs to several.
    pub organization: Option<String>,
    /// The secret of a device that has signed in before.
    pub device: Option<String>,
    /// Through which door.
    pub door: Door,
    /// By what the console knows the browser that shows it.
    pub browser: Option<String>,
}

/// How many challenges one network may ask for in a quarter of an hour: a page of sign-in asks for one each time it is
/// opened, and an office opens it in the morning.
const ASKS: i64 = 1000;
const WINDOW: Duration = Duration::from_mins(15);

impl Control {
    /// What a browser needs to sign somebody in with a passkey. With the token of a step that asks for a second factor it
    /// takes that place, and only passkeys of that person are offered; the step stays good, so that a code may be given
    /// instead. Where a `browser` asks, no other can answer (WebAuthn level 3 section 13.4.3): whoever has lured an answer from
    /// somebody cannot sign them in elsewhere.
    pub async fn begin_passkey_sign_in(
        &self,
        ctx: &Ctx,
        flow_token: Option<&str>,
        browser: Option<&str>,
    ) -> Result<PasskeyChallenge, Error> {
        let step = flow_token.map(SecretDigest::of);
        let entrant = match &step {
            Some(step) => Some(self.look_at_step(ctx, step).await?),
            None => None,
        };
        let tx = self.store.begin_write().await?;
        if let Some(network) = ctx.client.ip.map(network_of) {
            let asks = limits::count(&tx, &format!("passkey_asks/{network}"), WINDOW, ctx.now).await?;
            if asks > ASKS {
                return Err(too_many_challenges());
            }
        }
        let of = entrant.as_ref().map(|entrant| &entrant.user.id);
        let bond = Bond::SignIn { step, browser: browser.map(SecretDigest::of) };
        let challenge = self.assertion(ctx, &tx, of, bond).await?;
        tx.commit().await?;
        Ok(challenge)
    }

    /// Signs in with a passkey, or goes on with the sign-in that it was asked for. Whatever is wrong with it is
    /// `invalid_passkey`.
    pub async fn sign_in_by_passkey(
        &self,
        ctx: &Ctx,
        sign_in: PasskeySignIn,
    ) -> Result<SignInOutcome, Error> {
        let ceremony = self.take_ceremony(ctx, ASSERTION, &sign_in.answer).await?;
        let shown_by = sign_in.browser.as_deref().map(SecretDigest::of);
        match ceremony.bond.clone() {
            Bond::SignIn { browser, .. } if browser != shown_by => Err(over()),
            Bond::SignIn { step: None, .. } => self.begin_with_passkey(ctx, ceremony, sign_in).await,
            Bond::SignIn { step: Some(step), .. } => {
                self.go_on_with_passkey(ctx, ceremony, &step, &sign_in.answer).await
            }
            Bond::Step(_) | Bond::Session(_) => Err(over()),
        }
    }

    async fn begin_with_passkey(
        &self,
        ctx: &Ctx,
        ceremony: Ceremony<DiscoverableAuthentication>,
        sign_in: PasskeySignIn,
    ) -> Result<SignInOutcome, Error> {
        let passkey = self.prove_passkey(ctx, ceremony, &sign_in.answer, None).await?;
        let user = users::find(&self.store, &passkey.user).await?.ok_or_else(invalid_passkey)?;
        let entrant = self.entrant_in(user, sign_in.organization.as_deref()).await?;
        let entrant = entrant.ok_or_else(invalid_passkey)?;
        let device = sign_in.device.as_deref().map(SecretDigest::of);
        let flow = Flow::new(&entrant, Proofs::default(), sign_in.door, device).by_passkey(passkey.id);
        self.advance(ctx, entrant, flow).await
    }

    async fn go_on_with_passkey(
        &self,
        ctx: &Ctx,
        ceremony: Ceremony<DiscoverableAuthentication>,
        step: &SecretDigest,
        answer: &PasskeyAnswer,
    ) -> Result<SignInOutcome, Error> {
        let entrant = self.look_at_step(ctx, step).await?;
        let passkey = match self.prove_passkey(ctx, ceremony, answer, Some(&entrant)).await {
            Ok(passkey) => passkey,
            Err(refusal) => {
                self.tell_of_wrong_passkey(ctx, step, &entrant).await?;
                return Err(refusal);
            }
        };
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_step(ctx, &tx, step).await?;
        match self.next_step(ctx, &tx, &entrant, &flow.proofs).await? {
            Gate::MfaRequired(methods) if methods.contains(&Factor::Passkey) => {}
            _ => return Err(step_is_over()),
        }
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow.by_passkey(passkey.id)).await?;
        self.commit_step(tx, &outcome).await?;
        Ok(outcome)
    }

    /// Whoever has the account hears of the first wrong proof at a step, since somebody knows their password (OWASP ASVS 5.0,
    /// 6.3.5).
    async fn tell_of_wrong_passkey(
        &self,
        ctx: &Ctx,
        step: &SecretDigest,
        entrant: &Entrant,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if limits::count(&tx, &step_key(step), CODE_WINDOW, ctx.now).await? == 1 {
            let message = Message::SecondFactorFailed { happened: circumstances(ctx) };
            let recipient = kept_email(&entrant.user.email)?;
            self.enqueue(ctx, &tx, Some(&entrant.organization.id), Some(&recipient), &message).await?;
        }
        Ok(tx.commit().await?)
    }

    /// What a browser needs to prove again who the person is that asks.
    pub async fn begin_passkey_reauthentication(&self, ctx: &Ctx) -> Result<PasskeyChallenge, Error> {
        let person = ctx.require_person()?;
        let tx = self.store.begin_write().await?;
        let bond = Bond::Session(person.session.clone());
        let challenge = self.assertion(ctx, &tx, Some(&person.user), bond).await?;
        tx.commit().await?;
        Ok(challenge)
    }

    /// Refused when the answer is not that of a passkey of somebody signed in, asked for by their very session.
    pub(super) async fn reprove_passkey(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        answer: &PasskeyAnswer,
    ) -> Result<(), Error> {
        let ceremony: Ceremony<DiscoverableAuthentication> =
            self.take_ceremony(ctx, ASSERTION, answer).await?;
        if ceremony.bond != Bond::Session(ctx.require_person()?.session.clone()) {
            return Err(over());
        }
        self.prove_passkey(ctx, ceremony, answer, Some(entrant)).await?;
        Ok(())
    }

    async fn assertion(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        of: Option<&UserId>,
        bond: Bond,
    ) -> Result<PasskeyChallenge, Error> {
        let allowed: Vec<KeptPasskey> = match of {
            Some(user) => passkeys::of(tx, user).await?,
            None => Vec::new(),
        };
        let allowed: Vec<_> = allowed.iter().map(|passkey| passkey.credential.cred_id().clone()).collect();
        let (options, state) = self.relying_party.begin_assertion(&allowed)?;
        self.begin_ceremony(ctx, tx, ASSERTION, bond, &state, options).await
    }

    /// Believes the answer of a passkey, and keeps what it has said; which one it is. What is wrong with one that is refused
    /// stands in the audit log.
    async fn prove_passkey(
        &self,
        ctx: &Ctx,
        ceremony: Ceremony<DiscoverableAuthentication>,
        answer: &PasskeyAnswer,
        expected: Option<&Entrant>,
    ) -> Result<KeptPasskey, Error> {
        let assertion = self.relying_party.read_assertion(&answer.credential);
        let id = assertion.as_ref().map_or_else(|_| claimed_id(answer), Assertion::credential_id);
        let tx = self.store.begin_write().await?;
        let kept: Option<KeptPasskey> = passkeys::by_credential(&tx, &id).await?;
        let holder = match &kept {
            Some(kept) => users::find(&tx, &kept.user).await?,
            None => None,
        };
        let known = kept.zip(holder);
        let believed = match assertion {
            Ok(assertion) => self.believe_assertion(ceremony.state, &assertion, known.as_ref(), expected)?,
            Err(refusal) => Err(refusal),
        };
        match believed {
            Ok(mut used) => {
                used.backed_up = is_backed_up(&used.credential)?;
                passkeys::note_use(&tx, &used, ctx.now).await?;
                tx.commit().await?;
                Ok(used)
            }
            Err(refusal) => {
                self.record_wrong_passkey(ctx, &tx, known.as_ref(), expected, refusal.fault).await?;
                tx.commit().await?;
                Err(refusal.into())
            }
        }
    }

    /// The passkey as it is from now on. Where somebody is known already it must be theirs; where nobody is, it must say
    /// itself whose it is, and be right (WebAuthn level 3 section 7.2 step 6).
    fn believe_assertion(
        &self,
        state: DiscoverableAuthentication,
        assertion: &Assertion,
        known: Option<&(KeptPasskey, User)>,
        expected: Option<&Entrant>,
    ) -> Result<Result<KeptPasskey, Refusal>, Error> {
        let Some((kept, holder)) = known else {
            return Ok(Err(Fault::UnknownPasskey.because("nobody has this passkey")));
        };
        if expected.is_none() && !assertion.names_holder() {
            return Ok(Err(Fault::NoHolder.because("it does not say whose it is")));
        }
        let is_expected = expected.is_none_or(|entrant| entrant.user.id == holder.id);
        if !is_expected || assertion.is_of(holder)? == Some(false) {
            return Ok(Err(Fault::SomebodyElses.because("it is somebody else's")));
        }
        let used = self.relying_party.finish_assertion(state, assertion, kept.credential.clone());
        Ok(used.map(|credential| KeptPasskey { credential, ..kept.clone() }))
    }

    /// A passkey was refused. Where it is known who was to be let in, or whose passkey it is, their organization sees it among
    /// the sign-ins that failed; otherwise the operator does.
    async fn record_wrong_passkey(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        known: Option<&(KeptPasskey, User)>,
        expected: Option<&Entrant>,
        fault: Fault,
    ) -> Result<(), Error> {
        let holder = known.map(|(_, holder)| &holder.id);
        let whom = expected.map(|entrant| &entrant.user.id).or(holder);
        let places = match whom {
            Some(user) => memberships::of_user(tx, user).await?,
            None => Vec::new(),
        };
        let what = json!({ "reason": fault, "passkey": known.map(|(kept, _)| &kept.id) });
        let record = self.record(ctx, AuditAction::SignIn, whom.map_or("unknown passkey", UserId::as_str));
        let record = record.with_change(Value::Null, what).refused();
        audit::append(tx, places.first().map(|place| &place.organization), &record).await?;
        match known {
            Some((kept, _)) if fault == Fault::CounterRegression => self.record_clone(ctx, tx, kept).await,
            _ => Ok(()),
        }
    }

    async fn record_clone(&self, ctx: &Ctx, tx: &Tx<'_>, passkey: &KeptPasskey) -> Result<(), Error> {
        let places = memberships::of_user(tx, &passkey.user).await?;
        let record = self
            .record(ctx, AuditAction::PasskeyCloned, passkey.id.as_str())
            .with_change(Value::Null, json!({ "name": passkey.name, "user": passkey.user }))
            .refused();
        Ok(audit::append(tx, places.first().map(|place| &place.organization), &record).await?)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.fault {
            Fault::UnknownPasskey => unknown_passkey().with_private(refusal.why),
            _ => invalid_passkey().with_private(refusal.why),
        }
    }
}

/// The identifier that an answer claims which cannot be read, or was not asked for by a page of ours.
fn claimed_id(answer: &PasskeyAnswer) -> String {
    let claimed = answer.credential["rawId"].as_str().and_then(from_base64url);
    claimed.map_or_else(String::new, |bytes| base64url(&bytes))
}

/// The one answer to a passkey that lets nobody in.
fn invalid_passkey() -> Error {
    let message = "This passkey does not let anybody in here. Sign in in another way, and look at your passkeys in \
                   the settings.";
    Error::new(ErrorKind::Unauthenticated, "invalid_passkey", message)
}

/// The same, saying that it can be forgotten: the page tells the browser, so that it is not offered again (WebAuthn level 3
/// section 5.1.10.2). An identifier of 16 random bytes and more tells whoever has it nothing else.
fn unknown_passkey() -> Error {
    invalid_passkey().with_detail("unknown_credential", true)
}

fn too_many_challenges() -> Error {
    let message = "Too many sign-ins from your network. Wait a quarter of an hour, then try again.";
    Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message).with_retry_after(WINDOW)
}
