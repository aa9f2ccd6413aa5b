//! The words of each message: what happened, what to do, and what to do if it was not you.

mod account;
mod joining;
mod sign_in;

use kt_domain::public_url::PublicUrl;

use super::Message;
use super::content::Content;

impl Message {
    /// What the message says, with links below `home`.
    pub(super) fn content(&self, home: &PublicUrl) -> Content {
        match self {
            Self::VerifyAddress { organization, token, expires_at, requested } => {
                joining::verify_address(organization, token, *expires_at, requested, home)
            }
            Self::AlreadyRegistered { organization, requested } => {
                joining::already_registered(organization, requested, home)
            }
            Self::RegistrationPending { organization, name, address, at } => {
                joining::registration_pending(organization, name, address, *at, home)
            }
            Self::RegistrationApproved { organization, with_temporary_password } => {
                joining::registration_approved(organization, *with_temporary_password, home)
            }
            Self::RegistrationRejected { organization } => joining::registration_rejected(organization),
            Self::Invitation { organization, invited_by, role, token, expires_at } => {
                joining::invitation(organization, invited_by, role, token, *expires_at, home)
            }
            Self::Suspended { organization, at } => joining::suspended(organization, *at),
            Self::Reactivated { organization, at } => joining::reactivated(organization, *at, home),
            Self::SessionsEnded { organization, by, at } => {
                joining::sessions_ended(organization, by, *at, home)
            }
            Self::SetupRequested { organization, member, address, note, at } => {
                joining::setup_requested(organization, member, address, note.as_ref(), *at, home)
            }
            Self::DomainMissing { organization, domain, record, lapses_at } => {
                joining::domain_missing(organization, domain, record, *lapses_at, home)
            }
            Self::DomainLapsed { organization, domain, at } => {
                joining::domain_lapsed(organization, domain, *at, home)
            }
            Self::PasswordReset { token, expires_at, requested } => {
                account::password_reset(token, *expires_at, requested, home)
            }
            Self::PasswordMissing { token, expires_at, happened } => {
                account::password_missing(token, *expires_at, happened, home)
            }
            Self::PasswordChanged { change, happened, keys } => {
                account::password_changed(*change, happened, keys, home)
            }
            Self::TemporaryPasswordSet { by, at, expires_at } => {
                account::temporary_password_set(by, *at, *expires_at, home)
            }
            Self::TemporaryPasswordEnds { ends_at } => account::temporary_password_ends(*ends_at, home),
            Self::PasswordEnds { organization, ends_at } => {
                account::password_ends(organization, *ends_at, home)
            }
            Self::NewDevice { happened } => sign_in::new_device(happened, home),
            Self::SignInAfterFailures { failures, happened } => {
                sign_in::after_failures(*failures, happened, home)
            }
            Self::SecondFactorFailed { happened } => sign_in::second_factor_failed(happened, home),
            Self::LockedOut { failures, until, last } => sign_in::locked_out(*failures, *until, last, home),
            Self::CodesLocked { codes, failures, until, last } => {
                sign_in::codes_locked(*codes, *failures, *until, last, home)
            }
            Self::FactorAdded { factor, happened } => account::factor_added(factor, happened, home),
            Self::AppReplaced { happened } => account::app_replaced(happened, home),
            Self::FactorRemoved { factor, happened } => account::factor_removed(factor, happened, home),
            Self::FactorsReset { by, reason, at } => account::factors_reset(by, reason, *at, home),
            Self::FactorRequired { organization, needs_passkey, deadline } => {
                sign_in::factor_required(organization, *needs_passkey, *deadline, home)
            }
            Self::RecoveryCodeUsed { left, happened } => sign_in::recovery_code_used(*left, happened, home),
            Self::RecoveryCodesMade { happened } => account::recovery_codes_made(happened, home),
            Self::EmailChangeRequested { token, expires_at, requested } => {
                account::email_change_requested(token, *expires_at, requested, home)
            }
            Self::EmailChanged { new_address, token, undo_until, happened } => {
                account::email_changed(new_address, token, *undo_until, happened, home)
            }
            Self::EmailChangeUndone { happened } => account::email_change_undone(happened, home),
            Self::ApiKeyEnds { key, name, expires_at } => {
                account::api_key_ends(*key, name, *expires_at, home)
            }
            Self::ApiKeyMade { key, name, expires_at, happened } => {
                account::api_key_made(*key, name, *expires_at, happened, home)
            }
        }
    }
}

/// The same where a stranger's second factor or their recovery codes may be on the account: these outlive a new password and the
/// end of all sessions.
const IF_NOT_YOU_REMOVE: &str = "If this was not you, somebody else may have your account: under Second factors, remove what \
                                 you do not know and make new recovery codes, then change your password, end all other \
                                 sessions, and tell an administrator of your organization.";

/// The end of every notice of something that only the account's holder should have done.
const IF_NOT_YOU: &str = "If this was not you, somebody else may have your account: change your password, end all \
                          other sessions, and tell an administrator of your organization.";
