//! A ceremony of WebAuthn under way: what is kept between the challenge and the answer, for five minutes and one use.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::SessionId;
use kt_domain::secret::SecretDigest;
use kt_store::Tx;
use kt_store::once::{self, OneTime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::Control;

/// Making a passkey.
pub(crate) const REGISTRATION: &str = "passkey_registration";

/// Showing one.
pub(crate) const ASSERTION: &str = "passkey_assertion";

/// How long a browser may take: the time-out that it is told, too.
const LIFETIME: Duration = webauthn_rs::DEFAULT_AUTHENTICATOR_TIMEOUT;

/// What a browser is asked.
pub struct PasskeyChallenge {
    /// To be sent back with the answer.
    pub flow_token: String,
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    pub options: Value,
}

/// What a browser has answered.
pub struct PasskeyAnswer {
    /// The token that came with the challenge.
    pub flow_token: String,
    /// What `toJSON()` of the credential gave.
    pub credential: Value,
}

/// What a challenge was made for. Its answer is good for nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bond {
    /// A sign-in that begins with it or, at a step, goes on with it; in one browser, where one has asked.
    SignIn { step: Option<SecretDigest>, browser: Option<SecretDigest> },
    /// A step of a sign-in at which a passkey is added.
    Step(SecretDigest),
    /// Somebody signed in.
    Session(SessionId),
}

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ceremony<S> {
    pub(crate) bond: Bond,
    pub(crate) state: S,
}

impl Control {
    /// Keeps what is needed to believe the answer to `options`.
    pub(crate) async fn begin_ceremony<S: Serialize + Clone>(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        purpose: &'static str,
        bond: Bond,
        state: &S,
        options: Value,
    ) -> Result<PasskeyChallenge, Error> {
        let token = self.new_token();
        let ceremony = Ceremony { bond, state: state.clone() };
        let kept = OneTime {
            digest: token.digest(),
            purpose,
            subject: "",
            epoch: None,
            data: &ceremony,
            created_at: ctx.now,
            expires_at: ctx.now + LIFETIME,
        };
        once::issue(tx, &kept).await?;
        Ok(PasskeyChallenge { flow_token: token.expose().to_owned(), options })
    }

    /// Uses a challenge up, before its answer is looked at: a wrong answer is no better the second time (WebAuthn level 3
    /// section 13.4.3).
    pub(crate) async fn take_ceremony<S: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        purpose: &'static str,
        answer: &PasskeyAnswer,
    ) -> Result<Ceremony<S>, Error> {
        let tx = self.store.begin_write().await?;
        let digest = SecretDigest::of(&answer.flow_token);
        let taken = once::consume::<Ceremony<S>>(&tx, purpose, &digest, ctx.now).await?;
        tx.commit().await?;
        Ok(taken.ok_or_else(over)?.data)
    }
}

/// The one answer to a ceremony that leads nowhere.
pub(crate) fn over() -> Error {
    let message = "This took longer than five minutes, or was answered already. Begin again.";
    Error::new(ErrorKind::Unauthenticated, "invalid_flow_token", message)
}
