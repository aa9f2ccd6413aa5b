//! Signing in: proofs are collected step by step, the one gate says what comes next, and only its consent makes a
//! session.

mod attempts;
mod codes;
mod devices;
mod flow;
mod passkey;
mod proof;
mod replacement;
mod second_factor;
mod unheard;

use kt_domain::actor::{KeyKind, Role, Scope};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, OrganizationId, SessionId, UserId};
use kt_domain::passwords::{Password, unmet_demands};
use kt_domain::secret::SecretDigest;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{Factor, Gate, MembershipState, PasswordReason, Proof, Proofs, Standing, gate};
use kt_store::memberships::{self, Membership};
use kt_store::organizations::{self, Organization};
use kt_store::second_factors;
use kt_store::users::{self, User};
use kt_store::{Source, Tx, audit};
use serde_json::json;

use crate::control::Control;
use crate::passwords::{Asker, Phc};
use crate::sessions::Credentials;
use crate::sso::sso_required;
use attempts::{Attempt, Tried};
pub(crate) use codes::CodeAttempt;
use flow::hold_passkey;
pub(crate) use flow::{Flow, LIFETIME as STEP_LIFETIME, Vouched, hold_voucher};
pub use passkey::PasskeySignIn;
pub use proof::Reproof;
pub(crate) use proof::stronger_proof_required;
pub(crate) use unheard::Unheard;

/// Why somebody is refused who has proven who they are, in the audit log.
const NOT_ADMITTED: &str = "not_admitted";

/// Why somebody is refused whose organization lets nobody in from where they are, in the audit log.
const IP_DENIED: &str = "ip_denied";

/// An e-mail address and a password, given at a door.
pub struct SignIn {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: String,
    /// The organization's identifier, where somebody belongs to several.
    pub organization: Option<String>,
    /// The secret of a device that has signed in before.
    pub device: Option<String>,
    /// Through which door.
    pub door: Door,
}

/// A session was made.
pub struct SignedIn {
    /// The session.
    pub session: SessionId,
    /// What its holder gets of it.
    pub credentials: Credentials,
    /// Who signed in, and where.
    pub whoami: Whoami,
    /// The secret by which this device is known from now on, when it was not before.
    pub new_device: Option<String>,
    /// Whether an older session has ended for it.
    has_ended_another: bool,
}

/// Somebody and their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whoami {
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// What they are in the organization.
    pub role: Role,
    /// Where.
    pub organization: OrganizationId,
    /// The organization's identifier.
    pub organization_identifier: String,
    /// The organization's name.
    pub organization_name: String,
    /// The key by which a program asks in their name.
    pub key: Option<WhoamiKey>,
}

/// The key by which a program asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoamiKey {
    /// The key.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub kind: KeyKind,
    /// How far it reaches.
    pub scope: Scope,
}

/// What a step on the way in came to.
pub enum SignInOutcome {
    /// A session.
    Authenticated(Box<SignedIn>),
    /// A second factor must be shown with this flow token.
    MfaRequired {
        /// Carries the flow on.
        flow_token: String,
        /// The factors that will do.
        methods: Vec<Factor>,
    },
    /// A second factor must be enrolled with this flow token.
    MfaEnrollmentRequired {
        /// Carries the flow on.
        flow_token: String,
    },
    /// The password must be replaced with this flow token.
    PasswordChangeRequired {
        /// Carries the flow on.
        flow_token: String,
        /// Why.
        reason: PasswordReason,
    },
    /// The address must be verified.
    PendingVerification,
    /// An administrator must approve.
    PendingApproval,
}

impl SignInOutcome {
    /// Whether an older session has ended for a new one, which must be committed as a revocation.
    pub(crate) fn has_ended_another(&self) -> bool {
        matches!(self, Self::Authenticated(signed_in) if signed_in.has_ended_another)
    }
}

/// Somebody on the way in, as far as they are known.
pub(crate) struct Entrant {
    pub(crate) user: User,
    pub(crate) membership: Membership,
    pub(crate) organization: Organization,
}

/// A sign-in by password whose password was not looked at yet.
struct Begun {
    /// Whose account it is about, if it is anybody's.
    entrant: Option<Entrant>,
    /// Why its holder is not let in, whatever the password: in the words of the audit log.
    barred: Option<&'static str>,
    attempt: Attempt,
}

impl Control {
    /// Signs in by password. Unknown address, wrong password, locked and suspended account, and one whose organization lets
    /// nobody in from there, get one answer at one cost: [`ErrorKind::Unauthenticated`] with `invalid_credentials`.
    pub async fn sign_in(&self, ctx: &Ctx, sign_in: SignIn) -> Result<SignInOutcome, Error> {
        let email = EmailAddress::parse(&sign_in.email).ok();
        if self.is_unheard(ctx, email.as_ref(), sign_in.device.as_deref()).await? {
            self.unheard.note(ctx);
            return Err(invalid_credentials());
        }
        let begun = self.evenly(self.begin_sign_in(ctx, &sign_in, email.as_ref())).await?;
        let Begun { entrant, barred, attempt } = begun;
        let is_right = self.is_right(ctx, &attempt, &sign_in.password, entrant.as_ref()).await?;
        // A right password of somebody who is not let in must look like a wrong one, in what it counts for too.
        let Some(entrant) = entrant.filter(|_| is_right && barred.is_none()) else {
            let reason = barred.filter(|_| is_right).unwrap_or_else(|| attempt.why_wrong());
            self.evenly(self.fail_attempt(ctx, &attempt, reason)).await?;
            return Err(invalid_credentials());
        };
        self.finish_attempt(ctx, &attempt, &entrant).await?;
        self.look_at_password_again(&entrant, &sign_in.password).await?;
        self.rehash_if_outdated(&entrant.user, &sign_in.password).await?;
        let device = sign_in.device.as_deref().map(SecretDigest::of);
        let flow = Flow::new(&entrant, Proofs::of(Proof::Password), sign_in.door, device);
        self.advance(ctx, entrant, flow).await
    }

    /// Whose password is tried, if it is anybody's, and whether they are let in at all; the try is counted.
    async fn begin_sign_in(
        &self,
        ctx: &Ctx,
        sign_in: &SignIn,
        email: Option<&EmailAddress>,
    ) -> Result<Begun, Error> {
        let entrant = match email {
            Some(email) => self.entrant_by_email(&email.folded(), sign_in.organization.as_deref()).await?,
            None => None,
        };
        let barred = match &entrant {
            Some(entrant) => self.why_barred(ctx, entrant, sign_in.door).await?,
            None => None,
        };
        let whose = match (&entrant, email) {
            (Some(entrant), _) => Tried::Account(entrant),
            (None, Some(email)) => Tried::Address(email.folded()),
            (None, None) => Tried::NoAddress(&sign_in.email),
        };
        let attempt = self.begin_attempt(ctx, &whose, sign_in.device.as_deref()).await?;
        Ok(Begun { entrant, barred, attempt })
    }

    /// Why somebody is not let in here, whatever they prove: they are suspended, or their organization lets nobody in from where
    /// they are (R51).
    async fn why_barred(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        door: Door,
    ) -> Result<Option<&'static str>, Error> {
        if entrant.membership.state == MembershipState::Suspended {
            return Ok(Some(NOT_ADMITTED));
        }
        let decided = self.decide_address(&self.store, ctx, &entrant.organization.id, door.into()).await?;
        Ok(decided.is_err().then_some(IP_DENIED))
    }

    /// Lets the gate say what comes next, and does it.
    pub(crate) async fn advance(
        &self,
        ctx: &Ctx,
        entrant: Entrant,
        flow: Flow,
    ) -> Result<SignInOutcome, Error> {
        self.require_address_of(ctx, &entrant.organization.id, flow.door.into()).await?;
        let tx = self.store.begin_write().await?;
        match self.advance_in(ctx, &tx, &entrant, &flow).await {
            Ok(outcome) => {
                self.commit_step(tx, &outcome).await?;
                Ok(outcome)
            }
            Err(error) => {
                drop(tx);
                self.record_no_entry(ctx, &entrant, &flow).await?;
                Err(error)
            }
        }
    }

    /// Commits a step on the way in: what ends with it is no good from the next request on.
    pub(crate) async fn commit_step(&self, tx: Tx<'_>, outcome: &SignInOutcome) -> Result<(), Error> {
        if outcome.has_ended_another() {
            return self.commit_revocation(tx).await;
        }
        Ok(tx.commit().await?)
    }

    /// Somebody has proven who they are and is not let in, such as a member who is suspended.
    async fn record_no_entry(&self, ctx: &Ctx, entrant: &Entrant, flow: &Flow) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        let failed = self
            .record(ctx, AuditAction::SignIn, entrant.user.id.as_str())
            .with_change(serde_json::Value::Null, json!({ "reason": NOT_ADMITTED, "door": flow.door }))
            .refused();
        audit::append(&tx, Some(&entrant.organization.id), &failed).await?;
        Ok(tx.commit().await?)
    }

    /// The same as part of a transaction. Every way in ends here.
    ///
    /// The standing is read again in the transaction that makes the session: what was taken away meanwhile wins.
    pub(crate) async fn advance_in(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        flow: &Flow,
    ) -> Result<SignInOutcome, Error> {
        if !hold_passkey(tx, flow).await? {
            return Err(invalid_credentials());
        }
        let entrant = self.entrant_again(tx, entrant).await?.ok_or_else(invalid_credentials)?;
        Ok(match self.next_step(ctx, tx, &entrant, &flow.proofs).await? {
            Gate::Refuse => return Err(invalid_credentials()),
            Gate::SsoRequired => return Err(sso_required()),
            Gate::PendingVerification => SignInOutcome::PendingVerification,
            Gate::PendingApproval => SignInOutcome::PendingApproval,
            Gate::MfaRequired(methods) => {
                SignInOutcome::MfaRequired { flow_token: self.carry_on(ctx, tx, flow).await?, methods }
            }
            Gate::MfaEnrollmentRequired => {
                SignInOutcome::MfaEnrollmentRequired { flow_token: self.carry_on(ctx, tx, flow).await? }
            }
            Gate::PasswordChangeRequired(reason) => SignInOutcome::PasswordChangeRequired {
                flow_token: self.carry_on(ctx, tx, flow).await?,
                reason,
            },
            Gate::Admit => SignInOutcome::Authenticated(Box::new(self.admit(ctx, tx, &entrant, flow).await?)),
        })
    }

    /// What the gate says at this moment of somebody who has given these proofs.
    pub(crate) async fn next_step(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        entrant: &Entrant,
        proofs: &Proofs,
    ) -> Result<Gate, Error> {
        let security = self.security_of(source, &entrant.organization.id).await?.value;
        let factors = second_factors::of(source, &entrant.user.id).await?.list();
        let asks = self.asks_of(source, &entrant.membership, &security.mfa).await?;
        let standing = Standing {
            email_verified: entrant.user.email_verified_at.is_some(),
            membership: entrant.membership.state,
            password: password_reason(&entrant.user, &security.password, ctx.now),
            factors: &factors,
            asks: &asks,
            sso_required: self.must_use_sso(source, &entrant.membership, &entrant.user.email).await?,
        };
        Ok(gate(&standing, proofs, ctx.now))
    }

    /// Makes the session. Called by [`Control::advance_in`] alone.
    async fn admit(&self, ctx: &Ctx, tx: &Tx<'_>, entrant: &Entrant, flow: &Flow) -> Result<SignedIn, Error> {
        let has_ended_another = self.make_place_for_session(ctx, tx, &entrant.user.id).await?;
        let (session, credentials) = self.new_session(ctx, tx, entrant, flow).await?;
        if let Some(vouched) = &flow.vouched {
            self.note_vouched(ctx, tx, entrant, &session, vouched).await?;
        }
        memberships::note_sign_in(tx, &entrant.organization.id, &entrant.user.id, ctx.now).await?;
        let new_device = self.remember_device(ctx, tx, entrant, flow.device.as_ref()).await?;
        let mut after = json!({ "door": flow.door, "proofs": flow.proofs, "session": session });
        if let Some(vouched) = &flow.vouched {
            after["identity_provider"] = self.told_of(tx, vouched).await?;
        }
        let record = self
            .record(&acting(ctx, entrant, &session), AuditAction::SignIn, entrant.user.id.as_str())
            .with_change(serde_json::Value::Null, after);
        audit::append(tx, Some(&entrant.organization.id), &record).await?;
        Ok(SignedIn { session, credentials, whoami: whoami(entrant), new_device, has_ended_another })
    }

    /// Somebody by their address, in the organization named, or in the one where they have been active longest.
    pub(crate) async fn entrant_by_email(
        &self,
        folded: &str,
        organization: Option<&str>,
    ) -> Result<Option<Entrant>, Error> {
        let Some(user) = users::by_email(&self.store, folded).await? else { return Ok(None) };
        self.entrant_in(user, organization).await
    }

    /// Somebody in the organization where they have been active longest.
    pub(crate) async fn entrant_of(&self, user: User) -> Result<Option<Entrant>, Error> {
        self.entrant_in(user, None).await
    }

    /// Somebody in the organization named, or in the one where they have been active longest, or else at all.
    async fn entrant_in(&self, user: User, organization: Option<&str>) -> Result<Option<Entrant>, Error> {
        let mut places = memberships::of_user(&self.store, &user.id).await?;
        places.sort_by_key(|place| place.state != MembershipState::Active);
        for membership in places {
            let found = organizations::find(&self.store, &membership.organization).await?;
            if let Some(place) =
                found.filter(|found| organization.is_none_or(|name| found.identifier == name))
            {
                return Ok(Some(Entrant { user, membership, organization: place }));
            }
        }
        Ok(None)
    }

    /// The same person at this moment; `None` when everything that was issued to them has been ended since.
    async fn entrant_again(&self, source: &impl Source, entrant: &Entrant) -> Result<Option<Entrant>, Error> {
        let user = users::find(source, &entrant.user.id).await?;
        let membership = memberships::find(source, &entrant.organization.id, &entrant.user.id).await?;
        Ok(user.zip(membership).filter(|(user, _)| user.epoch == entrant.user.epoch).map(
            |(user, membership)| Entrant { user, membership, organization: entrant.organization.clone() },
        ))
    }

    /// Whether this is the account's password. Costs the same where there is no account, no password, a temporary one whose
    /// time is over, or what was typed is too long for one.
    async fn password_matches(
        &self,
        asker: &Asker,
        typed: &str,
        entrant: Option<&Entrant>,
        now: jiff::Timestamp,
    ) -> Result<bool, Error> {
        let kept = entrant.and_then(|entrant| entrant.user.password.as_ref());
        let stored = match kept.filter(|kept| kept.temporary_until.is_none_or(|until| now < until)) {
            Some(password) => Some(Phc::parse(&password.hash).map_err(Error::internal)?),
            None => None,
        };
        let typed = Password::new(typed).ok();
        let could_be_one = typed.is_some();
        let password = typed.map_or_else(|| Password::new("").map_err(Error::internal), Ok)?;
        Ok(self.hasher.verify(asker, &password, stored.as_ref()).await? && could_be_one)
    }

    /// A password that was chosen under a laxer policy must be replaced, and it can be told only now that it was typed
    /// (R77).
    async fn look_at_password_again(&self, entrant: &Entrant, typed: &str) -> Result<(), Error> {
        let Some(kept) = &entrant.user.password else { return Ok(()) };
        let policy = self.security_of(&self.store, &entrant.organization.id).await?.value.password;
        let password = Password::new(typed).map_err(Error::internal)?;
        let breaks_policy = !unmet_demands(&policy, &password).is_empty();
        if breaks_policy == kept.breaks_policy {
            return Ok(());
        }
        let tx = self.store.begin_write().await?;
        users::note_breach(&tx, &entrant.user.id, &kept.hash, breaks_policy).await?;
        Ok(tx.commit().await?)
    }

    async fn rehash_if_outdated(&self, user: &User, typed: &str) -> Result<(), Error> {
        let Some(kept) = &user.password else { return Ok(()) };
        let stored = Phc::parse(&kept.hash).map_err(Error::internal)?;
        if !self.hasher.needs_rehash(&stored) {
            return Ok(());
        }
        let password = Password::new(typed).map_err(Error::internal)?;
        let new = self.hasher.hash(&Asker::known(&user.id), &password).await?.to_stored();
        let tx = self.store.begin_write().await?;
        users::rehash(&tx, &user.id, &kept.hash, &new).await?;
        Ok(tx.commit().await?)
    }
}

/// Why a password must be replaced at this moment, if it must.
fn password_reason(
    user: &User,
    policy: &kt_domain::passwords::PasswordPolicy,
    now: jiff::Timestamp,
) -> Option<PasswordReason> {
    let password = user.password.as_ref()?;
    if password.temporary_until.is_some() {
        return Some(PasswordReason::Temporary);
    }
    if password.breaks_policy {
        return Some(PasswordReason::Policy);
    }
    policy.has_expired(password.set_at, now).then_some(PasswordReason::Expired)
}

pub(crate) fn whoami(entrant: &Entrant) -> Whoami {
    Whoami {
        user: entrant.user.id.clone(),
        email: entrant.user.email.clone(),
        name: entrant.user.name.clone(),
        role: entrant.membership.role,
        organization: entrant.organization.id.clone(),
        organization_identifier: entrant.organization.identifier.clone(),
        organization_name: entrant.organization.name.clone(),
        key: None,
    }
}

/// The context of somebody who has just come in: records name them and not "anonymous".
fn acting(ctx: &Ctx, entrant: &Entrant, session: &SessionId) -> Ctx {
    let person = kt_domain::actor::Person {
        user: entrant.user.id.clone(),
        organization: entrant.organization.id.clone(),
        role: entrant.membership.role,
        session: session.clone(),
        email: entrant.user.email.clone(),
        authenticated_at: ctx.now,
    };
    Ctx { actor: kt_domain::actor::Actor::Person(person), ..ctx.clone() }
}

/// The one answer to whoever is not let in.
pub(crate) fn invalid_credentials() -> Error {
    let message = "The address or the password is not right, or the account cannot sign in now.";
    Error::new(ErrorKind::Unauthenticated, "invalid_credentials", message)
}
