//! Everything that stands sealed in the database, for whoever puts another key in the place of the one that seals it.

use std::fmt;

use kt_domain::words;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, values};

/// What is sealed. A new sealed column is a line here, or it is lost with the key that sealed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealedKind {
    /// Secrets of authenticator apps.
    Totp,
    /// Private keys that sign access tokens.
    JwtKey,
    /// The private key that signs checkpoints of the audit log.
    CheckpointKey,
    /// Mail that waits.
    Mail,
    /// Answers that are given again.
    Answer,
    /// Providers' keys.
    Credential,
    /// Secrets of identity providers.
    IdentityProvider,
}

words!(SealedKind {
    Totp = "totp_secrets",
    JwtKey = "jwt_keys",
    CheckpointKey = "audit_signing_key",
    Mail = "mail_queue",
    Answer = "once_requests",
    Credential = "provider_credentials",
    IdentityProvider = "identity_providers",
});

/// One sealed value.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What it is.
    pub kind: SealedKind,
    /// What its row is called.
    pub row: String,
    /// As it stands there.
    pub text: String,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.row)
    }
}

impl Sealed {
    /// What it was sealed for: it opens nowhere else.
    #[must_use]
    pub fn place(&self) -> String {
        match self.kind {
            SealedKind::CheckpointKey => self.kind.to_string(),
            SealedKind::IdentityProvider => format!("{}/{}/secret", self.kind, self.row),
            _ => format!("{}/{}", self.kind, self.row),
        }
    }
}

/// All sealed values of a kind.
pub async fn all(source: &impl Source, kind: SealedKind) -> Result<Vec<Sealed>, StoreError> {
    let select = match kind {
        SealedKind::Totp => "SELECT user_id AS name, sealed AS text FROM totp_secrets",
        SealedKind::JwtKey => {
            "SELECT kid AS name, private_key_sealed AS text FROM jwt_keys WHERE private_key_sealed IS NOT NULL"
        }
        SealedKind::CheckpointKey => "SELECT '1' AS name, private_key_sealed AS text FROM audit_signing_key",
        SealedKind::Mail => "SELECT id AS name, sealed AS text FROM mail_queue WHERE sealed <> ''",
        SealedKind::Answer => {
            "SELECT digest AS name, answer AS text FROM once_requests WHERE answer IS NOT NULL"
        }
        SealedKind::Credential => {
            "SELECT organization_id || '/' || name AS name, sealed AS text FROM provider_credentials"
        }
        SealedKind::IdentityProvider => {
            "SELECT id AS name, secret_sealed AS text FROM identity_providers WHERE secret_sealed IS NOT NULL"
        }
    };
    let rows = sql::rows(source, select, values![]).await?;
    rows.iter().map(|row| Ok(Sealed { kind, row: row.get("name")?, text: row.get("text")? })).collect()
}

/// Puts another text in the place of a sealed value, unless it was changed or removed meanwhile.
pub async fn replace(tx: &Tx<'_>, sealed: &Sealed, text: &str) -> Result<bool, StoreError> {
    let update = match sealed.kind {
        SealedKind::Totp => "UPDATE totp_secrets SET sealed = $3 WHERE user_id = $1 AND sealed = $2",
        SealedKind::JwtKey => {
            "UPDATE jwt_keys SET private_key_sealed = $3 WHERE kid = $1 AND private_key_sealed = $2"
        }
        SealedKind::CheckpointKey => {
            "UPDATE audit_signing_key SET private_key_sealed = $3 WHERE '1' = $1 AND private_key_sealed = $2"
        }
        SealedKind::Mail => "UPDATE mail_queue SET sealed = $3 WHERE id = $1 AND sealed = $2",
        SealedKind::Answer => "UPDATE once_requests SET answer = $3 WHERE digest = $1 AND answer = $2",
        SealedKind::Credential => {
            "UPDATE provider_credentials SET sealed = $3
            WHERE organization_id || '/' || name = $1 AND sealed = $2"
        }
        SealedKind::IdentityProvider => {
            "UPDATE identity_providers SET secret_sealed = $3 WHERE id = $1 AND secret_sealed = $2"
        }
    };
    Ok(sql::execute(tx, update, values![&sealed.row, &sealed.text, text]).await? == 1)
}
