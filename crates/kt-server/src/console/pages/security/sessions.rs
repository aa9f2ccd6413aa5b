//! `/settings/security/sessions`: who is signed in, and everybody else is signed out at once.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::{LivingSession, Page, PageRequest, WhichSessions};
use kt_domain::actor::Permission;
use kt_domain::id::UserId;
use kt_domain::order::{Order, SessionColumn};
use serde::Deserialize;

use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::table::Table;
use crate::console::visit::SignedIn;

const PAGE: &str = "/settings/security/sessions";

/// Which sessions.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    cursor: Option<String>,
    /// What is searched for.
    q: String,
    /// In which order they are shown.
    sort: Order<SessionColumn>,
}

#[derive(Template)]
#[template(path = "pages/living-sessions.html")]
struct SessionsPage {
    frame: Frame,
    sessions: Page<LivingSession>,
    q: String,
    table: Table<SessionColumn>,
    you: UserId,
    /// Whether whoever looks may end those of others.
    may_end: bool,
}

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let Asked { cursor, q, sort } = asked;
    let table = Table::new(PAGE, sort, [("q", &q)]);
    let which = WhichSessions { search: q.clone(), order: sort };
    let request = PageRequest { limit: None, cursor };
    let sessions = doors.control.living_sessions(&visit.ctx, &request, &which).await?;
    let template = SessionsPage {
        frame: Frame::of(&visit),
        sessions,
        q,
        table,
        you: session.person.user,
        may_end: visit.may(Permission::ManageMembers),
    };
    page(&visit.look, &template)
}

/// Signs everybody else out, as far as the rank of whoever asks reaches.
pub(crate) async fn end_everybodys(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    doors.control.end_everybodys_sessions(&visit.ctx).await?;
    let said = "Everybody else was signed out whose role is not above yours.";
    Ok(see_and_say(&doors, PAGE, visit.look.language.text(said)))
}
