//! Coming to an organization, waiting at its door, and being kept out of it.

use jiff::Timestamp;
use kt_domain::email::EmailAddress;
use kt_domain::public_url::PublicUrl;

use crate::mail::content::{Content, readable};
use crate::mail::{Circumstances, Label, LinkToken};

pub(super) fn verify_address(
    organization: &Label,
    token: &LinkToken,
    expires_at: Timestamp,
    requested: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("Confirm your e-mail address")
        .opens(format!("Somebody, we hope you, registered at {organization} on Keeptrusts with this address. Confirm it to go on."))
        .circumstances(requested)
        .button("Confirm this address", &home.page_with_token("/verify-email", token.expose()))
        .one_time(expires_at)
        .closes("If it was not you, there is nothing to do: nobody can use the account unless this address is confirmed.")
}

pub(super) fn already_registered(
    organization: &Label,
    requested: &Circumstances,
    home: &PublicUrl,
) -> Content {
    Content::new("You already have an account")
        .opens(format!("Somebody, perhaps you, tried to register at {organization} on Keeptrusts with this address. It already has an account, so nothing was changed."))
        .circumstances(requested)
        .button("Sign in", &home.page("/login"))
        .closes("If you do not know your password any more, choose “Forgot Password” there.")
        .closes(format!("If you do not belong to {organization} yet, ask an administrator there to invite you."))
        .closes("If it was not you, there is nothing to do. Whoever tried was not told that you have an account.")
}

pub(super) fn registration_pending(
    organization: &Label,
    name: &Label,
    address: &EmailAddress,
    at: Timestamp,
    home: &PublicUrl,
) -> Content {
    Content::new(format!("A registration at {organization} waits for approval"))
        .opens(format!("Somebody registered at {organization} and confirmed their e-mail address. They cannot sign in until an administrator approves."))
        .fact("Name", name)
        .fact("E-mail", address)
        .when(at)
        .button("Review registrations", &home.page("/settings/members"))
        .closes("Approve only people whom you expect. The name is what they typed; the address is proved to be theirs.")
}

pub(super) fn registration_approved(
    organization: &Label,
    with_temporary_password: bool,
    home: &PublicUrl,
) -> Content {
    let password = if with_temporary_password {
        "Your administrator gives you a temporary password by another way; it is not in this message. At your first sign-in you replace it with a password of your own."
    } else {
        "Sign in with the password that you chose."
    };
    Content::new(format!("Your account at {organization} is ready"))
        .opens(format!("An administrator of {organization} approved your registration. {password}"))
        .button("Sign in", &home.page("/login"))
}

pub(super) fn registration_rejected(organization: &Label) -> Content {
    Content::new(format!("Your registration at {organization} was not approved"))
        .opens(format!(
            "An administrator of {organization} decided against your registration, so you cannot sign in."
        ))
        .closes("If you think that this is a mistake, ask whoever told you to register.")
}

pub(super) fn invitation(
    organization: &Label,
    invited_by: &Label,
    role: &Label,
    token: &LinkToken,
    expires_at: Timestamp,
    home: &PublicUrl,
) -> Content {
    Content::new(format!("You are invited to {organization}"))
        .opens(format!("{invited_by} invites you to {organization} on Keeptrusts, with the role {role}."))
        .button("Accept the invitation", &home.page_with_token("/register", token.expose()))
        .one_time(expires_at)
        .closes("It is meant for this e-mail address alone: do not pass it on. If you did not expect it, there is nothing to do.")
}

pub(super) fn suspended(organization: &Label, at: Timestamp) -> Content {
    Content::new(format!("Your account at {organization} is suspended"))
        .opens(format!("An administrator of {organization} suspended your account. You were signed out, you cannot sign in there, and your API keys do not work."))
        .when(at)
        .closes(format!("If you do not know why, ask an administrator of {organization}."))
}

pub(super) fn reactivated(organization: &Label, at: Timestamp, home: &PublicUrl) -> Content {
    Content::new(format!("Your account at {organization} works again"))
        .opens(format!(
            "An administrator of {organization} ended the suspension of your account. You can sign in again."
        ))
        .when(at)
        .button("Sign in", &home.page("/login"))
}

pub(super) fn sessions_ended(organization: &Label, by: &Label, at: Timestamp, home: &PublicUrl) -> Content {
    Content::new(format!("You were signed out of {organization} by an administrator"))
        .opens(format!(
            "{by}, an administrator, ended all your sessions at {organization}. You can sign in again."
        ))
        .when(at)
        .button("Sign in", &home.page("/login"))
        .closes(format!("If you do not know why, ask an administrator of {organization}."))
}

pub(super) fn setup_requested(
    organization: &Label,
    member: &Label,
    address: &EmailAddress,
    note: Option<&Label>,
    at: Timestamp,
    home: &PublicUrl,
) -> Content {
    let content = Content::new(format!("A member of {organization} asks you to set up a gateway"))
        .opens(format!("{member} signed in to {organization} and found no gateway to work with. They ask an administrator to set one up."))
        .fact("Member", member)
        .fact("E-mail", address)
        .when(at);
    let content = match note {
        Some(note) => content.fact("Note", note),
        None => content,
    };
    content.button("Set up a gateway", &home.page("/gateways"))
}

/// Where domains are.
const SINGLE_SIGN_ON: &str = "/settings/security/sso";

pub(super) fn domain_missing(
    organization: &Label,
    domain: &Label,
    record: &Label,
    lapses_at: Timestamp,
    home: &PublicUrl,
) -> Content {
    Content::new(format!("The TXT record of {domain} is gone"))
        .opens(format!("{organization} has shown that {domain} is its own by a TXT record, and that record cannot be found any more. Nothing has changed yet."))
        .fact("Domain", domain)
        .fact("TXT record", record)
        .fact("Counts until", &readable(lapses_at))
        .button("Look at the domains", &home.page(SINGLE_SIGN_ON))
        .closes("Set the record again as the page shows it, and leave it there: it is looked for every day.")
        .closes("If it stays away, the domain no longer counts as yours from then on: no account is made or linked by an address in it, and where single sign-on is required, members with such addresses can also sign in otherwise.")
}

pub(super) fn domain_lapsed(
    organization: &Label,
    domain: &Label,
    at: Timestamp,
    home: &PublicUrl,
) -> Content {
    Content::new(format!("{domain} no longer counts as your organization's"))
        .opens(format!("The TXT record by which {organization} has shown that {domain} is its own was gone for two weeks."))
        .fact("Domain", domain)
        .when(at)
        .button("Verify the domain again", &home.page(SINGLE_SIGN_ON))
        .closes("No account is made or linked by an address in it any more. Where single sign-on is required, members with such addresses can also sign in otherwise. Accounts that are linked stay so.")
}
