//! Temporary passwords: drawn for somebody by an administrator, good for a sign-in that ends at the choice of another
//! (STANDARDS: FLOW-12; ASVS 5.0, 6.4.1).

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::audit::{AuditAction, AuditActor, AuditRecord};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::passwords::Password;
use kt_domain::random::Random;
use kt_domain::sign_in::MembershipState;
use kt_store::users::{self, User};
use kt_store::{Tx, audit, memberships};
use serde_json::{Value, json};

use super::Asker;
use crate::authenticate::require_operator;
use crate::control::Control;
use crate::mail::{Label, Message};
use crate::operator::chains_of;
use crate::post::kept_email;

/// How long a temporary password can be used.
const LIFETIME: Duration = Duration::from_hours(72);

/// Signs that are not mistaken for each other when they are read out.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Four groups of five: 99 bits.
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// A temporary password, shown once.
#[derive(Clone)]
pub struct TemporaryPassword {
    /// Its text.
    pub password: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// One that was drawn and not set yet.
pub(crate) struct Drawn {
    pub(crate) shown: TemporaryPassword,
    pub(crate) kept: users::Password,
}

impl Control {
    /// Sets a temporary password for another member of no higher rank. Everything issued to them is ended, and they are
    /// told by mail, which does not hold it. Only a person can do it: a key that has leaked must not become somebody.
    pub async fn set_temporary_password(&self, ctx: &Ctx, user: &UserId) -> Result<TemporaryPassword, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        if ctx.require_person()?.user == *user {
            return Err(own_password());
        }
        let drawn = self.new_temporary(ctx).await?;
        let tx = self.store.begin_write().await?;
        let place = memberships::find(&tx, organization, user).await?;
        let place = place.filter(|place| place.state != MembershipState::PendingApproval);
        let place = place.ok_or_else(|| Error::not_found("member"))?;
        ctx.require_rank(place.role)?;
        let user = users::find(&tx, user).await?.ok_or_else(|| Error::not_found("member"))?;
        if self.must_use_sso(&tx, &place, &user.email).await? {
            return Err(useless());
        }
        let temporary = self.set_temporary(ctx, &tx, organization, &user, drawn).await?;
        let by = Label::new(&AuditActor::of(&ctx.actor).name);
        let message = Message::TemporaryPasswordSet { by, at: ctx.now, expires_at: temporary.expires_at };
        self.enqueue(ctx, &tx, Some(organization), Some(&kept_email(&user.email)?), &message).await?;
        self.commit_revocation(tx).await?;
        Ok(temporary)
    }

    /// The same by the operator, for somebody whom no administrator can help; each of their organizations records it, or the
    /// deployment where there is none.
    pub async fn give_temporary_password(&self, ctx: &Ctx, email: &str) -> Result<TemporaryPassword, Error> {
        require_operator(ctx)?;
        let user = self.user_called(email).await?;
        let drawn = self.new_temporary(ctx).await?;
        let tx = self.store.begin_write().await?;
        if !users::set_password(&tx, &user.id, user.epoch, &drawn.kept).await? {
            return Err(Error::internal("the password changed while another was drawn"));
        }
        for chain in chains_of(&tx, &user).await? {
            let record = self.temporary_record(ctx, &user, &drawn);
            audit::append(&tx, chain.as_ref(), &record).await?;
        }
        let by = Label::new(&AuditActor::of(&ctx.actor).name);
        let message = Message::TemporaryPasswordSet { by, at: ctx.now, expires_at: drawn.shown.expires_at };
        self.enqueue(ctx, &tx, None, Some(&kept_email(&user.email)?), &message).await?;
        self.commit_revocation(tx).await?;
        Ok(drawn.shown)
    }

    fn temporary_record(&self, ctx: &Ctx, user: &User, drawn: &Drawn) -> AuditRecord {
        self.record(ctx, AuditAction::TemporaryPasswordSet, user.id.as_str())
            .with_change(Value::Null, json!({ "until": drawn.shown.expires_at.to_string() }))
    }

    /// Draws one, outside any transaction: it has to be hashed.
    pub(crate) async fn new_temporary(&self, ctx: &Ctx) -> Result<Drawn, Error> {
        let text = self.draw(draw);
        let password = Password::new(&text).map_err(Error::internal)?;
        let expires_at = ctx.now + LIFETIME;
        let kept = users::Password {
            hash: self.hasher.hash(&Asker::of(ctx), &password).await?.to_stored(),
            set_at: ctx.now,
            temporary_until: Some(expires_at),
            breaks_policy: false,
        };
        Ok(Drawn { shown: TemporaryPassword { password: text, expires_at }, kept })
    }

    /// Sets one that was drawn. Refused for an account that belongs to another organization too: whoever sets its
    /// password could act there.
    pub(crate) async fn set_temporary(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &User,
        drawn: Drawn,
    ) -> Result<TemporaryPassword, Error> {
        if memberships::of_user(tx, &user.id).await?.len() > 1 {
            return Err(belongs_elsewhere());
        }
        if !users::set_password(tx, &user.id, user.epoch, &drawn.kept).await? {
            return Err(Error::internal("the password changed within the transaction"));
        }
        audit::append(tx, Some(organization), &self.temporary_record(ctx, user, &drawn)).await?;
        Ok(drawn.shown)
    }
}

fn draw(random: &mut Random) -> String {
    let group = |random: &mut Random| -> String { (0..GROUP).map(|_| sign(random)).collect() };
    let groups: Vec<String> = (0..GROUPS).map(|_| group(random)).collect();
    groups.join("-")
}

fn sign(random: &mut Random) -> char {
    // Of 2^64 numbers, 31 more or less for one sign make no difference.
    let at = random.next_u64() % ALPHABET.len() as u64;
    char::from(ALPHABET[usize::try_from(at).unwrap_or_default()])
}

fn useless() -> Error {
    let message =
        "They can sign in through your identity provider alone, so a password would get them nowhere.";
    Error::new(ErrorKind::Conflict, "sso_required", message)
}

fn belongs_elsewhere() -> Error {
    let message = "This account belongs to another organization too, so its password is its holder's alone. They can \
                   use the reset link on the sign-in page.";
    Error::new(ErrorKind::Conflict, "belongs_elsewhere", message)
}

fn own_password() -> Error {
    let message =
        "This is your own account. Change your password with the present one, by `POST /v1/me/password`.";
    Error::new(ErrorKind::Conflict, "own_password", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_password_can_be_read_out_and_never_comes_twice() {
        let mut random = Random::seeded(1);
        let drawn: std::collections::HashSet<String> = (0..1000).map(|_| draw(&mut random)).collect();
        assert_eq!(drawn.len(), 1000);
        for text in drawn {
            assert_eq!(text.len(), 23, "{text}");
            assert!(text.bytes().all(|sign| sign == b'-' || ALPHABET.contains(&sign)), "{text}");
        }
    }
}
