//! The sessions of an organization that live: who is signed in, the list behind the figure.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::order::{Order, SessionColumn};
use kt_domain::search::Search;
use kt_domain::sessions::Door;
use kt_store::order::{Part, Place};
use kt_store::sessions::{self, HeldSession};

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};

/// A session of the organization that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingSession {
    /// Its holder.
    pub user: UserId,
    /// What its holder is called.
    pub name: String,
    /// Its holder's address for mail.
    pub email: String,
    /// Through which door it was made.
    pub door: Door,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its holder's last act, to the minute.
    pub active_at: Timestamp,
    /// From where it was made.
    pub ip: Option<IpAddr>,
}

/// Which of them are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichSessions {
    /// Those alone whose holder's name or address, or the address that they were made from, holds this.
    pub search: String,
    /// In which order.
    pub order: Order<SessionColumn>,
}

const PAGES: PageSize = PageSize { usual: 50, most: 1000 };

impl Control {
    /// The sessions that live.
    pub async fn living_sessions(
        &self,
        ctx: &Ctx,
        request: &PageRequest,
        which: &WhichSessions,
    ) -> Result<Page<LivingSession>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let search = Search::read(&which.search)?;
        let settings = self.security_of(&self.store, organization).await?.value.session;
        let living = settings.living_since(ctx.now);
        let list = format!("sessions/{organization}/{}", which.order);
        let limit = PAGES.of(request)?;
        let after: Option<Place> = self.position(&list, request)?;
        let part = Part { order: which.order, after: after.as_ref(), limit: limit + 1 };
        let found =
            sessions::of_organization(&self.store, organization, living, search.as_ref(), part).await?;
        let page = self.page(&list, limit, found, |held| sessions::place_of(held, which.order.by))?;
        Ok(Page { items: page.items.into_iter().map(view).collect(), next_cursor: page.next_cursor })
    }
}

fn view(held: HeldSession) -> LivingSession {
    let HeldSession { session, email, name } = held;
    LivingSession {
        user: session.user,
        name,
        email,
        door: session.door,
        created_at: session.created_at,
        active_at: session.active_at,
        ip: session.ip,
    }
}
