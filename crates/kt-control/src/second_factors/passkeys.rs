//! Passkeys: added with the browser's help, named, listed, removed.

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, PasskeyId, UserId};
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::{Factor, Proof};
use kt_store::passkeys::{self, Passkey};
use kt_store::users::{self, User};
use kt_store::{Tx, audit, sessions};
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude;

use super::authenticators::name_of;
use super::ceremonies::{Bond, PasskeyAnswer, PasskeyChallenge, REGISTRATION};
use super::fault::{Fault, Refusal};
use super::webauthn::{base64url, handle_of};
use super::{Added, Enrolled, EnrolledAtSignIn};
use crate::control::Control;
use crate::mail::{self, Label};
use crate::organizations::check_name;

/// A passkey, as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasskeyView {
    /// Its identifier.
    pub id: PasskeyId,
    /// What its holder calls it.
    pub name: String,
    /// The product that made it, where that is known.
    pub authenticator: Option<&'static str>,
    /// The number of the product's model.
    pub aaguid: String,
    /// What the authenticator calls it.
    pub credential_id: String,
    /// Whether there is a copy of it in some cloud.
    pub backed_up: bool,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

impl PasskeyView {
    /// What tells its model from others: the product, or its number where the product is not known. `None` where it does not
    /// say.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.authenticator.or((self.aaguid != Uuid::nil().to_string()).then_some(&*self.aaguid))
    }
}

/// The passkeys of somebody, and what a page needs to tell an authenticator which of them still count
/// (`PublicKeyCredential.signalAllAcceptedCredentials`), and how their holder is called (`signalCurrentUserDetails`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkeys {
    /// They, in the order in which they were added.
    pub passkeys: Vec<PasskeyView>,
    /// The name that they belong to.
    pub rp_id: String,
    /// How authenticators know their holder.
    pub user_handle: String,
    /// Their holder's address, under which authenticators list them.
    pub account: String,
    /// Their holder's name.
    pub name: String,
}

/// What is kept of a passkey.
pub(crate) type KeptPasskey = Passkey<prelude::Passkey>;

/// Nobody has more, and lists of them are sent to browsers.
const MOST: usize = 20;

impl Control {
    /// The passkeys of the person that asks.
    pub async fn passkeys(&self, ctx: &Ctx) -> Result<Passkeys, Error> {
        let person = ctx.require_person()?;
        let user = users::find(&self.store, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let kept: Vec<KeptPasskey> = passkeys::of(&self.store, &user.id).await?;
        Ok(Passkeys {
            passkeys: kept.into_iter().map(view).collect(),
            rp_id: self.relying_party.id().to_owned(),
            user_handle: base64url(handle_of(&user)?.as_bytes()),
            account: user.email,
            name: user.name,
        })
    }

    /// What a browser needs to make a passkey for the person that asks.
    pub async fn begin_passkey(&self, ctx: &Ctx) -> Result<PasskeyChallenge, Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let challenge = self.registration(ctx, &tx, &user, Bond::Session(person.session.clone())).await?;
        tx.commit().await?;
        Ok(challenge)
    }

    /// The same for somebody whom the gate lets do nothing but add a second factor. The step stays good, so that they may
    /// add an authenticator app instead.
    pub async fn begin_passkey_at_sign_in(
        &self,
        ctx: &Ctx,
        flow_token: &str,
    ) -> Result<PasskeyChallenge, Error> {
        let step = SecretDigest::of(flow_token);
        let entrant = self.look_at_enrollment_step(ctx, &step).await?;
        let tx = self.store.begin_write().await?;
        let challenge = self.registration(ctx, &tx, &entrant.user, Bond::Step(step)).await?;
        tx.commit().await?;
        Ok(challenge)
    }

    /// Adds the passkey that a browser has made. The session that asks goes on with it; sessions without a second factor
    /// end. With the account's first second factor come its recovery codes. Without a name it is called after the
    /// product that made it, with a number where another is called so. `invalid_passkey` where anything about it is wrong, `passkey_exists` where it is known.
    pub async fn add_passkey(
        &self,
        ctx: &Ctx,
        name: Option<&str>,
        answer: &PasskeyAnswer,
    ) -> Result<(PasskeyView, Enrolled), Error> {
        let person = ctx.require_person()?;
        check_given(name)?;
        let state = self.take_ceremony(ctx, REGISTRATION, answer).await?;
        let Bond::Session(session) = &state.bond else { return Err(super::ceremonies::over()) };
        if session != &person.session {
            return Err(super::ceremonies::over());
        }
        let tx = self.store.begin_write().await?;
        let live = self.hold_own_account(ctx, &tx).await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let made = match self.made_passkey(ctx, &tx, &user, name, &state.state, answer).await? {
            Ok(made) => made,
            Err(refusal) => {
                return self.refuse_registration(ctx, tx, &user.id, &person.organization, refusal).await;
            }
        };
        let added = self.keep_passkey(ctx, &tx, &user, &person.organization, made).await?;
        sessions::note_proofs(&tx, &person.session, &live.session.proofs.and(Proof::Passkey)).await?;
        self.commit_revocation(tx).await?;
        Ok(added)
    }

    /// The same for somebody whom the gate lets do nothing else: they go on with their sign-in.
    pub async fn add_passkey_at_sign_in(
        &self,
        ctx: &Ctx,
        name: Option<&str>,
        answer: &PasskeyAnswer,
    ) -> Result<EnrolledAtSignIn, Error> {
        check_given(name)?;
        let state = self.take_ceremony(ctx, REGISTRATION, answer).await?;
        let Bond::Step(step) = &state.bond else { return Err(super::ceremonies::over()) };
        self.look_at_enrollment_step(ctx, step).await?;
        let tx = self.store.begin_write().await?;
        // Before the passkey is there: with it, nothing is to be added any more.
        let (entrant, flow) = self.take_enrollment_step(ctx, &tx, step).await?;
        let (user, organization) = (&entrant.user, &entrant.organization.id);
        let made = match self.made_passkey(ctx, &tx, user, name, &state.state, answer).await? {
            Ok(made) => made,
            Err(refusal) => return self.refuse_registration(ctx, tx, &user.id, organization, refusal).await,
        };
        let (_, enrolled) = self.keep_passkey(ctx, &tx, user, organization, made).await?;
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow.proven(Proof::Passkey)).await?;
        self.commit_revocation(tx).await?;
        Ok(EnrolledAtSignIn { enrolled, outcome })
    }

    /// Gives one of one's own passkeys another name. [`ErrorKind::NotFound`] for anybody else's, as for none.
    pub async fn rename_passkey(&self, ctx: &Ctx, id: &PasskeyId, name: &str) -> Result<(), Error> {
        let person = ctx.require_person()?;
        check_name("name", name)?;
        let tx = self.store.begin_write().await?;
        let before = passkeys::rename(&tx, &person.user, id, name).await?.ok_or_else(no_passkey)?;
        let record = self
            .record(ctx, AuditAction::PasskeyRenamed, id.as_str())
            .with_change(json!({ "name": before }), json!({ "name": name }));
        audit::append(&tx, Some(&person.organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// Removes one of one's own passkeys. [`ErrorKind::NotFound`] for anybody else's, as for none; `factor_required` where
    /// it is the last factor and one is asked for.
    pub async fn remove_passkey(&self, ctx: &Ctx, id: &PasskeyId) -> Result<(), Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        self.hold_own_account(ctx, &tx).await?;
        let name = passkeys::remove(&tx, &person.user, id).await?.ok_or_else(no_passkey)?;
        self.factor_removed(ctx, &tx, Factor::Passkey, mail::Factor::Passkey(Label::new(&name))).await?;
        self.commit_revocation(tx).await
    }

    async fn registration(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        bond: Bond,
    ) -> Result<PasskeyChallenge, Error> {
        let known: Vec<KeptPasskey> = passkeys::of(tx, &user.id).await?;
        if known.len() >= MOST {
            return Err(too_many());
        }
        let known = known.iter().map(|passkey| passkey.credential.cred_id().clone()).collect();
        let (options, state) = self.relying_party.begin_registration(user, known)?;
        self.begin_ceremony(ctx, tx, REGISTRATION, bond, &state, options).await
    }

    /// The passkey that a browser has made, once it is the account's; or why it is not. How many there are is counted again:
    /// others may have been added since it was begun.
    async fn made_passkey(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        name: Option<&str>,
        state: &prelude::PasskeyRegistration,
        answer: &PasskeyAnswer,
    ) -> Result<Result<KeptPasskey, Refusal>, Error> {
        let made = match self.relying_party.finish_registration(state, &answer.credential) {
            Ok(made) => made,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let others: Vec<KeptPasskey> = passkeys::of(tx, &user.id).await?;
        if others.len() >= MOST {
            return Ok(Err(Fault::TooManyPasskeys.because("others were added meanwhile")));
        }
        let names: Vec<_> = others.iter().map(|other| other.name.as_str()).collect();
        let product = name_of(made.aaguid).unwrap_or("Passkey");
        let name = name.map_or_else(|| distinct_name(product, &names), str::to_owned);
        let passkey = Passkey {
            id: self.draw(|random| PasskeyId::new(ctx.now, random)),
            user: user.id.clone(),
            credential_id: base64url(made.passkey.cred_id()),
            name,
            backed_up: is_backed_up(&made.passkey)?,
            credential: made.passkey,
            aaguid: made.aaguid.to_string(),
            added_at: ctx.now,
            used_at: None,
        };
        let is_new = passkeys::insert(tx, &passkey).await?;
        Ok(if is_new { Ok(passkey) } else { Err(Fault::KnownPasskey.because("somebody has it already")) })
    }

    async fn keep_passkey(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        organization: &OrganizationId,
        made: KeptPasskey,
    ) -> Result<(PasskeyView, Enrolled), Error> {
        let added = Added::Passkey(made.name.clone());
        let enrolled = self.factor_added(ctx, tx, user, organization, added).await?;
        Ok((view(made), enrolled))
    }

    /// Records that a passkey was not added, and why; nothing else of the transaction is kept.
    async fn refuse_registration<T>(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        user: &UserId,
        organization: &OrganizationId,
        refusal: Refusal,
    ) -> Result<T, Error> {
        drop(tx);
        let what = json!({ "factor": Factor::Passkey, "reason": refusal.fault });
        let record = self.record(ctx, AuditAction::FactorAdded, user.as_str());
        let tx = self.store.begin_write().await?;
        audit::append(&tx, Some(organization), &record.with_change(Value::Null, what).refused()).await?;
        tx.commit().await?;
        Err(match refusal.fault {
            Fault::TooManyPasskeys => too_many(),
            Fault::KnownPasskey => passkey_exists(),
            _ => cannot_be_added(refusal.why),
        })
    }
}

/// Whether an authenticator says that there is a copy of it.
pub(crate) fn is_backed_up(passkey: &prelude::Passkey) -> Result<bool, Error> {
    let kept = serde_json::to_value(passkey).map_err(Error::internal)?;
    Ok(kept.pointer("/cred/backup_state").and_then(Value::as_bool).unwrap_or_default())
}

fn view(passkey: KeptPasskey) -> PasskeyView {
    PasskeyView {
        id: passkey.id,
        name: passkey.name,
        authenticator: passkey.aaguid.parse().ok().and_then(name_of),
        aaguid: passkey.aaguid,
        credential_id: passkey.credential_id,
        backed_up: passkey.backed_up,
        added_at: passkey.added_at,
        used_at: passkey.used_at,
    }
}

/// The name of a product, with a number where it is among the names that there are.
fn distinct_name(product: &str, names: &[&str]) -> String {
    let numbered = (2..).map(|number| format!("{product} {number}"));
    let mut all = std::iter::once(product.to_owned()).chain(numbered);
    all.find(|name| !names.contains(&name.as_str())).unwrap_or_default()
}

fn check_given(name: Option<&str>) -> Result<(), Error> {
    name.map_or(Ok(()), |name| check_name("name", name))
}

fn cannot_be_added(why: String) -> Error {
    let message =
        "This passkey cannot be added. Begin again, in this browser and with this page's own button.";
    Error::new(ErrorKind::Invalid, "invalid_passkey", message).with_param("credential").with_private(why)
}

fn no_passkey() -> Error {
    Error::not_found("passkey")
}

fn too_many() -> Error {
    let message = "An account has at most 20 passkeys. Remove one that you do not use.";
    Error::new(ErrorKind::Conflict, "too_many_passkeys", message)
}

fn passkey_exists() -> Error {
    let message = "This passkey is known already. Sign in with it, or let another authenticator make one.";
    Error::new(ErrorKind::Conflict, "passkey_exists", message)
}
