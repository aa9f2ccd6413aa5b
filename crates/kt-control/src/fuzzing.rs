//! The doors through which fuzz targets reach this crate's readers. No other build has them.

use std::sync::LazyLock;

use jiff::Timestamp;
use kt_domain::actor::Role;
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::random::Random;

use crate::jwt::{NewToken, Signer};
pub use crate::second_factors::webauthn::fuzzing as passkeys;

/// 2026-03-15T14:22:31Z.
const NOW: Timestamp = Timestamp::constant(1_773_584_551, 0);

#[expect(clippy::unwrap_used, reason = "a seed of the right length is a key")]
static SIGNER: LazyLock<Signer> =
    LazyLock::new(|| Signer::with_key("https://api.example.com", &[7; 32]).unwrap());

/// The only token that its key has ever signed.
#[must_use]
#[expect(clippy::unwrap_used, reason = "there is a key that signs")]
pub fn only_access_token() -> String {
    let mut random = Random::seeded(1);
    let token = NewToken {
        user: &UserId::new(NOW, &mut random),
        organization: &OrganizationId::new(NOW, &mut random),
        role: Role::Member,
        session: &SessionId::new(NOW, &mut random),
        amr: vec!["pwd".to_owned()],
        authenticated_at: NOW,
    };
    SIGNER.sign(token, NOW).unwrap()
}

/// Whether a bearer is let in as an access token.
#[must_use]
pub fn is_access_token(bearer: &str) -> bool {
    SIGNER.verify(bearer, NOW).is_some()
}
