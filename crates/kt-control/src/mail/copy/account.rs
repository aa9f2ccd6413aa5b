//! Changes to what opens an account: password, second factors, e-mail address, keys.

use jiff::Timestamp;
use kt_domain::actor::KeyKind;
use kt_domain::email::EmailAddress;
use kt_domain::public_url::PublicUrl;

use super::{IF_NOT_YOU, IF_NOT_YOU_REMOVE};
use crate::mail::content::{Content, readable};
use crate::mail::{Circumstances, Factor, Label, LinkToken, PasswordChange};

/// Where keys of each kind are looked after.
const ACCESS_KEYS: &str = "/settings/access-keys";
const GATEWAY_KEYS: &str = "/settings/gateway-keys";
const PROVISIONING_KEYS: &str = "/settings/provisioning-keys";

pub(super) fn password_reset(
    token: &LinkToken,
    expires_at: Timestamp,
    requested: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("Choose a new password")
        .opens("Somebody, we hope you, asked for a link to choose a new password for your account.")
        .circumstances(requested)
        .button("Choose a new password", &home.page_with_token("/reset-password", token.expose()))
        .one_time(expires_at)
        .closes("A new password ends all your sessions. If your account has a second factor, you need it at the next sign-in as always.")
        .closes("If it was not you, there is nothing to do: your password stays as it is. Do not pass the link on.")
}

pub(super) fn password_missing(
    token: &LinkToken,
    expires_at: Timestamp,
    happened: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("Choose the password of your account")
        .opens("Your address was confirmed. Registrations with different passwords had been made for it, so none of them counts: choose yours.")
        .circumstances(happened)
        .button("Choose a password", &home.page_with_token("/reset-password", token.expose()))
        .one_time(expires_at)
        .closes("If you have registered once only, somebody else did so with your address. They have nothing of it. Do not pass the link on.")
}

pub(super) fn password_changed(
    change: PasswordChange,
    happened: &Circumstances,
    keys: &[Label],
    home: &PublicUrl,
) -> Content {
    let (subject, opening) = match change {
        PasswordChange::Changed => ("Your password was changed", "The password of your account was changed."),
        PasswordChange::Reset => (
            "Your password was changed",
            "The password of your account was changed through a link sent to this address. All your sessions have ended.",
        ),
        PasswordChange::Replaced => (
            "Your password was changed",
            "The password of your account was replaced at sign-in, as was asked for.",
        ),
        PasswordChange::Added => (
            "Your account has a password now",
            "A password was added to your account. From now on it can be used to sign in.",
        ),
    };
    let content = Content::new(subject).opens(opening).circumstances(happened);
    let content = if keys.is_empty() {
        content
    } else {
        let names: Vec<String> = keys.iter().map(Label::to_string).collect();
        content
            .fact("API keys", &names.join(", "))
            .closes("The API keys above still work. Revoke those that you do not know.")
    };
    content.button("Choose another password", &home.page("/forgot-password")).closes(
        "If this was not you, somebody else may have your account: choose another password now, and tell an \
         administrator of your organization.",
    )
}

pub(super) fn temporary_password_set(
    by: &Label,
    at: Timestamp,
    expires_at: Timestamp,
    home: &PublicUrl,
) -> Content {
    Content::new("You have a temporary password")
        .opens(format!("{by}, an administrator, set a temporary password for your account. It is not in this message: {by} gives it to you by another way."))
        .when(at)
        .fact("Works until", &readable(expires_at))
        .button("Sign in", &home.page("/login"))
        .closes("It works for one sign-in, at which you replace it with a password of your own.")
        .closes("If you did not expect this, speak to an administrator whom you know before you sign in.")
}

pub(super) fn temporary_password_ends(ends_at: Timestamp, home: &PublicUrl) -> Content {
    let end = readable(ends_at);
    Content::new(format!("Use your temporary password before {end}"))
        .opens(format!("An administrator gave you a temporary password, and you have not chosen one of your own yet. It stops working on {end}."))
        .button("Sign in", &home.page("/login"))
        .closes("Once it has ended, choose a password by the link that “Forgot Password” sends you, or ask an administrator for another.")
}

pub(super) fn password_ends(organization: &Label, ends_at: Timestamp, home: &PublicUrl) -> Content {
    let end = readable(ends_at);
    Content::new(format!("Choose a new password before {end}"))
        .opens(format!("{organization} asks for another password from time to time. From {end} on you have to choose one when you sign in, before you can do anything else."))
        .button("Choose a new password", &home.page("/settings/profile"))
        .closes("Choosing it signs you out everywhere. Your second factors and API keys stay as they are.")
}

pub(super) fn factor_added(factor: &Factor, happened: &Circumstances, home: &PublicUrl) -> Content {
    let (subject, opening) = match factor {
        Factor::AuthenticatorApp => (
            "An authenticator app was added to your account",
            "An authenticator app was added to your account. Its codes can be used to sign in.".to_owned(),
        ),
        Factor::Passkey(name) => (
            "A passkey was added to your account",
            format!("The passkey “{name}” was added to your account. It can be used to sign in."),
        ),
    };
    Content::new(subject)
        .opens(opening)
        .circumstances(happened)
        .button("Review your account", &home.page("/settings/security"))
        .closes(IF_NOT_YOU_REMOVE)
}

pub(super) fn app_replaced(happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("The authenticator app of your account was replaced")
        .opens("Another authenticator app took the place of the one that your account had. Codes of the earlier one cannot be used to sign in any more.")
        .circumstances(happened)
        .button("Review your account", &home.page("/settings/security"))
        .closes(IF_NOT_YOU_REMOVE)
}

pub(super) fn factor_removed(factor: &Factor, happened: &Circumstances, home: &PublicUrl) -> Content {
    let (subject, opening) = match factor {
        Factor::AuthenticatorApp => (
            "The authenticator app of your account was removed",
            "The authenticator app was removed from your account. Its codes cannot be used to sign in any more.".to_owned(),
        ),
        Factor::Passkey(name) => (
            "A passkey of your account was removed",
            format!(
                "The passkey “{name}” was removed from your account. It cannot be used to sign in any more."
            ),
        ),
    };
    Content::new(subject)
        .opens(opening)
        .circumstances(happened)
        .button("Review your account", &home.page("/settings/security"))
        .closes(IF_NOT_YOU)
}

pub(super) fn factors_reset(by: &Label, reason: &Label, at: Timestamp, home: &PublicUrl) -> Content {
    Content::new("Your second factors were removed by an administrator")
        .opens(format!("{by}, an administrator, removed all second factors of your account and ended its sessions."))
        .when(at)
        .fact("Reason", reason)
        .button("Sign in", &home.page("/login"))
        .closes("Set up a second factor again at your next sign-in.")
        .closes("If you did not ask for this, choose a new password and speak to an administrator whom you know, now.")
}

pub(super) fn recovery_codes_made(happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("New recovery codes were made for your account")
        .opens("New recovery codes were made for your account. All earlier ones have stopped working.")
        .circumstances(happened)
        .button("Review your account", &home.page("/settings/profile"))
        .closes(IF_NOT_YOU_REMOVE)
}

pub(super) fn email_change_requested(
    token: &LinkToken,
    expires_at: Timestamp,
    requested: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("Confirm your new e-mail address")
        .opens("Somebody, we hope you, wants to use this address for an account on Keeptrusts. Confirm it to make the change.")
        .circumstances(requested)
        .button("Confirm this address", &home.page_with_token("/verify-email", token.expose()))
        .one_time(expires_at)
        .closes("If it was not you, there is nothing to do: nothing changes unless this address is confirmed.")
}

pub(super) fn email_changed(
    new_address: &EmailAddress,
    token: &LinkToken,
    undo_until: Timestamp,
    happened: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("The e-mail address of your account was changed")
        .opens("Your account now has another e-mail address. Messages like this one go there from now on.")
        .fact("New address", new_address)
        .circumstances(happened)
        .button("Undo the change", &home.page_with_token("/undo-email-change", token.expose()))
        .one_time(undo_until)
        .closes("If this was you, there is nothing to do.")
        .closes("If this was not you, somebody else may have your account: undo the change now, choose a new password, and tell an administrator of your organization.")
}

pub(super) fn email_change_undone(happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("This is no longer the e-mail address of your account")
        .opens("The change to this address was undone by a link that was sent to the address before it. Your account has that one again, all its sessions have ended, and messages like this one go there from now on.")
        .circumstances(happened)
        .button("Sign in with the earlier address", &home.page("/login"))
        .closes("If this was not you, somebody else reads the mail of the earlier address: tell an administrator of your organization now.")
}

pub(super) fn api_key_made(
    key: KeyKind,
    name: &Label,
    expires_at: Option<Timestamp>,
    happened: &Circumstances,
    home: &PublicUrl,
) -> Content {
    let (subject, page) = match key {
        KeyKind::Access => ("An access key was made with your account", ACCESS_KEYS),
        KeyKind::Gateway => ("A gateway key was made with your account", GATEWAY_KEYS),
        KeyKind::Scim => ("A provisioning key was made with your account", PROVISIONING_KEYS),
    };
    Content::new(subject)
        .opens("A key was made with your account. Whoever holds it can act with the rights that it was given.")
        .fact("Key", name)
        .fact("Works until", &expires_at.map_or_else(|| "it is revoked".to_owned(), readable))
        .circumstances(happened)
        .button("Review the keys", &home.page(page))
        .closes("If this was not you, revoke the key now. Then change your password, end all other sessions, and tell an administrator of your organization.")
}

pub(super) fn api_key_ends(key: KeyKind, name: &Label, expires_at: Timestamp, home: &PublicUrl) -> Content {
    let (what, page) = match key {
        KeyKind::Access => ("An access key", ACCESS_KEYS),
        KeyKind::Gateway => ("A gateway key", GATEWAY_KEYS),
        KeyKind::Scim => ("A provisioning key", PROVISIONING_KEYS),
    };
    Content::new(format!("{what} of yours ends soon"))
        .opens("A key that you answer for stops working soon, and with it whatever uses it.")
        .fact("Key", name)
        .fact("Works until", &readable(expires_at))
        .button("Rotate the key", &home.page(page))
        .closes("Rotate it with an overlap and put the new one in its place, or let it end if nothing needs it any more.")
}
