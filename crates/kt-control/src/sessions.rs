//! Sessions: made after the gate's consent, refreshed, listed, ended.

use std::sync::Arc;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Permission};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::secret::{SecretDigest, Token};
use kt_domain::sessions::Door;
use kt_domain::sign_in::Proofs;
use kt_store::sessions::{self, LiveSession, RefreshUse, Session};
use kt_store::{Tx, audit, memberships, organizations, users};

use crate::authenticate::RELIED_ON;
use crate::control::Control;
use crate::jwt::{self, NewToken};
use crate::sign_in::{self, Entrant, Flow, Whoami, WhoamiKey};

/// What a client holds of a session that was made just now.
pub enum Credentials {
    /// At the API and the CLI.
    Tokens(SessionTokens),
    /// In a browser, which holds no token of the API (R191–R193): the value of its cookie.
    Cookie(Token),
}

/// What a program holds of a session.
pub struct SessionTokens {
    /// The access token, a JWT.
    pub access_token: String,
    /// How many seconds it is good.
    pub expires_in: u64,
    /// Gets the next access token; works once.
    pub refresh_token: String,
}

/// A session as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its identifier.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub is_current: bool,
    /// Through which door it was made.
    pub door: Door,
    /// What was proven in it.
    pub proofs: Proofs,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its holder's last act, to the minute.
    pub active_at: Timestamp,
    /// From where it was made.
    pub ip: Option<std::net::IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}

/// How many sessions one person has at most; the oldest ends for a new one (SES-10).
const MOST_SESSIONS: usize = 10;

impl Control {
    /// Adds a session and what its holder gets of it.
    pub(crate) async fn new_session(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        flow: &Flow,
    ) -> Result<(SessionId, Credentials), Error> {
        let session = Session {
            id: self.draw(|random| SessionId::new(ctx.now, random)),
            user: entrant.user.id.clone(),
            organization: entrant.organization.id.clone(),
            epoch: entrant.user.epoch,
            door: flow.door,
            proofs: flow.proofs.clone(),
            created_at: ctx.now,
            authenticated_at: flow.authenticated_at.unwrap_or(ctx.now),
            active_at: ctx.now,
            ip: ctx.client.ip,
            active_ip: ctx.client.ip,
            user_agent: ctx.client.user_agent.clone(),
            ended_at: None,
        };
        sessions::insert(tx, &session).await?;
        let credentials = match session.door {
            Door::Console => Credentials::Cookie(self.new_cookie(ctx, tx, &session.id).await?),
            Door::Api | Door::Cli => {
                Credentials::Tokens(self.issue_tokens(ctx, tx, &session, entrant.membership.role).await?)
            }
        };
        Ok((session.id, credentials))
    }

    /// Ends the oldest sessions of somebody who is about to get one more than there may be; whether there was one.
    pub(crate) async fn make_place_for_session(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &UserId,
    ) -> Result<bool, Error> {
        let mut has_ended_one = false;
        for oldest in sessions::of_user(tx, user).await?.iter().skip(MOST_SESSIONS - 1) {
            has_ended_one |= sessions::end(tx, user, &oldest.id, ctx.now).await?;
        }
        Ok(has_ended_one)
    }

    /// A cookie for a session of the console; the one before is no good from now on.
    pub(crate) async fn new_cookie(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        session: &SessionId,
    ) -> Result<Token, Error> {
        let cookie = self.new_token();
        sessions::set_cookie(tx, session, &cookie.digest(), ctx.now).await?;
        Ok(cookie)
    }

    async fn issue_tokens(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        session: &Session,
        role: kt_domain::actor::Role,
    ) -> Result<SessionTokens, Error> {
        let token = NewToken {
            user: &session.user,
            organization: &session.organization,
            role,
            session: &session.id,
            amr: session.proofs.words().map(str::to_owned).collect(),
            authenticated_at: session.authenticated_at,
        };
        let access_token = self.signer.sign(token, ctx.now)?;
        let refresh_token = self.new_token();
        sessions::insert_refresh_token(tx, &refresh_token.digest(), &session.id, ctx.now).await?;
        Ok(SessionTokens {
            access_token,
            expires_in: jwt::LIFETIME.as_secs(),
            refresh_token: refresh_token.expose().to_owned(),
        })
    }

    /// New tokens for old. The refresh token works once: one that comes a second time ends its session, because one
    /// of the two who hold it is not its holder (RFC 9700 section 4.14.2).
    pub async fn refresh(&self, ctx: &Ctx, refresh_token: &str) -> Result<SessionTokens, Error> {
        let tx = self.store.begin_write().await?;
        let (session, is_replayed) =
            match sessions::use_refresh_token(&tx, &SecretDigest::of(refresh_token), ctx.now).await? {
                RefreshUse::Unknown => return Err(invalid_refresh_token()),
                RefreshUse::Replayed(session) => (session, true),
                RefreshUse::Used(session) => (session, false),
            };
        let live = sessions::find(&tx, &session).await?.ok_or_else(invalid_refresh_token)?;
        let Session { organization, door, .. } = &live.session;
        let tx = self.require_address_in(ctx, tx, organization, (*door).into()).await?;
        if is_replayed {
            self.end_replayed(ctx, tx, &live).await?;
            return Err(invalid_refresh_token());
        }
        if !self.lives(&tx, &live, ctx.now).await? {
            drop(tx);
            self.end_if_lapsed(&live, ctx.now).await?;
            return Err(invalid_refresh_token());
        }
        sessions::note_activity(&tx, &session, ctx.client.ip, ctx.now).await?;
        let tokens = self.issue_tokens(ctx, &tx, &live.session, live.membership.role).await?;
        tx.commit().await?;
        Ok(tokens)
    }

    async fn end_replayed(&self, ctx: &Ctx, tx: Tx<'_>, live: &LiveSession) -> Result<(), Error> {
        let session = &live.session;
        if !sessions::end(&tx, &session.user, &session.id, ctx.now).await? {
            // It has ended already, and whoever goes on with the same token changes nothing.
            return Ok(());
        }
        let record = self.record(ctx, AuditAction::RefreshReplayed, session.id.as_str()).refused();
        audit::append(&tx, Some(&session.organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Ends the session that asks.
    pub async fn sign_out(&self, ctx: &Ctx) -> Result<(), Error> {
        let person = ctx.require_person()?;
        let tx = self.store.begin_write().await?;
        sessions::end(&tx, &person.user, &person.session, ctx.now).await?;
        let record = self.record(ctx, AuditAction::SignOut, person.session.as_str());
        audit::append(&tx, Some(&person.organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Who asks, and where; for a program, in whose name and by which key.
    pub async fn whoami(&self, ctx: &Ctx) -> Result<Whoami, Error> {
        let organization = ctx.require(Permission::KnowOneself)?;
        let user = ctx.actor.user().ok_or_else(|| Error::not_found("member"))?;
        let whoami = self.known_member(organization, user, ctx.now).await?;
        let key = match &ctx.actor {
            Actor::Program(program) => Some(WhoamiKey {
                id: program.key.clone(),
                name: program.name.clone(),
                kind: program.kind,
                scope: program.scope,
            }),
            _ => None,
        };
        Ok(Whoami { key, ..Whoami::clone(&whoami) })
    }

    /// A member as they see themselves, remembered as long as their bearer.
    async fn known_member(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Arc<Whoami>, Error> {
        let members = &self.recent.members;
        let place = (organization.clone(), user.clone());
        if let Some(whoami) = members.get(&place, now) {
            return Ok(whoami);
        }
        let generation = members.generation();
        let membership = memberships::find(&self.store, organization, user).await?;
        let organization = organizations::find(&self.store, organization).await?;
        let user = users::find(&self.store, user).await?;
        let (Some(user), Some(membership), Some(organization)) = (user, membership, organization) else {
            return Err(Error::not_found("member"));
        };
        let whoami = sign_in::whoami(&Entrant { user, membership, organization });
        Ok(members.remember(generation, place, whoami, now + RELIED_ON))
    }

    /// The sessions of the person that asks which live at this moment, the newest first.
    pub async fn my_sessions(&self, ctx: &Ctx) -> Result<Vec<SessionView>, Error> {
        let person = ctx.require_person()?;
        let mut views = Vec::new();
        for session in sessions::of_user(&self.store, &person.user).await? {
            let settings = self.security_of(&self.store, &session.organization).await?.value.session;
            if settings.lapse(session.created_at, session.active_at, ctx.now).is_none() {
                views.push(SessionView {
                    is_current: session.id == person.session,
                    id: session.id,
                    door: session.door,
                    proofs: session.proofs,
                    created_at: session.created_at,
                    active_at: session.active_at,
                    ip: session.ip,
                    user_agent: session.user_agent,
                });
            }
        }
        Ok(views)
    }

    /// Ends one of one's own sessions. [`ErrorKind::NotFound`] for anybody else's, as for none.
    pub async fn end_my_session(&self, ctx: &Ctx, session: &SessionId) -> Result<(), Error> {
        let person = ctx.require_person()?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        if !sessions::end(&tx, &person.user, session, ctx.now).await? {
            return Err(Error::not_found("session"));
        }
        self.record_revoked(ctx, &tx, &person.organization, std::slice::from_ref(session)).await?;
        self.commit_revocation(tx).await
    }

    /// Ends all of one's own sessions but the one that asks, in every organization (OWASP ASVS 5.0, 7.5.2).
    pub async fn end_my_other_sessions(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require_person()?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        self.end_others(ctx, &tx).await?;
        self.commit_revocation(tx).await
    }

    /// Ends all sessions of the person that asks but the one that does, as part of a transaction that is committed as a
    /// revocation.
    pub(crate) async fn end_others(&self, ctx: &Ctx, tx: &Tx<'_>) -> Result<(), Error> {
        let person = ctx.require_person()?;
        let ended = sessions::end_others(tx, &person.user, &person.session, ctx.now).await?;
        self.record_revoked(ctx, tx, &person.organization, &ended).await
    }

    /// Records that these sessions were ended by hand.
    pub(crate) async fn record_revoked(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        ended: &[SessionId],
    ) -> Result<(), Error> {
        for session in ended {
            let record = self.record(ctx, AuditAction::SessionRevoked, session.as_str());
            audit::append(tx, Some(organization), &record).await?;
        }
        Ok(())
    }
}

fn invalid_refresh_token() -> Error {
    let message = "This refresh token was used, has expired or was revoked. Sign in again.";
    Error::new(ErrorKind::Unauthenticated, "invalid_refresh_token", message)
}
