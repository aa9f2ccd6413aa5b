//! Attempts to sign in, good and bad, and what they need.

use jiff::Timestamp;
use kt_domain::mfa::FEW_RECOVERY_CODES;
use kt_domain::public_url::PublicUrl;

use super::{IF_NOT_YOU, IF_NOT_YOU_REMOVE};
use crate::mail::content::{Content, counted, readable};
use crate::mail::{Circumstances, Codes, Label};

pub(super) fn new_device(happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("New sign-in to your account")
        .opens("Somebody signed in to your account from a device or network that was not used for it before.")
        .circumstances(happened)
        .button("Review your sessions", &home.page("/settings/profile"))
        .closes("If this was you, there is nothing to do.")
        .closes(IF_NOT_YOU)
}

pub(super) fn after_failures(failures: u32, happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new(format!("Sign-in to your account after {}", counted(failures, "failed attempt")))
        .opens(format!(
            "Somebody signed in to your account after {} with a wrong password.",
            counted(failures, "attempt")
        ))
        .circumstances(happened)
        .button("Review your sessions", &home.page("/settings/profile"))
        .closes("If this was you, there is nothing to do.")
        .closes(IF_NOT_YOU)
}

pub(super) fn second_factor_failed(happened: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("Your password was right, the second factor was not")
        .opens("Somebody entered the right password of your account, but failed at the second factor. They were not let in.")
        .circumstances(happened)
        .button("Choose a new password", &home.page("/forgot-password"))
        .closes("If this was you, just try again.")
        .closes("If this was not you, somebody knows your password: choose a new one now, which you use nowhere else.")
}

pub(super) fn locked_out(failures: u32, until: Timestamp, last: &Circumstances, home: &PublicUrl) -> Content {
    Content::new("Sign-in with your password is locked for a while")
        .opens(format!(
            "After {} with a wrong password, nobody can sign in to your account with a password until {}. This was the last attempt:",
            counted(failures, "attempt"),
            readable(until)
        ))
        .circumstances(last)
        .button("Choose a new password", &home.page("/forgot-password"))
        .closes("A passkey works all the time, and so does a link to choose a new password.")
        .closes("If these attempts were not yours, nobody got in. Make sure that you use this password nowhere else.")
}

pub(super) fn codes_locked(
    codes: Codes,
    failures: u32,
    until: Timestamp,
    last: &Circumstances,
    home: &PublicUrl,
) -> Content {
    let (subject, which, other) = match codes {
        Codes::AuthenticatorApp => (
            "Codes of your authenticator app are locked for a while",
            "a code of an authenticator app",
            "so do your recovery codes",
        ),
        Codes::Recovery => {
            ("Your recovery codes are locked for a while", "a recovery code", "so does an authenticator app")
        }
    };
    Content::new(subject)
        .opens(format!(
            "After {}, nobody can use {which} for your account until {}. This was the last one:",
            counted(failures, "wrong code"),
            readable(until)
        ))
        .circumstances(last)
        .button("Choose a new password", &home.page("/forgot-password"))
        .closes(format!("A passkey works all the time, and {other}."))
        .closes("If these codes were not yours, somebody knows your password or has a session of yours: choose a new password now, which you use nowhere else. It ends all sessions.")
}

pub(super) fn factor_required(
    organization: &Label,
    needs_passkey: bool,
    deadline: Option<Timestamp>,
    home: &PublicUrl,
) -> Content {
    let (what, order, which) = if needs_passkey {
        (
            "passkey",
            "Set up a passkey",
            "A phone, a computer with a fingerprint reader or a hardware key makes one. An authenticator app is not enough.",
        )
    } else {
        ("second factor", "Set up a second factor", "A passkey or an authenticator app will do.")
    };
    let (when, from_then) = match deadline.map(readable) {
        Some(deadline) => (format!("before {deadline}"), format!("From {deadline} on you")),
        None => ("now".to_owned(), "You".to_owned()),
    };
    Content::new(format!("{order} {when}"))
        .opens(format!("{organization} requires a {what} at sign-in, and your account has none. {from_then} have to set one up before you can do anything else."))
        .button(order, &home.page("/mfa/setup"))
        .closes(format!("{which} It takes about two minutes."))
}

pub(super) fn recovery_code_used(left: u32, happened: &Circumstances, home: &PublicUrl) -> Content {
    let remaining = match left {
        0 => "You have no recovery codes left. Make new ones now: without them, losing your second factor locks you out.".to_owned(),
        few if i64::from(few) <= FEW_RECOVERY_CODES => format!("You have {} left. Make new ones before you need them.", counted(left, "recovery code")),
        _ => format!("You have {} left.", counted(left, "recovery code")),
    };
    let subject = if left == 0 { "Your last recovery code was used" } else { "A recovery code was used" };
    Content::new(subject)
        .opens("A recovery code of your account was used in place of the second factor.")
        .circumstances(happened)
        .button("Make new recovery codes", &home.page("/mfa/setup"))
        .closes(remaining)
        .closes(IF_NOT_YOU_REMOVE)
}
