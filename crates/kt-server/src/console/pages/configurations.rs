//! `/configurations`: what gateways can be told to run: written, checked, saved as versions, compared, rolled out.

use askama::Template;
use axum::extract::{Path, State};
use kt_control::{
    ConfigurationVersion, ConfigurationView, Expected, GatewayView, Linted, NewVersion, Page, PageRequest,
    RollOutTo, VersionView,
};
use kt_domain::actor::Permission;
use kt_domain::configurations::{ConfigurationSource, DiffLine, Fate, KeptName, VersionId, difference};
use kt_domain::error::Error;
use kt_domain::policy_config::{Finding, STARTER, Severity};
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::api::paging::Everything;
use crate::console::answer::{Answer, Frame, leave_and_say, page};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::visit::{SignedIn, Visit};

#[derive(Template)]
#[template(path = "pages/configurations.html")]
struct ListPage {
    frame: Frame,
    listing: Listing,
    configurations: Vec<ConfigurationView>,
    may_change: bool,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<Everything>,
) -> Answer {
    let found = doors.control.configurations(&visit.ctx, &asked.page).await?;
    let template = ListPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, found.next_cursor.as_deref()),
        configurations: found.items,
        may_change: visit.may(Permission::RunGateways),
    };
    page(&visit.look, &template)
}

/// A text in work.
#[derive(Template)]
#[template(path = "pages/configuration-editor.html")]
struct EditorPage {
    frame: Frame,
    /// The configuration that it becomes a version of; `None` for a new one.
    name: Option<KeptName>,
    /// What is typed so far.
    draft: Draft,
    /// What there is to say about it, once it was asked for.
    linted: Option<Linted>,
}

/// A line of a text with what there is to say about it.
struct JudgedLine<'a> {
    number: u32,
    text: &'a str,
    findings: Vec<&'a Finding>,
}

impl EditorPage {
    /// Where the form is sent.
    fn path(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| "/configurations/new".to_owned(), |name| format!("/configurations/{name}"))
    }

    /// The lines that there is something to say about, and one around each.
    fn judged_lines(&self) -> Vec<JudgedLine<'_>> {
        let findings = self.linted.as_ref().map(|linted| &*linted.findings).unwrap_or_default();
        let lines = (1..).zip(self.draft.text.lines());
        let judged = lines.map(|(number, text)| JudgedLine {
            number,
            text,
            findings: findings.iter().filter(|finding| finding.line == number).collect(),
        });
        let is_near =
            |line: &JudgedLine<'_>| findings.iter().any(|found| found.line.abs_diff(line.number) <= 1);
        judged.filter(is_near).collect()
    }

    /// What is about the file as a whole, such as a missing section at its end.
    fn about_the_whole(&self) -> Vec<&Finding> {
        let lines = self.draft.text.lines().count();
        let findings = self.linted.iter().flat_map(|linted| &linted.findings);
        findings.filter(|found| found.line as usize > lines || found.line == 0).collect()
    }
}

/// What somebody has typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// For a new one.
    #[serde(default)]
    name: String,
    text: String,
    #[serde(default)]
    note: String,
    /// The number of the version that it was made from.
    #[serde(default)]
    version: u32,
    /// Whether it is only to be looked at.
    intent: Intent,
}

/// What is to be done with a text.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Intent {
    Check,
    Save,
}

/// The form for a new configuration.
pub(crate) async fn show_new(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    // Whoever may not see what there is need not see the form.
    let none = doors.control.configurations(&visit.ctx, &PageRequest::default()).await?.items.is_empty();
    let draft = Draft {
        name: if none { "main".to_owned() } else { String::new() },
        text: STARTER.to_owned(),
        note: String::new(),
        version: 0,
        intent: Intent::Check,
    };
    page(&visit.look, &EditorPage { frame: Frame::of(&visit), name: None, draft, linted: None })
}

/// Looks at a text, or saves it as the first version of a configuration.
pub(crate) async fn create(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(draft): Fields<Draft>,
) -> Answer {
    let linted = doors.control.lint_configuration(&visit.ctx, &draft.text).await?;
    if draft.intent == Intent::Check || linted.errors().next().is_some() {
        return show_judged(&visit, None, draft, linted);
    }
    let name: KeptName = draft.name.trim().parse().map_err(|why| Error::invalid("name", format!("{why}")))?;
    let new = NewVersion { text: draft.text, note: draft.note };
    let saved = doors.control.create_configuration(&visit.ctx, &name, new).await?;
    Ok(see_version(&doors, &visit, &saved))
}

/// The newest version in the editor.
pub(crate) async fn edit(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(name): Path<String>,
) -> Answer {
    let name = kept(&name)?;
    let VersionView { text, newest, .. } =
        doors.control.configuration_version(&visit.ctx, &name, None).await?;
    let draft =
        Draft { name: String::new(), text, note: String::new(), version: newest, intent: Intent::Check };
    page(&visit.look, &EditorPage { frame: Frame::of(&visit), name: Some(name), draft, linted: None })
}

/// Looks at a text, or saves it as a further version.
pub(crate) async fn save(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(name): Path<String>,
    Fields(draft): Fields<Draft>,
) -> Answer {
    let name = kept(&name)?;
    let linted = doors.control.lint_configuration(&visit.ctx, &draft.text).await?;
    if draft.intent == Intent::Check || linted.errors().next().is_some() {
        return show_judged(&visit, Some(name), draft, linted);
    }
    let expected = Expected::OneOf(vec![draft.version.to_string()]);
    let new = NewVersion { text: draft.text, note: draft.note };
    let saved = doors.control.save_configuration(&visit.ctx, &name, &expected, new).await?;
    Ok(see_version(&doors, &visit, &saved))
}

/// The text as it was sent, with what there is to say about it.
fn show_judged(visit: &Visit, name: Option<KeptName>, draft: Draft, linted: Linted) -> Answer {
    page(&visit.look, &EditorPage { frame: Frame::of(visit), name, draft, linted: Some(linted) })
}

fn see_version(doors: &Doors, visit: &Visit, saved: &VersionView) -> axum::response::Response {
    let VersionId { name, number } = &saved.version.id;
    let said = visit.look.language.text("The version was saved. No gateway runs it until you roll it out.");
    leave_and_say(doors, &format!("/configurations/{name}/versions/{number}"), said)
}

#[derive(Template)]
#[template(path = "pages/configuration.html")]
struct ConfigurationPage {
    frame: Frame,
    listing: Listing,
    view: ConfigurationView,
    versions: Vec<ConfigurationVersion>,
    may_change: bool,
}

/// One configuration: its versions.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(name): Path<String>,
    asked: Asked<Everything>,
) -> Answer {
    let name = kept(&name)?;
    let found = doors.control.configuration_versions(&visit.ctx, &name, &asked.page).await?;
    let template = ConfigurationPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, found.next_cursor.as_deref()),
        view: doors.control.configuration(&visit.ctx, &name).await?,
        versions: found.items,
        may_change: visit.may(Permission::RunGateways),
    };
    page(&visit.look, &template)
}

#[derive(Template)]
#[template(path = "pages/configuration-version.html")]
struct VersionPage {
    frame: Frame,
    view: VersionView,
    /// What all gateways are told to run that are told nothing else, where it is another version.
    running: Option<VersionId>,
    /// What would change from there.
    changes: Vec<Vec<DiffLine>>,
    /// Those that can be told to run it.
    gateways: Vec<GatewayView>,
    /// How many are configured by files of their own.
    by_files: usize,
    may_change: bool,
}

impl VersionPage {
    /// Whether it is what all gateways are told to run.
    fn is_running(&self) -> bool {
        self.running.as_ref() == Some(&self.view.version.id)
    }
}

/// One version: its text, what it would change, and whom to tell to run it.
pub(crate) async fn show_version(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path((name, number)): Path<(String, u32)>,
) -> Answer {
    let (control, ctx) = (&doors.control, &visit.ctx);
    let view = control.configuration_version(ctx, &kept(&name)?, Some(number)).await?;
    let running = control.running_for_all(ctx).await?;
    let changes = match &running {
        Some(running) => {
            let before = control.configuration_version(ctx, &running.name, Some(running.number)).await?;
            difference(&before.text, &view.text)
        }
        None => Vec::new(),
    };
    let is_kept = |view: &GatewayView| view.delivering.gateway.config_source == ConfigurationSource::Kept;
    let (gateways, by_files): (Vec<_>, Vec<_>) =
        all_gateways(&doors, &visit).await?.into_iter().partition(is_kept);
    let template = VersionPage {
        frame: Frame::of(&visit),
        view,
        running,
        changes,
        gateways,
        by_files: by_files.len(),
        may_change: visit.may(Permission::RunGateways),
    };
    page(&visit.look, &template)
}

/// The gateways of the organization, which are not too many for one page.
async fn all_gateways(doors: &Doors, visit: &Visit) -> Result<Vec<GatewayView>, Error> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let request = PageRequest { limit: Some(200), cursor };
        let Page { items, next_cursor } = doors.control.gateways(&visit.ctx, "", &request).await?;
        all.extend(items);
        cursor = next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// Tells gateways to run a version. The form names it, and each gateway that was chosen; without any, all are told.
pub(crate) async fn roll_out(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path((name, number)): Path<(String, u32)>,
    Fields(fields): Fields<Vec<(String, String)>>,
) -> Answer {
    let id = VersionId { name: kept(&name)?, number };
    let mut to_all = false;
    let mut chosen = Vec::new();
    for (field, value) in fields {
        match (field.as_str(), value.as_str()) {
            ("to", "all") => to_all = true,
            ("to", "chosen") => {}
            ("gateways", _) => chosen.push(value),
            _ => return Err(Error::invalid("to", "Choose all gateways, or some of them.").into()),
        }
    }
    let to = if to_all { RollOutTo::All } else { RollOutTo::Gateways(chosen) };
    doors.control.roll_out(&visit.ctx, &id, &to).await?;
    Ok(leave_and_say(
        &doors,
        "/gateways?live=on",
        visit.look.language.text("The gateways are told. Each takes it up within seconds."),
    ))
}

/// A text that is no name names nothing.
fn kept(name: &str) -> Result<KeptName, Error> {
    name.parse().map_err(|_| Error::not_found("configuration"))
}
