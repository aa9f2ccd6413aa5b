//! The domains that an organization shows to be its own: by a TXT record, or by the operator's word.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_domain::sso::{DOMAIN_GRACE, DomainProof, OwnDomain};
use kt_store::domains::{self, ClaimedDomain};
use kt_store::{Source, StoreError, Tx, audit, limits, organizations};
use serde_json::{Value, json};

use crate::authenticate::require_operator;
use crate::control::Control;

/// A domain that an organization claims, and how it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainView {
    /// Its name.
    pub domain: OwnDomain,
    /// Where the TXT record stands.
    pub record_name: String,
    /// What it says.
    pub record_value: String,
    /// When it was claimed.
    pub added_at: Timestamp,
    /// When it was shown to be theirs.
    pub verified_at: Option<Timestamp>,
    /// By what.
    pub proof: Option<DomainProof>,
    /// Since when its record is gone.
    pub missing_since: Option<Timestamp>,
    /// When it stops counting as theirs, if the record stays away.
    pub lapses_at: Option<Timestamp>,
}

/// How many domains an organization can claim.
const MOST_DOMAINS: usize = 100;

/// How often the name servers are asked for an organization in a quarter of an hour.
const LOOKUPS: i64 = 60;
const WINDOW: Duration = Duration::from_mins(15);

impl Control {
    /// The domains that the organization claims.
    pub async fn domains(&self, ctx: &Ctx) -> Result<Vec<DomainView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        Ok(domains::of(&self.store, organization).await?.into_iter().map(DomainView::from).collect())
    }

    /// Claims a domain; nothing changes until it is verified. Claimed twice, it stays as it is.
    pub async fn add_domain(&self, ctx: &Ctx, typed: &str) -> Result<DomainView, Error> {
        let organization = owners_organization(ctx)?;
        let domain = OwnDomain::parse(typed)?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        if let Some(claim) = domains::find(&tx, organization, &domain).await? {
            return Ok(claim.into());
        }
        if domains::of(&tx, organization).await?.len() >= MOST_DOMAINS {
            return Err(Error::invalid("domain", "An organization can claim at most 100 domains."));
        }
        let claim = self.claim(ctx, &tx, organization, domain).await?;
        tx.commit().await?;
        Ok(claim.into())
    }

    async fn claim(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        domain: OwnDomain,
    ) -> Result<ClaimedDomain, Error> {
        let challenge = self.new_token().expose().to_owned();
        let claim = ClaimedDomain::new(domain, challenge, ctx.now);
        domains::add(tx, organization, &claim).await?;
        let record = self.record(ctx, AuditAction::DomainAdded, claim.domain.as_str());
        audit::append(tx, Some(organization), &record).await?;
        Ok(claim)
    }

    /// Looks whether the TXT record of a claimed domain is there. Refused with `domain_not_proven` where it is not, and
    /// with `domain_taken` where another organization has shown the domain to be its own.
    pub async fn verify_domain(&self, ctx: &Ctx, typed: &str) -> Result<DomainView, Error> {
        let organization = owners_organization(ctx)?;
        let domain = OwnDomain::parse(typed)?;
        let tx = self.store.begin_write().await?;
        let claim = domains::find(&tx, organization, &domain).await?.ok_or_else(no_domain)?;
        let lookups = limits::count(&tx, &format!("domain_lookups/{organization}"), WINDOW, ctx.now).await?;
        tx.commit().await?;
        if lookups > LOOKUPS {
            let message = "The name servers were asked too often. Wait a quarter of an hour, then try again.";
            let refusal = Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message);
            return Err(refusal.with_retry_after(WINDOW));
        }
        let name = domain.record_name();
        let texts = self.sso.names.texts(&name).await.map_err(|why| not_proven(&claim).with_private(why))?;
        if !texts.contains(&OwnDomain::record_value(&claim.challenge)) {
            return Err(not_proven(&claim));
        }
        // The operator's word is not taken back by a record that somebody has set as well.
        self.note_verified(ctx, organization, &domain, claim.proof.unwrap_or(DomainProof::Dns)).await
    }

    /// Counts a domain as an organization's own on the word of the operator, who answers for that.
    pub async fn vouch_for_domain(
        &self,
        ctx: &Ctx,
        identifier: &str,
        typed: &str,
    ) -> Result<DomainView, Error> {
        require_operator(ctx)?;
        let domain = OwnDomain::parse(typed)?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?.id;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        if domains::find(&tx, &organization, &domain).await?.is_none() {
            self.claim(ctx, &tx, &organization, domain.clone()).await?;
        }
        tx.commit().await?;
        self.note_verified(ctx, &organization, &domain, DomainProof::Operator).await
    }

    async fn note_verified(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        domain: &OwnDomain,
        proof: DomainProof,
    ) -> Result<DomainView, Error> {
        let tx = self.store.begin_write().await?;
        match domains::verify(&tx, organization, domain, proof, ctx.now).await {
            Ok(()) => {}
            Err(StoreError::Exists) => return Err(domain_taken()),
            Err(error) => return Err(error.into()),
        }
        let record = self
            .record(ctx, AuditAction::DomainVerified, domain.as_str())
            .with_change(Value::Null, json!({ "by": proof }));
        audit::append(&tx, Some(organization), &record).await?;
        let claim = domains::find(&tx, organization, domain).await?.ok_or_else(no_domain)?;
        tx.commit().await?;
        Ok(claim.into())
    }

    /// Gives a domain up. Accounts that are linked stay so; no others are by an address in it.
    pub async fn remove_domain(&self, ctx: &Ctx, typed: &str) -> Result<(), Error> {
        self.give_domain_up(ctx, owners_organization(ctx)?, typed).await
    }

    /// The same for the operator, where an organization holds a domain that is another's by now and nobody there gives it up
    /// (SPEC section 14).
    pub async fn take_domain_away(&self, ctx: &Ctx, identifier: &str, typed: &str) -> Result<(), Error> {
        require_operator(ctx)?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?.id;
        self.give_domain_up(ctx, &organization, typed).await
    }

    async fn give_domain_up(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        typed: &str,
    ) -> Result<(), Error> {
        let domain = OwnDomain::parse(typed)?;
        let tx = self.store.begin_write().await?;
        if !domains::remove(&tx, organization, &domain).await? {
            return Err(no_domain());
        }
        let record = self.record(ctx, AuditAction::DomainRemoved, domain.as_str());
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Whether an organization has shown the domain of this address to be its own.
    pub(crate) async fn owns_domain(
        &self,
        source: &impl Source,
        organization: &OrganizationId,
        domain: &str,
    ) -> Result<bool, Error> {
        Ok(domains::owner_of(source, domain).await?.is_some_and(|owner| owner == *organization))
    }
}

/// The organization of an owner who has just proven who they are. Who vouches for people decides who runs the organization,
/// so that its owners alone decide that.
pub(super) fn owners_organization(ctx: &Ctx) -> Result<&OrganizationId, Error> {
    let organization = ctx.require(Permission::ChangeSettings)?;
    ctx.require_rank(Role::Owner)?;
    ctx.require_fresh_authentication()?;
    Ok(organization)
}

impl From<ClaimedDomain> for DomainView {
    fn from(claim: ClaimedDomain) -> Self {
        Self {
            record_name: claim.domain.record_name(),
            record_value: OwnDomain::record_value(&claim.challenge),
            domain: claim.domain,
            added_at: claim.added_at,
            verified_at: claim.verified_at,
            proof: claim.proof,
            missing_since: claim.missing_since,
            lapses_at: claim.verified_at.and(claim.missing_since).map(|since| since + DOMAIN_GRACE),
        }
    }
}

fn no_domain() -> Error {
    Error::not_found("domain")
}

fn not_proven(claim: &ClaimedDomain) -> Error {
    let message =
        "The TXT record is not there yet. Set it as shown; name servers may take an hour to tell each other.";
    Error::new(ErrorKind::Conflict, "domain_not_proven", message)
        .with_detail("record_name", claim.domain.record_name())
}

fn domain_taken() -> Error {
    let message =
        "Another organization has shown this domain to be its own. Ask the operator of this deployment.";
    Error::new(ErrorKind::Conflict, "domain_taken", message)
}
