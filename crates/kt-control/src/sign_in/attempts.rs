//! Counting tries: before the password is looked at, exactly, whoever tries and through whatever door.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::lockout::{
    Count, Counts, DEPLOYMENT, DEPLOYMENT_LIMIT, Lane, LockoutSettings, SPREAD, account_at_network_key,
    counts, network_of, spread_key,
};
use kt_domain::secret::SecretDigest;
use kt_store::{Tx, audit, limits, organizations, users};
use serde_json::json;

use super::Entrant;
use crate::control::Control;
use crate::mail::Message;
use crate::passwords::Asker;
use crate::post::{circumstances, kept_email};

/// A right password after so many wrong ones is told to its holder: somebody else may have found it (OWASP ASVS 5.0,
/// 6.3.5).
const WORTH_TELLING: i64 = 5;

/// Whose password somebody tries.
pub(super) enum Tried<'a> {
    /// Somebody's.
    Account(&'a Entrant),
    /// That of an address that nobody has.
    Address(String),
    /// What was typed is no address: passwords are, by mistake, and anything else.
    NoAddress(&'a str),
}

impl Tried<'_> {
    fn entrant(&self) -> Option<&Entrant> {
        match self {
            Self::Account(entrant) => Some(entrant),
            Self::Address(_) | Self::NoAddress(_) => None,
        }
    }

    /// What it is counted by, which has no more than the length of an address.
    fn counted_by(&self) -> String {
        match self {
            Self::Account(entrant) => entrant.user.id.to_string(),
            Self::Address(folded) => folded.clone(),
            Self::NoAddress(typed) => SecretDigest::of(typed).to_string(),
        }
    }

    /// What the audit log says of it. It keeps no digest of what may be a password: that could be guessed at for ever.
    fn recorded_as(&self) -> String {
        match self {
            Self::Account(_) | Self::Address(_) => self.counted_by(),
            Self::NoAddress(_) => "no address".to_owned(),
        }
    }
}

/// A try that was counted.
pub(super) struct Attempt {
    /// Whether the password is listened to at all.
    is_heard: bool,
    /// Whether it is worth a hash. A network that has had its tries is refused without one, whoever's account it tries, and
    /// however many there are.
    is_checked: bool,
    /// Whose place the hash takes.
    asker: Asker,
    /// Everything that it counts for.
    counts: Vec<Count>,
    /// How many of them were raised, the first ones.
    raised: usize,
    /// The counts that this very try has brought to their limit.
    locked: Vec<Count>,
    /// Whether it is the first at this account from its network.
    is_first_here: bool,
    settings: LockoutSettings,
    /// Whose audit log hears of it: the account's, and where there is no account, that of the only one there is.
    organization: Option<OrganizationId>,
    /// The account's id, or the address that was typed, if it was one.
    subject: String,
    /// The holder's address, where there is an account.
    address: Option<String>,
}

impl Attempt {
    /// Why its password was not the right one, in the audit log.
    pub(super) fn why_wrong(&self) -> &'static str {
        if self.is_heard { "wrong_password" } else { "locked" }
    }
}

impl Control {
    /// Counts a try at a sign-in against everything that it counts for. `device` is the secret of a device, which may have
    /// signed in before.
    pub(super) async fn begin_attempt(
        &self,
        ctx: &Ctx,
        whose: &Tried<'_>,
        device: Option<&str>,
    ) -> Result<Attempt, Error> {
        let tx = self.store.begin_write().await?;
        let digest = device.map(SecretDigest::of);
        let lane = match (whose.entrant(), &digest) {
            (Some(entrant), Some(digest))
                if users::recognize_device(&tx, &entrant.user.id, &digest.to_string(), ctx.now).await? =>
            {
                Lane::Device(digest)
            }
            _ => Lane::Stranger,
        };
        self.count_attempt(ctx, tx, whose, lane).await
    }

    /// Counts a try of somebody who is signed in: what strangers have done to the account does not stop them.
    pub(super) async fn begin_reproof(&self, ctx: &Ctx, entrant: &Entrant) -> Result<Attempt, Error> {
        let tx = self.store.begin_write().await?;
        self.count_attempt(ctx, tx, &Tried::Account(entrant), Lane::SignedIn).await
    }

    /// Counting comes before the password is looked at, so that parallel tries cannot outrun it.
    async fn count_attempt(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        whose: &Tried<'_>,
        lane: Lane<'_>,
    ) -> Result<Attempt, Error> {
        let entrant = whose.entrant();
        let settings = match entrant {
            Some(entrant) => self.security_of(&tx, &entrant.organization.id).await?.value.lockout,
            None => self.deployment.lockout.settings(),
        };
        let account = whose.counted_by();
        let asker = match (lane, entrant) {
            (Lane::Device(_) | Lane::SignedIn, Some(entrant)) => Asker::known(&entrant.user.id),
            _ => Asker::stranger(ctx.client.ip),
        };
        let Counts { deciding, others } = counts(&settings, &account, lane, ctx.client.ip);
        let here = ctx.client.ip.map(|ip| account_at_network_key(&account, network_of(ip)));
        let (mut raised, mut locked, mut is_first_here, mut spent) = (0, Vec::new(), false, None);
        for count in deciding.iter().chain(&others) {
            let window = self.lockout_for(count, &settings).window;
            let tries = limits::count(&tx, &count.key, window.0, ctx.now).await?;
            raised += 1;
            if tries == i64::from(count.limit) {
                locked.push(count.clone());
            }
            is_first_here |= tries == 1 && here.as_ref() == Some(&count.key);
            if tries > i64::from(count.limit) {
                spent = Some(count).filter(|_| raised <= deciding.len());
                break;
            }
        }
        let (is_heard, is_checked) = (spent.is_none(), !spent.is_some_and(Count::is_of_network));
        let only = organizations::only(&tx).await?;
        tx.commit().await?;
        let subject = whose.recorded_as();
        let organization = entrant.map(|entrant| entrant.organization.id.clone()).or(only);
        let address = entrant.map(|entrant| entrant.user.email.clone());
        let counts = [deciding, others].concat();
        Ok(Attempt {
            is_heard,
            is_checked,
            asker,
            counts,
            raised,
            locked,
            is_first_here,
            settings,
            organization,
            subject,
            address,
        })
    }

    /// By which settings something is counted that counts for an account with these. What spans accounts is counted by those
    /// of the deployment: no organization's shut out another's people, and its lock tells nothing of whose account was tried.
    fn lockout_for(&self, count: &Count, of_account: &LockoutSettings) -> LockoutSettings {
        if count.is_of_account() { of_account.clone() } else { self.deployment.lockout.settings() }
    }

    /// Whether this is the account's password, and listened to. A try whose password could not be checked, since there was no
    /// place for its hash, does not count: nobody has learnt anything by it, and its holder tries again.
    pub(super) async fn is_right(
        &self,
        ctx: &Ctx,
        attempt: &Attempt,
        typed: &str,
        entrant: Option<&Entrant>,
    ) -> Result<bool, Error> {
        if !attempt.is_checked {
            return Ok(false);
        }
        match self.password_matches(&attempt.asker, typed, entrant, ctx.now).await {
            Ok(matches) => Ok(matches && attempt.is_heard),
            Err(error) => {
                self.forget_attempt(attempt).await?;
                Err(error)
            }
        }
    }

    async fn forget_attempt(&self, attempt: &Attempt) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        for count in attempt.counts.iter().take(attempt.raised) {
            limits::take_back(&tx, &count.key).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The try came to nothing, for a reason that the audit log has: it stays counted, is recorded, and a limit that it reached
    /// holds for the lock's duration.
    pub(super) async fn fail_attempt(&self, ctx: &Ctx, attempt: &Attempt, reason: &str) -> Result<(), Error> {
        if !attempt.is_checked {
            self.unheard.note(ctx);
            return Ok(());
        }
        let tx = self.store.begin_write().await?;
        for count in &attempt.locked {
            let duration = self.lockout_for(count, &attempt.settings).duration;
            limits::extend(&tx, &count.key, ctx.now + duration.0).await?;
        }
        let organization = attempt.organization.as_ref();
        let failed = self
            .record(ctx, AuditAction::SignIn, attempt.subject.clone())
            .with_change(serde_json::Value::Null, json!({ "reason": reason }))
            .refused();
        audit::append(&tx, organization, &failed).await?;
        self.look_for_stuffing(ctx, &tx, attempt).await?;
        // A network that has had its tries locks nobody's account.
        if let Some(count) = attempt.locked.iter().find(|count| count.is_of_account()) {
            let until = ctx.now + attempt.settings.duration.0;
            let locked = self
                .record(ctx, AuditAction::AccountLocked, attempt.subject.clone())
                .with_change(serde_json::Value::Null, json!({ "until": until.to_string() }));
            audit::append(&tx, organization, &locked).await?;
            let recipient = attempt.address.as_deref().map(kept_email).transpose()?;
            let message = Message::LockedOut { failures: count.limit, until, last: circumstances(ctx) };
            self.enqueue(ctx, &tx, organization, recipient.as_ref(), &message).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Records what looks like a list of stolen passwords that is tried: one network that fails at account after account, or
    /// failures everywhere. Each is told once in the window.
    async fn look_for_stuffing(&self, ctx: &Ctx, tx: &Tx<'_>, attempt: &Attempt) -> Result<(), Error> {
        let mut suspected = Vec::new();
        if let Some(network) = ctx.client.ip.map(network_of).filter(|_| attempt.is_first_here) {
            let window = attempt.settings.window.0;
            let accounts = limits::count(tx, &spread_key(network), window, ctx.now).await?;
            if accounts == SPREAD {
                suspected.push((network.to_string(), json!({ "accounts": accounts })));
            }
        }
        if attempt.locked.iter().any(|count| count.key == DEPLOYMENT) {
            suspected.push(("deployment".to_owned(), json!({ "failures": DEPLOYMENT_LIMIT })));
        }
        for (source, what) in suspected {
            let record = self
                .record(ctx, AuditAction::StuffingSuspected, source)
                .with_change(serde_json::Value::Null, what)
                .refused();
            audit::append(tx, attempt.organization.as_ref(), &record).await?;
        }
        Ok(())
    }

    /// The try was right: the account's counts start anew. What a whole network has done wrong stays counted,
    /// and only that: an office of many people behind one address may sign in as often as it likes.
    pub(super) async fn finish_attempt(
        &self,
        ctx: &Ctx,
        attempt: &Attempt,
        entrant: &Entrant,
    ) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        let mut failures = 0;
        for (place, count) in attempt.counts.iter().enumerate() {
            let was_raised = place < attempt.raised;
            if count.is_of_account() {
                let others = limits::current(&tx, &count.key, ctx.now).await? - i64::from(was_raised);
                failures = failures.max(others);
                limits::reset(&tx, &count.key).await?;
            } else if was_raised {
                limits::take_back(&tx, &count.key).await?;
            }
        }
        if failures >= WORTH_TELLING {
            let failures = u32::try_from(failures).unwrap_or(u32::MAX);
            let message = Message::SignInAfterFailures { failures, happened: circumstances(ctx) };
            let organization = Some(&entrant.organization.id);
            self.enqueue(ctx, &tx, organization, Some(&kept_email(&entrant.user.email)?), &message).await?;
        }
        Ok(tx.commit().await?)
    }
}
