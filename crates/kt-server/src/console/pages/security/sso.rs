//! `/settings/security/sso`: the organization's identity provider and its domains (R206–R208).

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use kt_control::{
    DomainView, Expected, NewOidcProvider, OidcPlace, OwnCertificates, ProviderChange, ProviderView,
    SamlPlace, Trial,
};
use kt_domain::actor::Role;
use kt_domain::error::Error;
use kt_domain::sso::{
    AttributeNames, GroupRole, OidcEndpoints, OidcSettings, Protocol, ProviderSettings, SamlSettings,
};
use serde::Deserialize;

use super::forms::Checked;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::cookies::{Cookie, Cookies};
use crate::console::filters;
use crate::console::labels::Label;
use crate::console::pages::{Fields, sso};
use crate::console::visit::{SignedIn, Visit};

const PAGE: &str = "/settings/security/sso";

#[derive(Template)]
#[template(path = "pages/sso.html")]
struct SsoPage {
    frame: Frame,
    /// Owners alone change anything here.
    may_change: bool,
    offers_oidc: bool,
    domains: Vec<DomainView>,
    providers: Vec<Provider>,
    /// Those whose protocol the deployment offers no more: they can be turned off and removed.
    withdrawn: Vec<Provider>,
    place: OidcPlace,
    offers_saml: bool,
    saml_place: SamlPlace,
    /// By what the SAML provider knows us.
    own_certificates: Option<OwnCertificates>,
    now: jiff::Timestamp,
}

/// A provider and how its form shows it.
struct Provider {
    view: ProviderView,
    protocol: Protocol,
}

/// A provider as the form of its protocol shows it.
struct Connected<'a, S> {
    view: &'a ProviderView,
    settings: &'a S,
}

impl Provider {
    /// The groups and their roles, one in each line.
    fn group_roles(&self) -> String {
        let rows = self.view.settings.group_roles.iter();
        rows.map(|row| format!("{} = {}", row.group, row.role)).collect::<Vec<_>>().join("\n")
    }

    /// The words for two factors, one in each line.
    fn mfa_values(&self) -> String {
        self.view.settings.mfa_values.join("\n")
    }

    /// How long a session lasts at most; empty for no bound of its own.
    fn session_limit(&self) -> String {
        self.view.settings.session_limit.map(|limit| limit.to_string()).unwrap_or_default()
    }
}

impl SsoPage {
    fn oidc(&self) -> Option<Connected<'_, OidcSettings>> {
        self.providers.iter().find_map(|provider| {
            Some(Connected { view: &provider.view, settings: provider.view.details.oidc()? })
        })
    }

    fn saml(&self) -> Option<Connected<'_, SamlSettings>> {
        self.providers.iter().find_map(|provider| {
            Some(Connected { view: &provider.view, settings: provider.view.details.saml()? })
        })
    }

    /// When the last certificate of the SAML provider ends, if that is near.
    fn certificates_end(&self) -> Option<jiff::Timestamp> {
        self.saml()?.settings.certificates_end_soon(self.now)
    }

    /// When the certificate ends by which the SAML provider knows us, if that is near.
    fn own_certificate_ends(&self) -> Option<jiff::Timestamp> {
        self.own_certificates.as_ref()?.ends_soon(self.now)
    }

    /// The SAML provider where no address is kept of what it publishes: its values are filled in, to be changed by hand.
    fn saml_by_hand(&self) -> Option<&SamlSettings> {
        self.saml().map(|provider| provider.settings).filter(|settings| settings.metadata_url.is_none())
    }

    /// Whether an address is kept where the SAML provider publishes what it is.
    fn reads_saml_metadata(&self) -> bool {
        self.saml().is_some_and(|provider| provider.settings.metadata_url.is_some())
    }

    /// How we prove to the provider who we are.
    fn authentication(&self) -> &'static str {
        self.oidc().map(|provider| provider.settings.authentication).unwrap_or_default().as_str()
    }

    /// Where the provider is reached, if that was set by hand.
    fn endpoints(&self) -> Option<&OidcEndpoints> {
        self.oidc().and_then(|provider| provider.settings.endpoints.as_ref())
    }
}

/// The page.
pub(crate) async fn show(State(doors): State<Doors>, SignedIn { visit, session }: SignedIn) -> Answer {
    let providers = doors.control.identity_providers(&visit.ctx).await?.into_iter();
    let providers = providers.map(|view| Provider { protocol: view.details.protocol(), view });
    let (providers, withdrawn): (Vec<_>, Vec<_>) =
        providers.partition(|provider| doors.control.offers(provider.protocol));
    let own_certificates = providers.iter().find_map(|provider| provider.view.details.saml());
    let own_certificates = own_certificates.map(OwnCertificates::of).transpose()?;
    let template = SsoPage {
        frame: Frame::of(&visit),
        may_change: session.person.role == Role::Owner,
        offers_oidc: doors.control.offers(Protocol::Oidc),
        domains: doors.control.domains(&visit.ctx).await?,
        providers,
        withdrawn,
        place: doors.control.oidc_place(&visit.ctx).await?,
        offers_saml: doors.control.offers(Protocol::Saml),
        saml_place: doors.control.saml_place(&visit.ctx).await?,
        own_certificates,
        now: visit.ctx.now,
    };
    page(&visit.look, &template)
}

/// An OIDC provider and who we are to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcForm {
    version: String,
    issuer: String,
    client_id: String,
    client_secret: String,
    authentication: String,
    #[serde(default)]
    authorization: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    jwks: String,
    #[serde(default)]
    userinfo: String,
}

/// Sets how the provider is reached.
pub(crate) async fn connect_oidc(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<OidcForm>,
) -> Answer {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let manual = [&form.authorization, &form.token, &form.jwks, &form.userinfo];
    let endpoints = manual.iter().any(|address| given(address).is_some()).then(|| OidcEndpoints {
        authorization: form.authorization.trim().to_owned(),
        token: form.token.trim().to_owned(),
        jwks: form.jwks.trim().to_owned(),
        userinfo: given(&form.userinfo),
    });
    let authentication = form.authentication.parse();
    let new = NewOidcProvider {
        enabled: None,
        settings: None,
        issuer: form.issuer,
        client_id: form.client_id.trim().to_owned(),
        authentication: Some(
            authentication
                .map_err(|_| Error::invalid("authentication", "Choose one of the ways offered."))?,
        ),
        endpoints,
        // A secret that is not typed again stays as it is.
        client_secret: given(&form.client_secret),
    };
    doors.control.put_oidc_provider(&visit.ctx, &expected(form.version), new).await?;
    Ok(said(&doors, &visit, "The connection is saved. Try it out before you turn it on."))
}

/// What both protocols share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesForm {
    version: String,
    protocol: String,
    display_name: String,
    email: String,
    name: String,
    groups: String,
    group_roles: String,
    default_role: String,
    just_in_time: Option<Checked>,
    trust_email: Option<Checked>,
    required: Option<Checked>,
    require_mfa: Option<Checked>,
    mfa_values: String,
    session_limit: String,
}

impl RulesForm {
    fn settings(&self) -> Result<ProviderSettings, Error> {
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let limit = self.session_limit.trim();
        Ok(ProviderSettings {
            display_name: self.display_name.trim().to_owned(),
            attributes: AttributeNames {
                email: self.email.trim().to_owned(),
                name: self.name.trim().to_owned(),
                groups: self.groups.trim().to_owned(),
            },
            group_roles: lines(&self.group_roles)
                .iter()
                .map(|line| group_role(line))
                .collect::<Result<_, _>>()?,
            default_role: role("default_role", &self.default_role)?,
            just_in_time: self.just_in_time.is_some(),
            trust_email: self.trust_email.is_some(),
            required: self.required.is_some(),
            require_mfa: self.require_mfa.is_some(),
            mfa_values: lines(&self.mfa_values),
            session_limit: match limit {
                "" => None,
                text => Some(text.parse().map_err(|why: String| Error::invalid("session_limit", why))?),
            },
        })
    }
}

/// `group = role`. The group may hold `=`, the role cannot.
fn group_role(line: &str) -> Result<GroupRole, Error> {
    let message = "Write a group and its role in each line, such as `ops = admin`.";
    let (group, named) = line.rsplit_once('=').ok_or_else(|| Error::invalid("group_roles", message))?;
    Ok(GroupRole { group: group.trim().to_owned(), role: role("group_roles", named)? })
}

fn role(field: &'static str, text: &str) -> Result<Role, Error> {
    text.trim().parse().map_err(|_| Error::invalid(field, "Choose member, auditor or admin."))
}

/// Sets whom the provider's word lets in, and as what.
pub(crate) async fn change_rules(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<RulesForm>,
) -> Answer {
    let change = ProviderChange::to(form.settings()?);
    let protocol = protocol(&form.protocol)?;
    doors.control.change_identity_provider(&visit.ctx, &expected(form.version), protocol, change).await?;
    Ok(said(&doors, &visit, "Saved."))
}

/// Whether people come in through the provider.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwitchForm {
    version: String,
    protocol: String,
    enabled: Option<Checked>,
}

/// Turns the provider on or off.
pub(crate) async fn switch(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<SwitchForm>,
) -> Answer {
    let enabled = form.enabled.is_some();
    let change = ProviderChange::turned(enabled);
    let protocol = protocol(&form.protocol)?;
    doors.control.change_identity_provider(&visit.ctx, &expected(form.version), protocol, change).await?;
    let text = if enabled {
        "People can sign in through the provider now."
    } else {
        "The provider is turned off, and the sessions that it opened have ended."
    };
    Ok(said(&doors, &visit, text))
}

/// A provider that is to be removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemovalForm {
    version: String,
    protocol: String,
}

/// Removes the provider.
pub(crate) async fn remove(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<RemovalForm>,
) -> Answer {
    let protocol = protocol(&form.protocol)?;
    doors.control.remove_identity_provider(&visit.ctx, &expected(form.version), protocol).await?;
    Ok(said(&doors, &visit, "The provider is removed, and the sessions that it opened have ended."))
}

/// A provider that is to be tried out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestForm {
    protocol: String,
}

/// Leads to the provider, to try it out without signing in.
pub(crate) async fn test(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    headers: HeaderMap,
    Fields(form): Fields<TestForm>,
) -> Answer {
    let browser = Cookies::of(&doors).read(&headers, Cookie::Sso);
    match doors.control.begin_sso_test(&visit.ctx, protocol(&form.protocol)?, browser).await? {
        Trial::Begun(departure) => Ok(sso::depart(&doors, &departure)),
        Trial::Over(report) => sso::tested(&visit, report),
    }
}

/// A domain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainForm {
    domain: String,
}

/// Claims a domain.
pub(crate) async fn add_domain(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<DomainForm>,
) -> Answer {
    doors.control.add_domain(&visit.ctx, &form.domain).await?;
    Ok(said(&doors, &visit, "Set the TXT record that is shown, then verify the domain."))
}

/// Looks whether its record is there.
pub(crate) async fn verify_domain(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<DomainForm>,
) -> Answer {
    doors.control.verify_domain(&visit.ctx, &form.domain).await?;
    Ok(said(&doors, &visit, "The domain is verified."))
}

/// Gives it up.
pub(crate) async fn remove_domain(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<DomainForm>,
) -> Answer {
    doors.control.remove_domain(&visit.ctx, &form.domain).await?;
    Ok(said(&doors, &visit, "The domain is no longer your organization's."))
}

pub(super) fn expected(version: String) -> Expected {
    Expected::OneOf(vec![version])
}

fn protocol(text: &str) -> Result<Protocol, Error> {
    text.parse().map_err(|_| Error::invalid("protocol", "Choose OIDC or SAML."))
}

pub(super) fn said(doors: &Doors, visit: &Visit, text: &'static str) -> axum::response::Response {
    see_and_say(doors, PAGE, visit.look.language.text(text))
}
