//! What is wrong with a passkey that was refused: one of a closed set, which the audit log names.

use kt_domain::words;
use webauthn_rs::prelude::WebauthnError;

/// What is wrong with it (WebAuthn level 3 sections 7.1 and 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer, or a part of it, is none.
    Unreadable,
    /// It is the answer to something else than making, or showing, a passkey.
    WrongCeremony,
    /// It is the answer to another challenge.
    WrongChallenge,
    /// A page of another origin asked for it.
    WrongOrigin,
    /// The page that asked stood in one of another site.
    FramedPage,
    /// The passkey belongs to another site.
    WrongSite,
    /// Nobody was there.
    UserAbsent,
    /// It was not verified who was there.
    UserNotVerified,
    /// What it says of copies does not fit together, or not with what it said before.
    WrongBackupState,
    /// Its key is of a kind that was not offered.
    WrongKey,
    /// The key of the passkey has not signed it.
    WrongSignature,
    /// Its counter has not gone on: there may be two of it.
    CounterRegression,
    /// Its identifier is longer than any may be.
    LongIdentifier,
    /// Nobody has it.
    UnknownPasskey,
    /// It does not say whose it is, though nobody was named before.
    NoHolder,
    /// It is not of whom it was asked, or not of whom it says.
    SomebodyElses,
    /// It is made again, though it is known.
    KnownPasskey,
    /// Its holder has as many as anybody may.
    TooManyPasskeys,
    /// Anything else.
    Other,
}

words!(Fault {
    Unreadable = "unreadable",
    WrongCeremony = "wrong_ceremony",
    WrongChallenge = "wrong_challenge",
    WrongOrigin = "wrong_origin",
    FramedPage = "framed_page",
    WrongSite = "wrong_site",
    UserAbsent = "user_absent",
    UserNotVerified = "user_not_verified",
    WrongBackupState = "wrong_backup_state",
    WrongKey = "wrong_key",
    WrongSignature = "wrong_signature",
    CounterRegression = "counter_regression",
    LongIdentifier = "long_identifier",
    UnknownPasskey = "unknown_passkey",
    NoHolder = "no_holder",
    SomebodyElses = "passkey_of_somebody_else",
    KnownPasskey = "known_passkey",
    TooManyPasskeys = "too_many_passkeys",
    Other = "other",
});

/// Why a passkey does not let anybody in, or is not added.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) fault: Fault,
    /// For the operator's log.
    pub(crate) why: String,
}

impl Fault {
    /// A refusal for this fault.
    pub(crate) fn because(self, why: impl std::fmt::Display) -> Refusal {
        Refusal { fault: self, why: why.to_string() }
    }
}

impl From<WebauthnError> for Refusal {
    fn from(error: WebauthnError) -> Self {
        use WebauthnError as E;
        let fault = match &error {
            E::ParseBase64Failure(_)
            | E::ParseCBORFailure(_)
            | E::ParseJSONFailure(_)
            | E::ParseNOMFailure
            | E::ParseInsufficientBytesAvailable
            | E::MissingAttestationCredentialData => Fault::Unreadable,
            E::InvalidClientDataType => Fault::WrongCeremony,
            E::MismatchedChallenge => Fault::WrongChallenge,
            E::InvalidRPOrigin => Fault::WrongOrigin,
            E::CredentialCrossOrigin => Fault::FramedPage,
            E::InvalidRPIDHash => Fault::WrongSite,
            E::UserNotPresent => Fault::UserAbsent,
            E::UserNotVerified => Fault::UserNotVerified,
            E::CredentialBackupEligibilityInconsistent | E::CredentialMayNotBeHardwareBound => {
                Fault::WrongBackupState
            }
            E::CredentialAlteredAlgFromRequest
            | E::CredentialInsecureCryptography
            | E::COSEKeyInvalidCBORValue
            | E::COSEKeyInvalidType
            | E::COSEKeyInvalidAlgorithm
            | E::COSEKeyEDUnsupported
            | E::SshPublicKeyEDUnsupported
            | E::COSEKeyRSANEInvalid
            | E::COSEKeyECDSAXYInvalid
            | E::COSEKeyECDSAInvalidCurve => Fault::WrongKey,
            E::AuthenticationFailure | E::AttestationStatementSigInvalid | E::SignatureInvalid => {
                Fault::WrongSignature
            }
            E::CredentialPossibleCompromise => Fault::CounterRegression,
            _ => Fault::Other,
        };
        fault.because(error)
    }
}
