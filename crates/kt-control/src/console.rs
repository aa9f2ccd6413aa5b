//! Sessions of the console: who holds a cookie, what they need to be shown, and when it ends.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Person};
use kt_domain::csrf;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::lockout::network_of;
use kt_domain::mfa::{Asked, Reminder};
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::security_settings::CsrfRotation;
use kt_domain::sign_in::{Factor, Proofs, to_enroll};
use kt_store::{limits, once, organizations, second_factors, sessions, users};

use crate::authenticate::standing_in;
use crate::control::Control;

/// The value of a browser's session cookie.
#[derive(Clone, Copy)]
pub struct Cookie<'a>(pub &'a str);

/// A session of the console that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// Who acts in it.
    pub person: Person,
    /// Their name.
    pub name: String,
    /// The name of the organization.
    pub organization_name: String,
    /// The organization's identifier.
    pub organization_identifier: String,
    /// Its holder's last act, to the minute.
    pub active_at: Timestamp,
    /// Until when it lasts if its holder does nothing more.
    pub ends_at: Timestamp,
    /// Until when it lasts at most, whatever its holder does.
    pub ends_at_latest: Timestamp,
    /// How often its form tokens change.
    pub rotation: CsrfRotation,
    /// What its holder has proven.
    pub proofs: Proofs,
    /// Whether it was opened through an identity provider.
    pub federated: bool,
    /// Whether that one can be asked to let its holder prove again who they are.
    pub provider_can_ask: bool,
    /// The account's own second factors, by which its holder can prove themselves.
    pub own_factors: Vec<Factor>,
    /// What its holder is asked for first by their organizations, where they lack it and what they came in on is not worth it.
    pub to_enroll: Option<Asked>,
    /// From when on its holder has to choose another password, where that is within the week.
    pub password_ends_at: Option<Timestamp>,
}

/// A holder's acts are noted no more often than this (SPEC section 8).
const NOTED_EVERY: Duration = Duration::from_mins(1);

impl Control {
    /// Whose cookie it is. [`ErrorKind::Unauthenticated`], with one answer, for a cookie that stands for no session that
    /// lives. Asked anew for every request: what is taken away is felt at the next one.
    pub async fn console_session(&self, cookie: Cookie<'_>, now: Timestamp) -> Result<ConsoleSession, Error> {
        let id =
            sessions::by_cookie(&self.store, &SecretDigest::of(cookie.0)).await?.ok_or_else(signed_out)?;
        let live = sessions::find(&self.store, &id).await?.ok_or_else(signed_out)?;
        if !self.lives(&self.store, &live, now).await? {
            self.end_if_lapsed(&live, now).await?;
            return Err(signed_out());
        }
        let session = live.session.clone();
        let security = self.security_of(&self.store, &session.organization).await?.value;
        let user = users::find(&self.store, &session.user).await?.ok_or_else(signed_out)?;
        let organization = organizations::find(&self.store, &session.organization).await?;
        let organization = organization.ok_or_else(signed_out)?;
        let own_factors = second_factors::of(&self.store, &session.user).await?.list();
        let asks = self.asks_of(&self.store, &live.membership, &security.mfa).await?;
        let to_enroll = to_enroll(&standing_in(&live, &own_factors, &asks), &live.session.proofs);
        let password = user.password.filter(|_| live.federation.is_none());
        let password_ends_at = password
            .and_then(|password| security.password.ends_at(password.set_at))
            .filter(|end| Reminder::of_last_week(*end, now).is_some());
        let ends_by = live.federation.as_ref().and_then(|federation| federation.ends_by);
        let bounded = |end: Timestamp| ends_by.map_or(end, |bound| bound.min(end));
        Ok(ConsoleSession {
            proofs: session.proofs,
            federated: live.federation.is_some(),
            provider_can_ask: live
                .federation
                .as_ref()
                .is_some_and(|federation| self.can_ask_again(federation)),
            own_factors,
            to_enroll,
            password_ends_at,
            name: user.name,
            organization_name: organization.name,
            organization_identifier: organization.identifier,
            active_at: session.active_at,
            ends_at: bounded(security.session.ends_at(session.created_at, session.active_at)),
            ends_at_latest: bounded(security.session.ends_by_age_at(session.created_at)),
            rotation: security.csrf.rotation,
            person: Person {
                user: session.user,
                organization: session.organization,
                role: live.membership.role,
                session: session.id,
                email: live.email,
                authenticated_at: session.authenticated_at,
            },
        })
    }

    /// Notes that the holder of a session has just done something, unless that was noted within the minute: then it tells
    /// `false`. Their session lasts on from now where it counts inactivity.
    pub async fn note_console_activity(&self, ctx: &Ctx, session: &ConsoleSession) -> Result<bool, Error> {
        if ctx.now.duration_since(session.active_at).unsigned_abs() < NOTED_EVERY {
            return Ok(false);
        }
        let tx = self.store.begin_write().await?;
        sessions::note_activity(&tx, &session.person.session, ctx.client.ip, ctx.now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A new cookie for the session that asks: at each rise of what it may do, what was known of it before is worthless
    /// (OWASP ASVS 5.0, 7.2.4).
    pub async fn renew_console_cookie(&self, ctx: &Ctx) -> Result<Token, Error> {
        let person = ctx.require_person()?;
        let tx = self.store.begin_write().await?;
        let cookie = self.new_cookie(ctx, &tx, &person.session).await?;
        tx.commit().await?;
        Ok(cookie)
    }

    /// Counts a browser's report of what it has stopped; refused where its network has sent its share.
    pub async fn count_report(&self, ctx: &Ctx) -> Result<(), Error> {
        let network = ctx.client.ip.map_or_else(|| "unknown".to_owned(), |ip| network_of(ip).to_string());
        let tx = self.store.begin_write().await?;
        let counted = limits::count(&tx, &format!("reports/{network}"), REPORTS_WINDOW, ctx.now).await?;
        tx.commit().await?;
        if counted > REPORTS {
            let message = "Your network has sent enough of these for now.";
            return Err(Error::new(ErrorKind::TooManyRequests, "too_many_reports", message)
                .with_retry_after(REPORTS_WINDOW));
        }
        Ok(())
    }

    /// A form token for the holder of this cookie.
    pub fn new_csrf_token(&self, cookie: Cookie<'_>) -> String {
        self.draw(|random| csrf::issue(cookie.0, random))
    }

    /// Refuses a state-changing request with `csrf_failed` unless it carries a token that was issued for its cookie and,
    /// where each works once, was not used before.
    pub async fn require_csrf_token(
        &self,
        ctx: &Ctx,
        cookie: Cookie<'_>,
        session: Option<&ConsoleSession>,
        token: Option<&str>,
    ) -> Result<(), Error> {
        let nonce = token.and_then(|token| csrf::check(cookie.0, token)).ok_or_else(csrf_failed)?;
        let Some(session) = session.filter(|session| session.rotation == CsrfRotation::PerRequest) else {
            return Ok(());
        };
        let tx = self.store.begin_write().await?;
        let scope = format!("csrf/{}", session.person.session);
        let forgotten_at = ctx.now + LONGEST_SESSION;
        if !once::claim(&tx, &scope, &nonce.to_text(), forgotten_at).await? {
            return Err(csrf_failed());
        }
        Ok(tx.commit().await?)
    }
}

/// How many reports of browsers one network sends within [`REPORTS_WINDOW`].
const REPORTS: i64 = 60;
const REPORTS_WINDOW: Duration = Duration::from_mins(10);

/// No session lasts longer: what was used in it need not be remembered beyond.
const LONGEST_SESSION: Duration = Duration::from_hours(24);

impl ConsoleSession {
    /// What is the same in all sessions of this account in this organization, and in no others. It tells nothing, and proves
    /// nothing either.
    #[must_use]
    pub fn holder_mark(&self) -> String {
        let Person { user, organization, .. } = &self.person;
        SecretDigest::of(&format!("{user} {organization}")).to_string()
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.person.clone())
    }
}

fn signed_out() -> Error {
    let message = "You are not signed in, or your session is over. Sign in.";
    Error::new(ErrorKind::Unauthenticated, "signed_out", message)
}

fn csrf_failed() -> Error {
    let message = "This page is out of date, so nothing was changed. Load it again and repeat what you did.";
    Error::new(ErrorKind::Forbidden, "csrf_failed", message)
}
