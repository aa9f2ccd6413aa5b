//! Lists of members, keys and gateways as tables (CSV), whole: what the console shows page by page.

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::search::Search;
use kt_store::order::Place;
use kt_store::{audit, keys, memberships};
use serde_json::{Value, json};

use crate::control::Control;
use crate::copies::CopyUnderWay;
use crate::csv;
use crate::gateways::GatewayView;
use crate::keys::{KeyView, SoughtKeys, WhichKeys};
use crate::members::{MemberView, SoughtMembers, WhichMembers};

/// A table of a list that is being made.
pub struct ListExport {
    organization: OrganizationId,
    list: List,
    /// The last row that was written.
    after: Option<Place>,
    begun: bool,
    complete: bool,
    _under_way: CopyUnderWay,
}

/// What a table is about.
enum List {
    Members(SoughtMembers),
    Keys(SoughtKeys),
    Gateways { search: Option<Search>, now: Timestamp },
}

/// How many rows are read at once.
const PART: u32 = 500;

const MEMBER_COLUMNS: [&str; 9] =
    ["id", "name", "email", "role", "status", "created_at", "last_sign_in_at", "mfa_enabled", "mfa_deadline"];

const KEY_COLUMNS: [&str; 16] = [
    "id",
    "type",
    "name",
    "prefix",
    "owner",
    "scope",
    "ip_ranges",
    "requests_per_minute",
    "created_at",
    "expires_at",
    "ends_at",
    "last_used_at",
    "last_used_ip",
    "status",
    "violations",
    "replaced_by",
];

const GATEWAY_COLUMNS: [&str; 19] = [
    "id",
    "connected",
    "key_id",
    "software_version",
    "config_source",
    "config_version",
    "wanted_version",
    "refused_version",
    "address",
    "reached_at",
    "targets",
    "drained",
    "draining",
    "counts",
    "requests_24h",
    "refused_24h",
    "ip_address",
    "enrolled_at",
    "last_seen_at",
];

impl Control {
    /// Begins a table of members, and records that it was taken.
    pub async fn export_members(&self, ctx: &Ctx, which: &WhichMembers) -> Result<ListExport, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let list = List::Members(self.sought_members(ctx, organization, which).await?);
        let asked = json!({ "mfa": which.factor, "q": which.search, "sort": which.order });
        self.export_list(ctx, organization, list, AuditAction::MembersExported, asked).await
    }

    /// Begins a table of the keys that the actor may see, and records that it was taken.
    pub async fn export_keys(&self, ctx: &Ctx, which: &WhichKeys) -> Result<ListExport, Error> {
        let organization = ctx.require(Permission::ReadKeys)?;
        let list = List::Keys(self.sought_keys(ctx, organization, which).await?);
        let asked = json!({ "type": which.kind, "state": which.due, "q": which.search, "sort": which.order });
        self.export_list(ctx, organization, list, AuditAction::KeysExported, asked).await
    }

    /// Begins a table of gateways, and records that it was taken.
    pub async fn export_gateways(&self, ctx: &Ctx, search: &str) -> Result<ListExport, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let list = List::Gateways { search: Search::read(search)?, now: ctx.now };
        self.export_list(ctx, organization, list, AuditAction::GatewaysExported, json!({ "q": search })).await
    }

    async fn export_list(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        list: List,
        action: AuditAction,
        asked: Value,
    ) -> Result<ListExport, Error> {
        let under_way = self.copies.begin(ctx)?;
        let tx = self.store.begin_write().await?;
        let record = self.record(ctx, action, organization.as_str()).with_change(Value::Null, asked);
        audit::append(&tx, Some(organization), &record).await?;
        tx.commit().await?;
        Ok(ListExport {
            organization: organization.clone(),
            list,
            after: None,
            begun: false,
            complete: false,
            _under_way: under_way,
        })
    }

    /// The next part of the table; `None` when it is complete.
    pub async fn next_of_list(&self, export: &mut ListExport) -> Result<Option<Vec<u8>>, Error> {
        if export.complete {
            return Ok(None);
        }
        let mut part = Vec::new();
        if !std::mem::replace(&mut export.begun, true) {
            export.list.write_head(&mut part);
        }
        export.after = self.write_rows(export, &mut part).await?;
        export.complete = export.after.is_none();
        Ok(Some(part).filter(|part| !part.is_empty()))
    }

    /// Writes the rows behind the last one that was written. Tells where the last one stands, unless there are no more.
    async fn write_rows(&self, export: &ListExport, part: &mut Vec<u8>) -> Result<Option<Place>, Error> {
        let ListExport { organization, list, after, .. } = export;
        match list {
            List::Members(sought) => {
                let found = self.listed_members(organization, sought, after.as_ref(), PART).await?;
                let end = last_of_full(&found).map(|member| memberships::place_of(member, sought.order.by));
                for member in found {
                    csv::write_row(member_cells(sought.view(member)), part);
                }
                Ok(end)
            }
            List::Keys(sought) => {
                let found = self.listed_keys(organization, sought, after.as_ref(), PART).await?;
                let end = last_of_full(&found).map(|key| keys::place_of(key, sought.order.by));
                for key in found {
                    csv::write_row(key_cells(sought.view(self.key_uses.told_of(key))), part);
                }
                Ok(end)
            }
            List::Gateways { search, now } => {
                for gateway in self.all_gateways(organization, search.as_ref(), *now).await? {
                    csv::write_row(gateway_cells(gateway), part);
                }
                Ok(None)
            }
        }
    }
}

impl List {
    fn write_head(&self, part: &mut Vec<u8>) {
        match self {
            Self::Members(_) => csv::write_row(MEMBER_COLUMNS, part),
            Self::Keys(_) => csv::write_row(KEY_COLUMNS, part),
            Self::Gateways { .. } => csv::write_row(GATEWAY_COLUMNS, part),
        }
    }
}

fn member_cells(view: MemberView) -> [String; 9] {
    let MemberView { membership, email, name, has_second_factor, mfa_deadline, .. } = view;
    [
        membership.user.to_string(),
        name,
        email,
        membership.role.to_string(),
        membership.state.to_string(),
        membership.created_at.to_string(),
        moment(membership.last_sign_in_at),
        has_second_factor.to_string(),
        moment(mfa_deadline),
    ]
}

fn key_cells(view: KeyView) -> [String; 16] {
    let KeyView { key, standing } = view;
    let terms = key.terms;
    let listed = |words: Vec<String>| words.join(" ");
    [
        key.id.to_string(),
        key.kind.to_string(),
        key.name,
        key.prefix,
        key.owner.to_string(),
        terms.scope.map(|scope| scope.to_string()).unwrap_or_default(),
        listed(terms.ranges.iter().map(ToString::to_string).collect()),
        terms.requests_per_minute.map(|rate| rate.to_string()).unwrap_or_default(),
        terms.created_at.to_string(),
        moment(terms.expires_at),
        moment(terms.ends_at),
        moment(key.last_used_at),
        key.last_used_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        standing.status.to_string(),
        listed(standing.violations.iter().map(ToString::to_string).collect()),
        key.replaced_by.map(|id| id.to_string()).unwrap_or_default(),
    ]
}

fn gateway_cells(view: GatewayView) -> [String; 19] {
    let reached_at = view.reached_at();
    let reached_at = reached_at.map(|address| address.url().as_str().trim_end_matches('/').to_owned());
    let GatewayView { delivering, is_connected, wanted, traffic } = view;
    let gateway = delivering.gateway;
    let targets: Vec<_> =
        gateway.targets.iter().map(|target| format!("{}: {}", target.id, target.state)).collect();
    [
        gateway.id,
        is_connected.to_string(),
        gateway.key.map(|key| key.to_string()).unwrap_or_default(),
        gateway.software_version,
        gateway.config_source.to_string(),
        gateway.config_version,
        wanted.map(|version| version.to_string()).unwrap_or_default(),
        gateway.refused.map(|refused| refused.version.to_string()).unwrap_or_default(),
        gateway.address.unwrap_or_default(),
        reached_at.unwrap_or_default(),
        targets.join(", "),
        delivering.orders.is_drained.to_string(),
        gateway.is_draining.to_string(),
        if gateway.shares_counts { "together" } else { "alone" }.to_owned(),
        traffic.requests().to_string(),
        traffic.refused().to_string(),
        gateway.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        gateway.enrolled_at.to_string(),
        gateway.seen_at.to_string(),
    ]
}

/// The last of these, where there may be more behind it.
fn last_of_full<T>(found: &[T]) -> Option<&T> {
    found.last().filter(|_| found.len() == PART as usize)
}

fn moment(moment: Option<Timestamp>) -> String {
    moment.map(|moment| moment.to_string()).unwrap_or_default()
}
