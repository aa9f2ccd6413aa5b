//! `/setup/provider`: from a provider's key to a configuration that gateways run, in four steps.

use askama::Template;
use axum::extract::State;
use kt_control::{Expected, GatewayView, Linted, NewKey, PageRequest, ProviderTrial, RolledOut, Tried};
use kt_domain::actor::{KeyKind, Permission, Scope};
use kt_domain::configurations::{
    ConfigurationSource, DiffLine, Draft, Fate, KeptName, VersionId, difference,
};
use kt_domain::error::Error;
use kt_domain::gateways::TargetReport;
use kt_domain::policy_config::Severity;
use kt_domain::policy_config::vendors::{VENDORS, Vendor, Wire};
use serde::{Deserialize, Serialize};

use super::Fields;
use super::provider_credentials::credential;
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page};
use crate::console::filters;
use crate::console::visit::{SignedIn, Visit};

/// What a provider is called that has no name of its own here.
const OTHER: &str = "custom";

/// The first step: which provider.
#[derive(Template)]
#[template(path = "pages/connect-provider.html")]
struct ProviderPage {
    frame: Frame,
    /// Those that are known by name and are elsewhere.
    vendors: Vec<&'static Vendor>,
    chosen: Provider,
    /// What came of trying it.
    tried: Option<Tried>,
}

impl ProviderPage {
    fn new(visit: &Visit, chosen: Provider, tried: Option<Tried>) -> Self {
        let vendors = VENDORS.iter().filter(|vendor| vendor.wire != Wire::Echo).collect();
        Self { frame: Frame::of(visit), vendors, chosen, tried }
    }

    fn is_chosen(&self, vendor: &str) -> bool {
        self.chosen.vendor == vendor
    }
}

/// A provider as it is typed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    vendor: String,
    base_url: String,
    model: String,
    key: String,
    /// The name under which its key was stored already, where somebody has come back to this step.
    #[serde(default)]
    credential: String,
}

impl Provider {
    fn base_url(&self) -> Option<String> {
        filled(&self.base_url)
    }

    fn model(&self) -> Option<String> {
        filled(&self.model)
    }

    /// The name under which a key of this provider was stored at this step before.
    fn stored(&self) -> Result<Option<KeptName>, Error> {
        self.stored_where(self.is_of(&self.vendor))
    }

    /// The name under which a key of another provider was.
    fn stored_of_another(&self) -> Result<Option<KeptName>, Error> {
        let mut vendors = VENDORS.iter().map(|vendor| vendor.name).chain([OTHER]);
        self.stored_where(!self.is_of(&self.vendor) && vendors.any(|vendor| self.is_of(vendor)))
    }

    /// Whether this step gives such a name to a key of this vendor.
    fn is_of(&self, vendor: &str) -> bool {
        let rest = self.credential.strip_prefix(vendor);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn stored_where(&self, is_its: bool) -> Result<Option<KeptName>, Error> {
        let name = Some(&self.credential).filter(|_| is_its).map(|name| name.parse()).transpose();
        name.map_err(|why| Error::invalid("credential", format!("{why}")))
    }

    /// What is tried of it. A key that is stored is sent nowhere from here, and without it the provider would refuse.
    fn trial(&self) -> Result<ProviderTrial, Error> {
        let key = filled(&self.key).map(|key| credential(&key)).transpose()?;
        if key.is_none() && self.stored()?.is_some() {
            let message = "A stored key is not sent for a try. Type it again to try it.";
            return Err(Error::invalid("key", message));
        }
        Ok(ProviderTrial { vendor: self.vendor.clone(), base_url: self.base_url(), model: self.model(), key })
    }

    /// Refuses a provider without an address where every deployment of it has its own.
    fn require_address(&self) -> Result<(), Error> {
        let known = VENDORS.iter().find(|vendor| vendor.name == self.vendor);
        let has_its_own = known.is_none_or(|vendor| vendor.base_url.is_none() && vendor.wire != Wire::Echo);
        if has_its_own && self.base_url().is_none() {
            let message = "This provider is elsewhere for everybody. Give the address of its API, with the version segment.";
            return Err(Error::invalid("base_url", message));
        }
        Ok(())
    }
}

/// The form.
pub(crate) async fn show(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let chosen = Provider { vendor: "openai".to_owned(), ..Provider::default() };
    page(&visit.look, &ProviderPage::new(&visit, chosen, None))
}

/// Asks the provider for its models. The page shows them in place; what was typed stays.
pub(crate) async fn try_it(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(chosen): Fields<Provider>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let tried = doors.control.try_provider(&visit.ctx, &chosen.trial()?).await?;
    let chosen = Provider { key: String::new(), ..chosen };
    page(&visit.look, &ProviderPage::new(&visit, chosen, Some(tried)))
}

/// The second step: who may call, and what is judged.
#[derive(Template)]
#[template(path = "pages/connect-rules.html")]
struct RulesPage {
    frame: Frame,
    rules: Rules,
}

/// Stores the key, if there is one, and asks for the rules.
pub(crate) async fn choose(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(chosen): Fields<Provider>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    chosen.require_address()?;
    let credential = stored(&doors, &visit, &chosen).await?;
    remove_other(&doors, &visit, &chosen).await?;
    let Provider { vendor, base_url, model, .. } = chosen;
    let rules = Rules { vendor, base_url, model, credential, ..Rules::default() };
    page(&visit.look, &RulesPage { frame: Frame::of(&visit), rules })
}

/// Stores the key that was typed: in the place of the one that was stored at this step before, if one was. The name under
/// which a key is stored now; empty where there is none.
async fn stored(doors: &Doors, visit: &Visit, chosen: &Provider) -> Result<String, Error> {
    let before = chosen.stored()?;
    let name = match (filled(&chosen.key), before) {
        (Some(key), Some(name)) => {
            doors.control.replace_credential(&visit.ctx, &name, &credential(&key)?).await?;
            Some(name)
        }
        (Some(key), None) => {
            let name = chosen.vendor.parse().map_err(|why| Error::invalid("vendor", format!("{why}")))?;
            Some(doors.control.store_credential_beside(&visit.ctx, &name, &credential(&key)?).await?)
        }
        (None, before) => before,
    };
    Ok(name.map(|name| name.to_string()).unwrap_or_default())
}

/// Removes the key of another provider that was stored at this step before: nobody needs it any more. One that gateways are
/// told to use meanwhile stays.
async fn remove_other(doors: &Doors, visit: &Visit, chosen: &Provider) -> Result<(), Error> {
    let Some(name) = chosen.stored_of_another()? else { return Ok(()) };
    match doors.control.remove_credential(&visit.ctx, &name).await {
        Err(error) if matches!(error.code, "credential_in_use" | "not_found") => Ok(()),
        outcome => outcome,
    }
}

/// Back to the first step, with what was chosen there. The key stays stored and is not shown.
pub(crate) async fn choose_again(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(rules): Fields<Rules>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let Rules { vendor, base_url, model, credential, .. } = rules;
    let chosen = Provider { vendor, base_url, model, credential, key: String::new() };
    page(&visit.look, &ProviderPage::new(&visit, chosen, None))
}

/// The rules as they are typed, with the provider that was chosen before.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    vendor: String,
    base_url: String,
    model: String,
    credential: String,
    /// `keys` or `open`.
    callers: Callers,
    /// Ranges, apart by lines or blanks.
    allow: String,
    /// Origins, apart by lines or blanks.
    origins: String,
    /// The largest request in megabytes; empty for the usual one.
    #[serde(default)]
    request_megabytes: String,
    #[serde(default)]
    pii: bool,
    #[serde(default)]
    injection: bool,
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Callers {
    Keys,
    Open,
}

/// Nothing is chosen, and what is offered is judged.
impl Default for Rules {
    fn default() -> Self {
        Self {
            vendor: String::new(),
            base_url: String::new(),
            model: String::new(),
            credential: String::new(),
            callers: Callers::Keys,
            allow: String::new(),
            origins: String::new(),
            request_megabytes: String::new(),
            pii: true,
            injection: true,
        }
    }
}

impl Rules {
    fn is_open(&self) -> bool {
        self.callers == Callers::Open
    }

    fn into_draft(self) -> Result<Draft, Error> {
        let apart = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let credential = filled(&self.credential).map(|name| name.parse());
        let policies = [(self.injection, "prompt-injection"), (self.pii, "pii-detector")];
        Ok(Draft {
            base_url: filled(&self.base_url),
            model: filled(&self.model),
            credential: credential
                .transpose()
                .map_err(|why| Error::invalid("credential", format!("{why}")))?,
            is_open: self.is_open(),
            allow: apart(&self.allow),
            origins: apart(&self.origins),
            request_megabytes: filled(&self.request_megabytes).map(|text| megabytes(&text)).transpose()?,
            policies: policies
                .into_iter()
                .filter(|(chosen, _)| *chosen)
                .map(|(_, kind)| kind.to_owned())
                .collect(),
            vendor: self.vendor,
        })
    }
}

/// A size as it is typed.
fn megabytes(text: &str) -> Result<u64, Error> {
    let megabytes = text.parse().ok().filter(|megabytes| (1..=MOST_MEGABYTES).contains(megabytes));
    megabytes.ok_or_else(|| {
        let message = format!("Write a whole number from 1 to {MOST_MEGABYTES}, or nothing.");
        Error::invalid("request_megabytes", message)
    })
}

/// The largest request that can be asked for here; the file takes more.
const MOST_MEGABYTES: u64 = 100;

/// The third step: the file.
#[derive(Template)]
#[template(path = "pages/connect-review.html")]
struct ReviewPage {
    frame: Frame,
    text: String,
    linted: Linted,
    /// What it would take the place of.
    rolled_out: RolledOut,
    /// What would change from what all gateways are told to run.
    changes: Vec<Vec<DiffLine>>,
    /// The rules from which the file was made, as JSON, for the way back to them.
    rules: String,
}

impl ReviewPage {
    /// Whether gateways run something else then.
    fn replaces(&self) -> bool {
        self.rolled_out.for_all.is_some() || !self.rolled_out.for_single.is_empty()
    }
}

/// Writes the file from the answers, and shows it with what there is to say about it.
pub(crate) async fn review(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(rules): Fields<Rules>,
) -> Answer {
    let kept = serde_json::to_string(&rules).map_err(Error::internal)?;
    let text = rules.into_draft()?.to_yaml();
    let linted = doors.control.lint_configuration(&visit.ctx, &text).await?;
    show_review(&doors, &visit, text, linted, kept).await
}

/// Back to the rules, as they were chosen. What was changed in the file is left behind.
pub(crate) async fn review_again(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(file): Fields<File>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let rules = serde_json::from_str(&file.rules).map_err(|why| Error::invalid("rules", format!("{why}")))?;
    page(&visit.look, &RulesPage { frame: Frame::of(&visit), rules })
}

async fn show_review(doors: &Doors, visit: &Visit, text: String, linted: Linted, rules: String) -> Answer {
    let rolled_out = doors.control.rolled_out(&visit.ctx).await?;
    let changes = match &rolled_out.for_all {
        Some(VersionId { name, number }) => {
            let before = doors.control.configuration_version(&visit.ctx, name, Some(*number)).await?;
            difference(&before.text, &text)
        }
        None => Vec::new(),
    };
    page(&visit.look, &ReviewPage { frame: Frame::of(visit), text, linted, rolled_out, changes, rules })
}

/// The file to be published.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    text: String,
    /// What its author has seen that it takes the place of.
    version: String,
    /// The rules from which it was made.
    #[serde(default)]
    rules: String,
}

/// Shows the file as it was changed, with what there is to say about it now.
pub(crate) async fn check(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(file): Fields<File>,
) -> Answer {
    let linted = doors.control.lint_configuration(&visit.ctx, &file.text).await?;
    show_review(&doors, &visit, file.text, linted, file.rules).await
}

/// Saves the file and tells all gateways to run it; one with a mistake is shown again with its findings.
pub(crate) async fn publish(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(file): Fields<File>,
) -> Answer {
    let linted = doors.control.lint_configuration(&visit.ctx, &file.text).await?;
    if linted.errors().next().is_some() {
        return show_review(&doors, &visit, file.text, linted, file.rules).await;
    }
    let expected = Expected::OneOf(vec![file.version]);
    doors.control.publish_configuration(&visit.ctx, &expected, file.text).await?;
    Ok(leave_for("/setup/provider/done"))
}

/// The last step: what runs it, and how to call it.
#[derive(Template)]
#[template(path = "pages/connect-done.html")]
struct DonePage {
    frame: Frame,
    version: Option<VersionId>,
    gateways: Vec<GatewayView>,
    /// An access key that was made just now.
    key: Option<String>,
}

/// What gateways were told, and whether they have taken it up.
pub(crate) async fn show_done(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    done(&doors, &visit, None).await
}

/// Makes an access key, and shows how to call with it.
pub(crate) async fn make_key(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let new = NewKey {
        kind: KeyKind::Access,
        name: visit.look.language.text("First application").to_owned(),
        scope: Some(Scope::Write),
        ranges: Vec::new(),
        requests_per_minute: None,
        expires_at: None,
    };
    let made = doors.control.create_key(&visit.ctx, new).await?;
    done(&doors, &visit, Some(made.text.expose().to_owned())).await
}

async fn done(doors: &Doors, visit: &Visit, key: Option<String>) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let template = DonePage {
        frame: Frame::of(visit),
        version: doors.control.running_for_all(&visit.ctx).await?,
        gateways: doors.control.gateways(&visit.ctx, "", &PageRequest::default()).await?.items,
        key,
    };
    page(&visit.look, &template)
}

impl DonePage {
    fn to_call(&self) -> Option<&GatewayView> {
        to_call(&self.gateways, self.version.as_ref())
    }

    /// Where it is reached.
    fn address(&self) -> &str {
        address_of(self.to_call())
    }

    /// A model to ask it for: one that it can be asked for, if it names one.
    fn model(&self) -> &str {
        let targets = self.to_call().into_iter().flat_map(|view| &view.delivering.gateway.targets);
        let mut usable = targets.filter(|target| target.is_usable());
        usable.find_map(|target| target.models.first()).map_or("MODEL", String::as_str)
    }

    fn may_make_keys(&self) -> bool {
        self.frame.holder.as_ref().is_some_and(|holder| holder.may_read.set_ups)
    }
}

/// The gateway to call, of those that say where they are: the first that takes requests, can answer them and runs `version`,
/// where one is rolled out, or comes nearest to that.
pub(super) fn to_call<'a>(
    gateways: &'a [GatewayView],
    version: Option<&VersionId>,
) -> Option<&'a GatewayView> {
    let version = version.map(ToString::to_string);
    let known = gateways.iter().filter(|view| view.delivering.gateway.address.is_some());
    known.min_by_key(|view| {
        let gateway = &view.delivering.gateway;
        let takes_requests = view.is_connected && !gateway.is_draining;
        let can_answer = gateway.targets.iter().any(TargetReport::is_usable);
        let runs_it = Some(&gateway.config_version) == version.as_ref();
        (!takes_requests, !can_answer, !runs_it)
    })
}

/// Where it is reached, or what to put there.
pub(super) fn address_of(gateway: Option<&GatewayView>) -> &str {
    gateway.and_then(|view| view.delivering.gateway.address.as_deref()).unwrap_or("https://GATEWAY:41002")
}

/// Whether somebody is to be led to this set-up: nothing is deployed, and they can change that.
pub(super) async fn is_to_connect(doors: &Doors, visit: &Visit) -> Result<bool, Error> {
    Ok(visit.may(Permission::ChangeSettings) && !doors.control.has_deployment(&visit.ctx).await?)
}

/// What was typed, unless that is nothing.
fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
