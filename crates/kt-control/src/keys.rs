//! API keys: made and shown once, listed, changed, rotated, revoked (SPEC section 13).
//!
//! Only a person who has just proven who they are can make a key, change one, or rotate one: a key that leaked can
//! neither mint another nor widen itself. A key acts with its owner's rights, so that others who manage keys can narrow and
//! revoke it, and never widen it.

mod admission;
mod reminders;
mod uses;

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{KeyKind, Permission, Person, Scope};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::keys::{self as rules, KeyCreation, KeyRestrictions, KeyStanding, KeyTerms, KeyText, KeysDue};
use kt_domain::network::cidr::Cidr;
use kt_domain::order::{KeyColumn, Order};
use kt_domain::search::Search;
use kt_store::keys::{self, ApiKey, Due, KeyFilter};
use kt_store::order::{Part, Place};
use kt_store::{Tx, audit};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::control::Control;
use crate::mail::{Label, Message};
use crate::organizations::check_name;
use crate::paging::{Page, PageRequest, PageSize};
use crate::post::{circumstances, kept_email};
pub(crate) use admission::{KeyHolder, program_of};
pub(crate) use uses::KeyUses;

/// A key to be made.
pub struct NewKey {
    /// What it is for.
    pub kind: KeyKind,
    /// What people will call it.
    pub name: String,
    /// How far it is to reach.
    pub scope: Option<Scope>,
    /// From where it is to work; none means anywhere.
    pub ranges: Vec<Cidr>,
    /// How often it is to work in a minute at most.
    pub requests_per_minute: Option<u32>,
    /// When it is to expire.
    pub expires_at: Option<Timestamp>,
}

/// A change of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this.
    Set(T),
}

impl<T> Change<T> {
    fn apply(self, field: &mut T) {
        if let Self::Set(value) = self {
            *field = value;
        }
    }
}

/// A field that is there is set, to `null` too; one that is absent stays, by `#[serde(default)]`.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::Set)
    }
}

/// Changes of a key.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Its name.
    pub name: Change<String>,
    /// How far it reaches.
    pub scope: Change<Option<Scope>>,
    /// From where it works.
    pub ranges: Change<Vec<Cidr>>,
    /// How often it works in a minute at most.
    pub requests_per_minute: Change<Option<u32>>,
    /// When it expires.
    pub expires_at: Change<Option<Timestamp>>,
}

/// A key as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub key: ApiKey,
    /// Where it stands.
    pub standing: KeyStanding,
}

/// Which keys are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichKeys {
    /// Of this kind only.
    pub kind: Option<KeyKind>,
    /// Those alone whose name or first characters hold this.
    pub search: Option<String>,
    /// Those alone that need somebody before long.
    pub due: Option<KeysDue>,
    /// In which order.
    pub order: Order<KeyColumn>,
}

/// Which keys are listed, as it was checked and as far as the actor may see them, and what is demanded of them.
pub(crate) struct SoughtKeys {
    filter: KeyFilter,
    pub(crate) order: Order<KeyColumn>,
    restrictions: KeyRestrictions,
    now: Timestamp,
}

impl SoughtKeys {
    /// Where one of them stands.
    pub(crate) fn view(&self, key: ApiKey) -> KeyView {
        view(key, &self.restrictions, self.now)
    }
}

/// What is demanded of the keys of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDemands {
    /// What the organization demands of all its keys.
    pub restrictions: KeyRestrictions,
    /// Whether whoever asks may make and change keys of this kind.
    pub may_make: bool,
}

/// A key that was made.
pub struct KeyMade {
    /// Its text. Nobody can show it a second time.
    pub text: KeyText,
    /// The key.
    pub view: KeyView,
}

/// How long a rotated key may go on working beside the new one.
const LONGEST_OVERLAP: Duration = Duration::from_hours(7 * 24);

const PAGE: PageSize = PageSize { usual: 50, most: 1000 };

impl Control {
    /// Makes a key for the person who asks. Its text is in the answer and nowhere else.
    pub async fn create_key(&self, ctx: &Ctx, new: NewKey) -> Result<KeyMade, Error> {
        let organization = ctx.require(Permission::UseKeys)?;
        let person = ctx.require_person()?;
        ctx.require_fresh_authentication()?;
        check_name("name", &new.name)?;
        let tx = self.store.begin_write().await?;
        let restrictions = self.security_of(&tx, organization).await?.value.api_keys;
        require_maker(ctx, new.kind, &restrictions)?;
        let new = NewKey { scope: new.scope.or_else(|| restrictions.usual_scope(new.kind)), ..new };
        let made = self.insert_key(ctx, &tx, person, new, &restrictions).await?;
        let record = self
            .record(ctx, AuditAction::KeyCreated, made.view.key.id.as_str())
            .with_change(Value::Null, told(&made.view.key));
        audit::append(&tx, Some(organization), &record).await?;
        // Gateways that wait for a change of keys are told of this one too.
        self.commit_revocation(tx).await?;
        Ok(made)
    }

    /// The keys that the actor may see: one's own, and everybody's for who looks after the organization.
    pub async fn keys(
        &self,
        ctx: &Ctx,
        which: &WhichKeys,
        request: &PageRequest,
    ) -> Result<Page<KeyView>, Error> {
        let organization = ctx.require(Permission::ReadKeys)?;
        let sought = self.sought_keys(ctx, organization, which).await?;
        let list = format!("keys/{}", sought.order);
        let limit = PAGE.of(request)?;
        let after: Option<Place> = self.position(&list, request)?;
        let found = self.listed_keys(organization, &sought, after.as_ref(), limit + 1).await?;
        let page = self.page(&list, limit, found, |key| keys::place_of(key, sought.order.by))?;
        let items = page.items.into_iter().map(|key| sought.view(self.key_uses.told_of(key))).collect();
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    /// What a list of keys is about.
    pub(crate) async fn sought_keys(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        which: &WhichKeys,
    ) -> Result<SoughtKeys, Error> {
        let search = Search::read(which.search.as_deref().unwrap_or_default())?;
        let sees_all = ctx.actor.may(Permission::ReadAllKeys);
        let owner = ctx.actor.user().filter(|_| !sees_all).cloned();
        let restrictions = self.security_of(&self.store, organization).await?.value.api_keys;
        let due = which.due.map(|what| Due { what, now: ctx.now, restrictions: restrictions.clone() });
        let filter = KeyFilter { kind: which.kind, owner, search, due };
        Ok(SoughtKeys { filter, order: which.order, restrictions, now: ctx.now })
    }

    /// The first of them behind this place.
    pub(crate) async fn listed_keys(
        &self,
        organization: &OrganizationId,
        sought: &SoughtKeys,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Error> {
        let part = Part { order: sought.order, after, limit };
        Ok(keys::page(&self.store, organization, &sought.filter, part).await?)
    }

    /// What is demanded of the keys of this kind, for whoever may see any.
    pub async fn key_demands(&self, ctx: &Ctx, kind: KeyKind) -> Result<KeyDemands, Error> {
        let organization = ctx.require(Permission::ReadKeys)?;
        let restrictions = self.security_of(&self.store, organization).await?.value.api_keys;
        let may_make = ctx.require_person().is_ok() && require_maker(ctx, kind, &restrictions).is_ok();
        Ok(KeyDemands { restrictions, may_make })
    }

    /// A key that the actor may see.
    pub async fn key(&self, ctx: &Ctx, id: &ApiKeyId) -> Result<KeyView, Error> {
        let organization = ctx.require(Permission::ReadKeys)?;
        let found = keys::of_organization(&self.store, organization, id).await?;
        let key = found.filter(|key| may_see(ctx, key)).ok_or_else(no_key)?;
        let restrictions = self.security_of(&self.store, organization).await?.value.api_keys;
        Ok(view(self.key_uses.told_of(key), &restrictions, ctx.now))
    }

    /// Changes a key, for the next request that it is used for.
    pub async fn change_key(&self, ctx: &Ctx, id: &ApiKeyId, change: KeyChange) -> Result<KeyView, Error> {
        let organization = ctx.require(Permission::UseKeys)?;
        let person = ctx.require_person()?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        let mut key = find(ctx, &tx, organization, id).await?;
        let restrictions = self.security_of(&tx, organization).await?.value.api_keys;
        require_maker(ctx, key.kind, &restrictions)?;
        require_not_ended(&key, ctx.now)?;
        let (before, given) = (told(&key), key.terms.clone());
        change.name.apply(&mut key.name);
        change.scope.apply(&mut key.terms.scope);
        change.ranges.apply(&mut key.terms.ranges);
        change.requests_per_minute.apply(&mut key.terms.requests_per_minute);
        change.expires_at.apply(&mut key.terms.expires_at);
        check_name("name", &key.name)?;
        restrictions.check_terms(key.kind, &key.terms, ctx.now)?;
        if key.owner != person.user && key.terms.exceed(&given) {
            return Err(not_the_owner());
        }
        keys::change(&tx, &key).await?;
        let record =
            self.record(ctx, AuditAction::KeyChanged, key.id.as_str()).with_change(before, told(&key));
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(view(key, &restrictions, ctx.now))
    }

    /// Makes a key on the terms of this one, for the person who asks, and ends this one after `overlap`. Of all who
    /// rotate one key, one succeeds. A key that was to expire gets as long a life as it had.
    pub async fn rotate_key(&self, ctx: &Ctx, id: &ApiKeyId, overlap: Duration) -> Result<KeyMade, Error> {
        let organization = ctx.require(Permission::UseKeys)?;
        let person = ctx.require_person()?;
        ctx.require_fresh_authentication()?;
        if overlap > LONGEST_OVERLAP {
            let message = format!("Give 0 to {} seconds.", LONGEST_OVERLAP.as_secs());
            return Err(Error::invalid("overlap_seconds", message));
        }
        let tx = self.store.begin_write().await?;
        let mut old = find(ctx, &tx, organization, id).await?;
        let restrictions = self.security_of(&tx, organization).await?.value.api_keys;
        require_maker(ctx, old.kind, &restrictions)?;
        if old.replaced_by.is_some() {
            let message =
                "This key was rotated already. Rotate the one that came in its place, or make a new one.";
            return Err(Error::new(ErrorKind::Conflict, "key_rotated", message));
        }
        require_not_ended(&old, ctx.now)?;
        let made = self.insert_key(ctx, &tx, person, successor(&old, ctx.now), &restrictions).await?;
        let before = told(&old);
        old.replaced_by = Some(made.view.key.id.clone());
        old.terms.ends_at = Some(ctx.now + overlap);
        keys::change(&tx, &old).await?;
        let record = self.record(ctx, AuditAction::KeyRotated, old.id.as_str()).with_change(
            before,
            json!({ "ends_at": old.terms.ends_at, "replaced_by": told(&made.view.key) }),
        );
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(made)
    }

    /// Ends a key at once. One that has ended stays as it is.
    pub async fn revoke_key(&self, ctx: &Ctx, id: &ApiKeyId) -> Result<(), Error> {
        let organization = ctx.require(Permission::UseKeys)?;
        let tx = self.store.begin_write().await?;
        let mut key = find(ctx, &tx, organization, id).await?;
        if key.terms.ends_at.is_some_and(|end| end <= ctx.now) {
            return Ok(());
        }
        key.terms.ends_at = Some(ctx.now);
        keys::change(&tx, &key).await?;
        let record = self
            .record(ctx, AuditAction::KeyRevoked, key.id.as_str())
            .with_change(told(&key), json!({ "ends_at": ctx.now }));
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Stores a new key, and tells its owner by mail that it was made.
    async fn insert_key(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        owner: &Person,
        new: NewKey,
        restrictions: &KeyRestrictions,
    ) -> Result<KeyMade, Error> {
        let terms = KeyTerms {
            scope: new.scope,
            ranges: new.ranges,
            requests_per_minute: new.requests_per_minute,
            created_at: ctx.now,
            expires_at: new.expires_at,
            ends_at: None,
            flagged_at: None,
        };
        restrictions.check_terms(new.kind, &terms, ctx.now)?;
        let text = self.draw(|random| KeyText::generate(new.kind, random));
        let key = ApiKey {
            id: self.draw(|random| ApiKeyId::new(ctx.now, random)),
            organization: owner.organization.clone(),
            kind: new.kind,
            name: new.name,
            prefix: text.prefix().to_owned(),
            owner: owner.user.clone(),
            terms,
            last_used_at: None,
            last_used_ip: None,
            replaced_by: None,
        };
        keys::insert(tx, &key, &text.digest()).await?;
        let message = Message::ApiKeyMade {
            key: key.kind,
            name: Label::new(&key.name),
            expires_at: key.terms.expires_at,
            happened: circumstances(ctx),
        };
        self.enqueue(ctx, tx, Some(&key.organization), Some(&kept_email(&owner.email)?), &message).await?;
        Ok(KeyMade { text, view: view(key, restrictions, ctx.now) })
    }

    /// Notes which keys break demands that have come after them: `after` in place of `before`. Part of the
    /// transaction that changes the demands.
    pub(crate) async fn flag_keys(
        &self,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        before: &KeyRestrictions,
        after: &KeyRestrictions,
        now: Timestamp,
    ) -> Result<(), Error> {
        if before == after {
            return Ok(());
        }
        for mut key in keys::lock_all(tx, organization, now).await? {
            let flagged_at = rules::flagged_at(&key.terms, before, after, now);
            if key.terms.flagged_at != flagged_at {
                key.terms.flagged_at = flagged_at;
                keys::change(tx, &key).await?;
            }
        }
        Ok(())
    }
}

/// Who may make a key of this kind: those who manage keys, and everybody where the organization lets them, for
/// applications only (R147).
fn require_maker(ctx: &Ctx, kind: KeyKind, restrictions: &KeyRestrictions) -> Result<(), Error> {
    let is_open = kind == KeyKind::Access && restrictions.creation == KeyCreation::Everyone;
    ctx.require(if is_open { Permission::UseKeys } else { Permission::ManageKeys })?;
    Ok(())
}

/// The key, if the actor may do something with it.
async fn find(ctx: &Ctx, tx: &Tx<'_>, organization: &OrganizationId, id: &ApiKeyId) -> Result<ApiKey, Error> {
    keys::lock(tx, organization, id).await?.filter(|key| may_run(ctx, key)).ok_or_else(no_key)
}

/// One's own keys, and everybody's for who looks after the organization.
fn may_see(ctx: &Ctx, key: &ApiKey) -> bool {
    ctx.actor.may(Permission::ReadAllKeys) || is_own(ctx, key)
}

/// One's own keys, and everybody's for who manages them.
fn may_run(ctx: &Ctx, key: &ApiKey) -> bool {
    ctx.actor.may(Permission::ManageKeys) || is_own(ctx, key)
}

fn is_own(ctx: &Ctx, key: &ApiKey) -> bool {
    ctx.actor.user() == Some(&key.owner)
}

fn no_key() -> Error {
    Error::not_found("key")
}

fn not_the_owner() -> Error {
    let message = "This key acts with its owner's rights, so only its owner can let it do more. Make a key of your own; \
                   this one you can narrow, rotate or revoke.";
    Error::new(ErrorKind::Forbidden, "not_key_owner", message)
}

fn require_not_ended(key: &ApiKey, now: Timestamp) -> Result<(), Error> {
    if key.terms.ends_at.is_none_or(|end| end > now) {
        return Ok(());
    }
    let message = "This key was revoked or replaced, and nothing brings it back. Make a new one.";
    Err(Error::new(ErrorKind::Conflict, "key_revoked", message))
}

/// What comes in place of a key: the same terms, and as long a life.
fn successor(old: &ApiKey, now: Timestamp) -> NewKey {
    let terms = &old.terms;
    let renewed = |end: Timestamp| now.saturating_add(end.duration_since(terms.created_at)).unwrap_or(end);
    NewKey {
        kind: old.kind,
        name: old.name.clone(),
        scope: terms.scope,
        ranges: terms.ranges.clone(),
        requests_per_minute: terms.requests_per_minute,
        expires_at: terms.expires_at.map(renewed),
    }
}

fn view(key: ApiKey, restrictions: &KeyRestrictions, now: Timestamp) -> KeyView {
    KeyView { standing: rules::standing(&key.terms, restrictions, now), key }
}

/// What the audit log says of a key.
fn told(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "type": key.kind,
        "name": key.name,
        "prefix": key.prefix,
        "owner": key.owner,
        "scope": key.terms.scope,
        "ip_ranges": key.terms.ranges,
        "requests_per_minute": key.terms.requests_per_minute,
        "expires_at": key.terms.expires_at,
    })
}
