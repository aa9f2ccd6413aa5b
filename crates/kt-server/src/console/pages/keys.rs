//! `/settings/access-keys`, `/settings/gateway-keys` and `/settings/provisioning-keys`: API keys, made and shown once,
//! changed, rotated, revoked (R137–R149, R248, R249). The pages are one.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use jiff::Timestamp;
use kt_control::{Change, KeyChange, KeyDemands, KeyMade, KeyView, NewKey, Page, PageRequest, WhichKeys};
use kt_domain::actor::{KeyKind, Permission, Scope};
use kt_domain::error::Error;
use kt_domain::id::{ApiKeyId, UserId};
use kt_domain::keys::{KeyCreation, KeyRestrictions, KeyStatus, KeysDue};
use kt_domain::order::{KeyColumn, Order};
use serde::Deserialize;

use super::Fields;
use super::key_terms::{Terms, last_day};
use super::shown_once::ShownOnce;
use crate::Doors;
use crate::api::tokens::KEYS_FILE;
use crate::console::answer::{Answer, Frame, leave_and_say, page, see_and_say};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::places;
use crate::console::table::Table;
use crate::console::visit::{SignedIn, Visit};
use crate::download;

/// The list of one kind of key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Access,
    Gateway,
    Scim,
}

/// Told from the address.
impl<S: Sync> FromRequestParts<S> for List {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_at = |list: &Self| parts.uri.path().starts_with(list.path());
        Ok([Self::Gateway, Self::Scim].into_iter().find(is_at).unwrap_or(Self::Access))
    }
}

impl List {
    /// Where a key of this kind stands.
    fn of(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Access => Self::Access,
            KeyKind::Gateway => Self::Gateway,
            KeyKind::Scim => Self::Scim,
        }
    }

    fn kind(self) -> KeyKind {
        match self {
            Self::Access => KeyKind::Access,
            Self::Gateway => KeyKind::Gateway,
            Self::Scim => KeyKind::Scim,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Access => "/settings/access-keys",
            Self::Gateway => "/settings/gateway-keys",
            Self::Scim => "/settings/provisioning-keys",
        }
    }

    fn heading(self) -> &'static str {
        self.kind().label()
    }

    /// What keys of this kind are for.
    fn purpose(self) -> &'static str {
        match self {
            Self::Access => {
                "For programs: calls of the API, and applications that send AI traffic through a gateway. A key never reaches further than whoever made it."
            }
            Self::Gateway => {
                "For gateways: by such a key a gateway delivers its events and fetches what it needs. It sends no AI traffic."
            }
            Self::Scim => {
                "For identity providers: by such a key a provider makes, changes and ends memberships over SCIM, as far as whoever made the key may."
            }
        }
    }

    /// Whether everybody may make keys of this kind (R147).
    fn is_open_to_everyone(self, restrictions: &KeyRestrictions) -> bool {
        self == Self::Access && restrictions.creation == KeyCreation::Everyone
    }

    /// The scopes that a key of this kind can have, and how far it reaches with each.
    fn scopes(self) -> &'static [(Scope, &'static str)] {
        match self {
            Self::Access => &[
                (Scope::ReadOnly, "Looks, and changes nothing."),
                (
                    Scope::Write,
                    "Also sends AI traffic, writes and rolls out configurations, and runs gateways, as far as you may.",
                ),
                (Scope::Admin, "Also settings and people, as far as you may."),
            ],
            Self::Gateway => {
                &[(Scope::Write, "All that a gateway needs."), (Scope::Admin, "No more than that today.")]
            }
            Self::Scim => &[(Scope::Write, "Makes, changes and ends memberships.")],
        }
    }

    /// The scope that every key of this kind has, where there is no choice.
    fn only_scope(self) -> Option<Scope> {
        (self == Self::Scim).then_some(Scope::Write)
    }

    /// What to do where there is no key yet.
    fn advice(self) -> &'static str {
        match self {
            Self::Access | Self::Gateway => {
                "Make one for each program, so that each can be rotated and revoked alone."
            }
            Self::Scim => "Make one for your identity provider, and give it the address above.",
        }
    }
}

#[derive(Template)]
#[template(path = "pages/keys.html")]
struct KeysPage {
    frame: Frame,
    list: List,
    keys: Page<KeyView>,
    q: String,
    table: Table<KeyColumn>,
    /// Those alone are listed, of every kind.
    due: Option<KeysDue>,
    demands: KeyDemands,
    you: UserId,
    sees_all: bool,
    now: Timestamp,
    /// Where identity providers reach this deployment.
    provisioning: String,
}

/// The page of a key.
pub(crate) fn place_of(view: &KeyView) -> String {
    format!("{}/{}", List::of(view.key.kind).path(), view.key.id)
}

impl KeysPage {
    /// Whether those alone are shown for which the address has this word; without one, all of this kind.
    fn is_filtered_by(&self, word: &str) -> bool {
        self.due.map(KeysDue::as_str).unwrap_or_default() == word
    }

    fn expires_soon(&self, view: &KeyView) -> bool {
        view.key.terms.expires_soon(self.now)
    }
}

/// What of the list, and where it goes on.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    cursor: Option<String>,
    /// What is searched for.
    q: String,
    /// Those alone, of every kind.
    state: Option<KeysDue>,
    /// In which order they are shown.
    sort: Order<KeyColumn>,
}

impl Asked {
    /// The keys that are asked for on this page.
    fn which(&self, list: List) -> WhichKeys {
        let kind = Some(list.kind()).filter(|_| self.state.is_none());
        WhichKeys { kind, search: Some(self.q.clone()), due: self.state, order: self.sort }
    }
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    list: List,
    Query(asked): Query<Asked>,
) -> Answer {
    let which = asked.which(list);
    let request = PageRequest { limit: None, cursor: asked.cursor };
    let due = asked.state.map(KeysDue::as_str).unwrap_or_default();
    let template = KeysPage {
        frame: Frame::of(&visit),
        list,
        keys: doors.control.keys(&visit.ctx, &which, &request).await?,
        table: Table::new(list.path(), asked.sort, [("q", &asked.q), ("state", due)]),
        q: asked.q,
        due: asked.state,
        demands: doors.control.key_demands(&visit.ctx, list.kind()).await?,
        you: session.person.user,
        sees_all: visit.may(Permission::ReadAllKeys),
        now: visit.ctx.now,
        provisioning: doors.control.provisioning_address(),
    };
    page(&visit.look, &template)
}

/// All keys that the page leads to, as a file.
pub(crate) async fn export(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    list: List,
    Query(asked): Query<Asked>,
) -> Answer {
    let export = doors.control.export_keys(&visit.ctx, &asked.which(list)).await?;
    Ok(download::table(&doors.control, export, KEYS_FILE))
}

/// Makes a key, and shows it once.
pub(crate) async fn create(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    list: List,
    Fields(terms): Fields<Terms>,
) -> Answer {
    let new = NewKey {
        kind: list.kind(),
        scope: terms.scope()?,
        ranges: terms.ranges()?,
        requests_per_minute: terms.requests_per_minute()?,
        expires_at: terms.expires_at()?,
        name: terms.name,
    };
    let made = doors.control.create_key(&visit.ctx, new).await?;
    show_once(&visit, list, &made)
}

fn show_once(visit: &Visit, list: List, made: &KeyMade) -> Answer {
    let shown = ShownOnce {
        heading: "Your new key",
        of: &made.view.key.name,
        advice: "Copy it now to where it is used: it is not kept here, and nobody can show it again.",
        secret: made.text.expose(),
        expires_at: made.view.key.terms.expires_at,
        back: list.path(),
    };
    shown.answer(visit)
}

#[derive(Template)]
#[template(path = "pages/key.html")]
struct KeyPage {
    frame: Frame,
    list: List,
    view: KeyView,
    demands: KeyDemands,
    /// Who answers for it, as far as whoever looks may know.
    owner: Option<String>,
    /// Where they are shown.
    owner_place: Option<String>,
    /// Whether it can still be changed, and by whoever looks.
    may_change: bool,
    may_revoke: bool,
    expires_soon: bool,
}

/// The terms as the form has them.
impl KeyPage {
    fn scope(&self) -> &'static str {
        self.view.key.terms.scope.map(Scope::as_str).unwrap_or_default()
    }

    fn rate(&self) -> String {
        self.view.key.terms.requests_per_minute.map(|rate| rate.to_string()).unwrap_or_default()
    }

    fn day(&self) -> String {
        self.view.key.terms.expires_at.map(last_day).unwrap_or_default()
    }

    fn ranges(&self) -> String {
        let ranges: Vec<_> = self.view.key.terms.ranges.iter().map(ToString::to_string).collect();
        ranges.join("\n")
    }
}

/// One key.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    list: List,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.key(&visit.ctx, &key_id(&id)?).await?;
    if view.key.kind != list.kind() {
        return Err(Error::not_found("key").into());
    }
    let demands = doors.control.key_demands(&visit.ctx, list.kind()).await?;
    let owner = if view.key.owner == session.person.user {
        Some(session.person.email)
    } else if visit.may(Permission::ReadMembers) {
        // Whoever made it may have left.
        doors.control.member(&visit.ctx, &view.key.owner).await.ok().map(|member| member.email)
    } else {
        None
    };
    let is_over = matches!(view.standing.status, KeyStatus::Revoked);
    let template = KeyPage {
        frame: Frame::of(&visit),
        list,
        owner,
        owner_place: places::place_of(&doors, &visit, Some(view.key.owner.as_str())).await?,
        may_change: demands.may_make && !is_over,
        may_revoke: visit.may(Permission::UseKeys) && !is_over,
        expires_soon: view.key.terms.expires_soon(visit.ctx.now),
        demands,
        view,
    };
    page(&visit.look, &template)
}

/// Changes a key. A day that was left as it was shown changes nothing of the moment.
pub(crate) async fn change(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    list: List,
    Path(id): Path<String>,
    Fields(terms): Fields<Terms>,
) -> Answer {
    let id = key_id(&id)?;
    let present = doors.control.key(&visit.ctx, &id).await?.key.terms.expires_at;
    let expires_at =
        if terms.keeps_expiry(present) { Change::Keep } else { Change::Set(terms.expires_at()?) };
    let change = KeyChange {
        scope: Change::Set(terms.scope()?),
        ranges: Change::Set(terms.ranges()?),
        requests_per_minute: Change::Set(terms.requests_per_minute()?),
        expires_at,
        name: Change::Set(terms.name),
    };
    doors.control.change_key(&visit.ctx, &id, change).await?;
    let back = format!("{}/{id}", list.path());
    Ok(see_and_say(&doors, &back, visit.look.language.text("The key was changed.")))
}

/// How a key is rotated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    overlap_seconds: u64,
}

/// Puts a new key in place of one, and shows it once.
pub(crate) async fn rotate(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    list: List,
    Path(id): Path<String>,
    Fields(rotation): Fields<Rotation>,
) -> Answer {
    let overlap = Duration::from_secs(rotation.overlap_seconds);
    let made = doors.control.rotate_key(&visit.ctx, &key_id(&id)?, overlap).await?;
    show_once(&visit, list, &made)
}

/// Ends a key at once.
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    list: List,
    Path(id): Path<String>,
) -> Answer {
    doors.control.revoke_key(&visit.ctx, &key_id(&id)?).await?;
    Ok(leave_and_say(&doors, list.path(), visit.look.language.text("The key was revoked.")))
}

fn key_id(text: &str) -> Result<ApiKeyId, Error> {
    text.parse().map_err(|_| Error::not_found("key"))
}
