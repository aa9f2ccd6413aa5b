//! `/settings/access-keys`, `/settings/gateway-keys` and `/settings/provisioning-keys`: API keys, made and shown once,
//! changed, rotated, revoked (R137–R149, R248, R249). The pages are one.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kt_control::{Change, KeyChange, KeyDemands, KeyMade, KeyView, NewKey, Page, PageRequest};
use kt_domain::actor::{KeyKind, Permission, Scope};
use kt_domain::error::Error;
use kt_domain::id::{ApiKeyId, UserId};
use kt_domain::keys::{KeyCreation, KeyRestrictions, KeyStatus};
use kt_domain::network::cidr::Cidr;
use serde::Deserialize;

use super::Fields;
use super::shown_once::ShownOnce;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::visit::{SignedIn, Visit};

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
                (Scope::Write, "Also sends AI traffic through a gateway."),
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
    demands: KeyDemands,
    you: UserId,
    sees_all: bool,
    now: Timestamp,
    /// Where identity providers reach this deployment.
    provisioning: String,
}

impl KeysPage {
    fn expires_soon(&self, view: &KeyView) -> bool {
        view.key.terms.expires_soon(self.now)
    }
}

/// Where the list goes on.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    cursor: Option<String>,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    list: List,
    Query(asked): Query<Asked>,
) -> Answer {
    let request = PageRequest { limit: None, cursor: asked.cursor };
    let template = KeysPage {
        frame: Frame::of(&visit),
        list,
        keys: doors.control.keys(&visit.ctx, Some(list.kind()), &request).await?,
        demands: doors.control.key_demands(&visit.ctx, list.kind()).await?,
        you: session.person.user,
        sees_all: visit.may(Permission::ManageKeys),
        now: visit.ctx.now,
        provisioning: doors.control.provisioning_address(),
    };
    page(&visit.look, &template)
}

/// The terms of a key, as forms have them: an empty field is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    name: String,
    #[serde(default)]
    scope: String,
    /// Apart by lines, blanks or commas.
    ip_ranges: String,
    requests_per_minute: String,
    /// The last day on which it works.
    expires_at: String,
}

impl Terms {
    fn scope(&self) -> Result<Option<Scope>, Error> {
        if self.scope.is_empty() {
            return Ok(None);
        }
        self.scope.parse().map(Some).map_err(|why| Error::invalid("scope", format!("{why}")))
    }

    fn ranges(&self) -> Result<Vec<Cidr>, Error> {
        let apart = |c: char| c.is_whitespace() || c == ',';
        let ranges = self.ip_ranges.split(apart).filter(|range| !range.is_empty());
        ranges.map(|range| range.parse().map_err(|why| no_range(range, &why))).collect()
    }

    fn requests_per_minute(&self) -> Result<Option<u32>, Error> {
        let digits = self.requests_per_minute.trim();
        let no_number =
            || Error::invalid("requests_per_minute", "Give a whole number, or nothing for no limit.");
        (!digits.is_empty()).then(|| digits.parse().map_err(|_| no_number())).transpose()
    }

    fn expires_at(&self) -> Result<Option<Timestamp>, Error> {
        let no_day = || Error::invalid("expires_at", "Give a day such as 2030-12-31, or nothing.");
        (!self.expires_at.is_empty()).then(|| end_of_day(&self.expires_at).ok_or_else(no_day)).transpose()
    }
}

fn no_range(range: &str, why: &impl std::fmt::Display) -> Error {
    Error::invalid("ip_ranges", format!("`{range}`: {why}"))
}

/// The end of a day in UTC.
fn end_of_day(text: &str) -> Option<Timestamp> {
    let next: Date = text.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The last day in UTC on which something works that ends at this moment.
fn last_day(end: Timestamp) -> String {
    let last = end.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(end);
    last.to_zoned(TimeZone::UTC).date().to_string()
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
    let expires_at = if present.map(last_day).unwrap_or_default() == terms.expires_at {
        Change::Keep
    } else {
        Change::Set(terms.expires_at()?)
    };
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
    Ok(see_and_say(&doors, list.path(), visit.look.language.text("The key was revoked.")))
}

fn key_id(text: &str) -> Result<ApiKeyId, Error> {
    text.parse().map_err(|_| Error::not_found("key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_works_to_the_end_of_its_last_day() {
        let table = [
            ("2030-12-31", Some("2031-01-01T00:00:00Z")),
            ("2028-02-28", Some("2028-02-29T00:00:00Z")),
            ("2027-02-29", None),
            ("31.12.2030", None),
            ("9999-12-31", None),
        ];
        for (day, end) in table {
            let end: Option<Timestamp> = end.map(|end| end.parse().unwrap());
            assert_eq!(end_of_day(day), end, "{day}");
            if let Some(end) = end {
                assert_eq!(last_day(end), day);
            }
        }
        assert_eq!(last_day("2030-06-01T12:00:00Z".parse().unwrap()), "2030-06-01");
    }
}
