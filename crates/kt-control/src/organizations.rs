//! An organization: its name, and what it demands.

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::secret::SecretDigest;
use kt_domain::security_choices::SecurityChoices;
use kt_domain::security_settings::SecuritySettings;
use kt_store::organizations::{self, Organization, Versioned};
use kt_store::{Source, audit};
use serde_json::json;

use crate::control::Control;
use crate::version::Expected;

/// The name of the document that holds what an organization has chosen of its security settings.
pub(crate) const SECURITY: &str = "security";

/// An organization, as those in it see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationView {
    /// The organization.
    pub organization: Organization,
    /// Changes with every change.
    pub version: String,
}

impl Control {
    /// The organization of whoever asks.
    pub async fn organization(&self, ctx: &Ctx) -> Result<OrganizationView, Error> {
        let id = ctx.require(Permission::ReadOrganization)?;
        view(organizations::find(&self.store, id).await?)
    }

    /// Gives the organization another name. Its identifier stays: people and programs have it written down.
    pub async fn rename_organization(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        name: &str,
    ) -> Result<OrganizationView, Error> {
        let id = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        check_name("name", name)?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, id).await?;
        let before = view(organizations::find(&tx, id).await?)?;
        expected.check(&before.version)?;
        if before.organization.name == name {
            return Ok(before);
        }
        organizations::rename(&tx, id, name).await?;
        let record = self
            .record(ctx, AuditAction::OrganizationRenamed, id.as_str())
            .with_change(json!({ "name": before.organization.name }), json!({ "name": name }));
        audit::append(&tx, Some(id), &record).await?;
        self.commit_revocation(tx).await?;
        view(Some(Organization { name: name.to_owned(), ..before.organization }))
    }

    /// What this organization demands at this moment: what it has chosen, nowhere looser than the deployment.
    pub(crate) async fn security_of(
        &self,
        source: &impl Source,
        organization: &OrganizationId,
    ) -> Result<Versioned<SecuritySettings>, Error> {
        let kept: Versioned<SecurityChoices> =
            organizations::settings(source, organization, SECURITY).await?;
        let value = kept.value.in_force(&self.deployment).map_err(Error::internal)?;
        Ok(Versioned { version: kept.version, value })
    }
}

/// Its name is all that can change, so that its version is a digest of the name.
fn view(organization: Option<Organization>) -> Result<OrganizationView, Error> {
    let organization = organization.ok_or_else(|| Error::not_found("organization"))?;
    let version = SecretDigest::of(&organization.name).to_string();
    Ok(OrganizationView { organization, version })
}

/// What an organization may be called in addresses and at sign-in: 2 to 63 characters, `a-z`, `0-9` and inner `-`.
pub(crate) fn check_identifier(identifier: &str) -> Result<(), Error> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_good = (2..=63).contains(&identifier.len())
        && identifier.chars().all(inner)
        && !identifier.starts_with('-')
        && !identifier.ends_with('-');
    if is_good {
        return Ok(());
    }
    let message = "Use 2 to 63 characters: small letters, digits, and hyphens between them.";
    Err(Error::invalid("organization", message))
}

/// A name for people to read: 1 to 200 characters of which some are seen, and none that breaks the line or turns what is read
/// around.
pub(crate) fn check_name(param: &'static str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=200).contains(&length) && is_plain(name) && name.trim() == name && name.chars().any(is_seen) {
        return Ok(());
    }
    Err(Error::invalid(param, "Use 1 to 200 characters, without line breaks and without spaces at the ends."))
}

/// Whether no character breaks the line, or turns what is read around, by which one name can look like another
/// (CVE-2021-42574). What joins letters, and tells a script's direction, belongs to names.
fn is_plain(name: &str) -> bool {
    let steers = |c| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !name.chars().any(|c| c.is_control() || steers(c))
}

/// Whether a character is seen by itself: no space, joiner or mark, nor another that fonts leave blank (Unicode:
/// `Default_Ignorable_Code_Point`, the fillers of Hangul, the empty pattern of Braille).
fn is_seen(c: char) -> bool {
    let is_blank = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    !c.is_whitespace() && !is_blank
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_name_is_seen_and_read_in_its_order() {
        // A Persian name with a joiner, an Indian one, a family of joined signs, and one in Hebrew with a mark of direction.
        let good = [
            "Ada",
            "\u{645}\u{6cc}\u{200c}\u{62e}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{1f469}\u{200d}\u{1f469}",
            "\u{5d0}\u{200f}",
            "Jo Ann",
        ];
        for name in good {
            check_name("name", name).unwrap();
        }
        let long = "a".repeat(201);
        let bad = [
            "",
            " ",
            " Ada",
            "Ada ",
            "A\nda",
            "A\u{2028}da",
            "A\u{2029}da",
            "\u{202e}adA",
            "A\u{2066}da\u{2069}",
            "\u{200b}",
            "\u{200c}\u{200d}",
            "\u{2060}\u{feff}",
            "\u{ad}",
            "\u{3164}",
            "\u{2800}",
            "\u{a0}",
            "A\0da",
            &long,
        ];
        for name in bad {
            assert_eq!(check_name("name", name).unwrap_err().param.as_deref(), Some("name"), "{name:?}");
        }
    }
}
