//! The device grant (RFC 8628): a device asks, a signed-in person approves, the device fetches its session.
//!
//! Three things that work once stand behind it: what the person types finds what the device waits for, deciding uses up
//! the first, and fetching uses up the decision and the wait in the transaction that makes the session.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::device::{INTERVAL, LIFETIME, UserCode};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::SessionId;
use kt_domain::lockout::network_of;
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sessions::{Door, SessionSettings};
use kt_store::once::{self, OneTime};
use kt_store::{Tx, audit, limits, sessions};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::control::Control;
use crate::sign_in::{Flow, SignInOutcome, hold_voucher};

/// What the person types. It says what asks, and for which wait it stands.
const USER_CODE: &str = "device_user_code";

/// What the device holds.
const WAIT: &str = "device_wait";

/// What the person has decided, found by what the device holds.
const DECISION: &str = "device_decision";

/// How many devices one network may bring in a quarter of an hour, and how many codes one person may try.
const ASKS: i64 = 30;
const TRIES: i64 = 20;
const WINDOW: Duration = Duration::from_mins(15);

/// What a device gets that asks.
pub struct DeviceCodes {
    /// By what the device fetches its session; it shows it to nobody.
    pub device_code: Token,
    /// What it shows.
    pub user_code: UserCode,
}

/// A device that waits, as whoever decides sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingDevice {
    /// From where it asks.
    pub ip: Option<IpAddr>,
    /// What it calls itself.
    pub user_agent: Option<String>,
    /// Since when it waits.
    pub asked_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Asked {
    device: WaitingDevice,
    /// The digest of what the device holds.
    wait: String,
}

#[derive(Serialize, Deserialize)]
enum Decision {
    Denied,
    Approved {
        flow: Box<Flow>,
        /// The session that has approved. What ends it ends its approvals.
        by: SessionId,
    },
}

impl Control {
    /// A device wants to sign in. Nothing is decided by that.
    pub async fn ask_for_device(&self, ctx: &Ctx) -> Result<DeviceCodes, Error> {
        let tx = self.store.begin_write().await?;
        if let Some(network) = ctx.client.ip.map(network_of) {
            within(&tx, &format!("device_asks/{network}"), ASKS, ctx.now).await?;
        }
        let codes = DeviceCodes { device_code: self.new_token(), user_code: self.draw(UserCode::draw) };
        let wait = codes.device_code.digest();
        let device =
            WaitingDevice { ip: ctx.client.ip, user_agent: ctx.client.user_agent.clone(), asked_at: ctx.now };
        let asked = Asked { device, wait: wait.to_string() };
        once::issue(&tx, &good_for_now(ctx, codes.user_code.digest(), USER_CODE, &asked.wait, &asked))
            .await?;
        once::issue(&tx, &good_for_now(ctx, wait, WAIT, &asked.wait, &())).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// The device that shows this code, for whoever is to decide about it.
    pub async fn waiting_device(&self, ctx: &Ctx, user_code: &str) -> Result<WaitingDevice, Error> {
        let person = ctx.require_person()?;
        let code = parse(user_code)?;
        let tx = self.store.begin_write().await?;
        within(&tx, &format!("device_tries/{}", person.user), TRIES, ctx.now).await?;
        tx.commit().await?;
        let asked = once::peek::<Asked>(&self.store, USER_CODE, &code.digest(), ctx.now).await?;
        Ok(asked.ok_or_else(|| Error::not_found("code"))?.data.device)
    }

    /// How long the session of a device lasts that whoever asks lets in.
    pub async fn device_session(&self, ctx: &Ctx) -> Result<SessionSettings, Error> {
        let organization = &ctx.require_person()?.organization;
        Ok(self.security_of(&self.store, organization).await?.value.session)
    }

    /// Lets the device that shows this code sign in as the person that asks, with the proofs of their own session.
    pub async fn approve_device(&self, ctx: &Ctx, user_code: &str) -> Result<(), Error> {
        let person = ctx.require_person()?.clone();
        let live = sessions::find(&self.store, &person.session).await?;
        let live = live.ok_or_else(crate::jwt::invalid_token)?;
        let flow = Box::new(Flow::carried_by(&live, Door::Cli));
        let decision = Decision::Approved { flow, by: person.session };
        self.decide(ctx, user_code, &decision, AuditAction::DeviceApproved).await
    }

    /// Refuses the device that shows this code.
    pub async fn deny_device(&self, ctx: &Ctx, user_code: &str) -> Result<(), Error> {
        ctx.require_person()?;
        self.decide(ctx, user_code, &Decision::Denied, AuditAction::DeviceDenied).await
    }

    async fn decide(
        &self,
        ctx: &Ctx,
        user_code: &str,
        decision: &Decision,
        action: AuditAction,
    ) -> Result<(), Error> {
        let person = ctx.require_person()?;
        let code = parse(user_code)?;
        let tx = self.store.begin_write().await?;
        within(&tx, &format!("device_tries/{}", person.user), TRIES, ctx.now).await?;
        let Some(asked) = once::consume::<Asked>(&tx, USER_CODE, &code.digest(), ctx.now).await? else {
            // The try stays counted.
            tx.commit().await?;
            return Err(Error::not_found("code"));
        };
        let Asked { device, wait } = asked.data;
        once::issue(&tx, &good_for_now(ctx, decision_on(&wait), DECISION, &wait, decision)).await?;
        let after = json!({ "ip": device.ip, "user_agent": device.user_agent, "asked_at": device.asked_at });
        let record =
            self.record(ctx, action, person.user.as_str()).with_change(serde_json::Value::Null, after);
        audit::append(&tx, Some(&person.organization), &record).await?;
        Ok(tx.commit().await?)
    }

    /// What has become of the wait behind this device code. The one gate decides again: what has changed since the
    /// approval counts. Refused with the codes of RFC 8628 section 3.5: `authorization_pending`, `slow_down`,
    /// `access_denied`, `expired_token`.
    pub async fn sign_in_device(&self, ctx: &Ctx, device_code: &str) -> Result<SignInOutcome, Error> {
        let wait = SecretDigest::of(device_code);
        if once::peek::<()>(&self.store, WAIT, &wait, ctx.now).await?.is_none() {
            return Err(expired_token());
        }
        let tx = self.store.begin_write().await?;
        if limits::count(&tx, &format!("device_wait/{wait}"), INTERVAL, ctx.now).await? > 1 {
            tx.commit().await?;
            return Err(slow_down());
        }
        let digest = decision_on(&wait.to_string());
        let Some(decided) = once::consume::<Decision>(&tx, DECISION, &digest, ctx.now).await? else {
            tx.commit().await?;
            return Err(authorization_pending());
        };
        if once::consume::<()>(&tx, WAIT, &wait, ctx.now).await?.is_none() {
            return Err(expired_token());
        }
        match decided.data {
            Decision::Denied => {
                tx.commit().await?;
                Err(access_denied())
            }
            Decision::Approved { flow, by } => self.fetch_session(ctx, tx, *flow, &by).await,
        }
    }

    async fn fetch_session(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        flow: Flow,
        approved_by: &SessionId,
    ) -> Result<SignInOutcome, Error> {
        hold_voucher(&tx, &flow).await?;
        let live = sessions::find(&tx, approved_by).await?.ok_or_else(access_denied)?;
        if !self.lives(&tx, &live, ctx.now).await? {
            return Err(access_denied());
        }
        let entrant = self.entrant_of_flow(&tx, &flow).await?.ok_or_else(access_denied)?;
        let tx = self.require_address_in(ctx, tx, &entrant.organization.id, flow.door.into()).await?;
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow).await?;
        self.commit_step(tx, &outcome).await?;
        Ok(outcome)
    }
}

/// One more of these, refused above the limit.
async fn within(tx: &Tx<'_>, key: &str, limit: i64, now: Timestamp) -> Result<(), Error> {
    if limits::count(tx, key, WINDOW, now).await? <= limit {
        return Ok(());
    }
    let message = "Too many codes at once. Wait a quarter of an hour, then try again.";
    Err(Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message).with_retry_after(WINDOW))
}

fn good_for_now<'a, T>(
    ctx: &Ctx,
    digest: SecretDigest,
    purpose: &'a str,
    subject: &'a str,
    data: &'a T,
) -> OneTime<'a, T> {
    let (created_at, expires_at) = (ctx.now, ctx.now + LIFETIME);
    OneTime { digest, purpose, subject, epoch: None, data, created_at, expires_at }
}

/// Under what the decision on a wait is kept.
fn decision_on(wait: &str) -> SecretDigest {
    SecretDigest::of(&format!("{DECISION}/{wait}"))
}

fn parse(user_code: &str) -> Result<UserCode, Error> {
    user_code.parse().map_err(|why| Error::invalid("user_code", format!("{why}.")))
}

fn authorization_pending() -> Error {
    let message = "Nobody has approved the code yet. Ask again after the interval.";
    Error::new(ErrorKind::Conflict, "authorization_pending", message)
}

fn slow_down() -> Error {
    let message = "You ask too often. Wait five seconds longer between two questions from now on.";
    Error::new(ErrorKind::TooManyRequests, "slow_down", message).with_retry_after(INTERVAL)
}

fn access_denied() -> Error {
    let message = "The code was refused, or whoever approved it can no longer sign in.";
    Error::new(ErrorKind::Forbidden, "access_denied", message)
}

fn expired_token() -> Error {
    let message = "This device code was used or has expired. Begin again.";
    Error::new(ErrorKind::Unauthenticated, "expired_token", message)
}
