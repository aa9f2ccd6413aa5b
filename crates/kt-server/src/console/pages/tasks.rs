//! `/tasks`: saved prompts, and their runs in the background.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use kt_control::{Run, Task, TaskTerms, TaskView};
use kt_domain::actor::Permission;
use kt_domain::error::Error;
use kt_domain::id::{RunId, TaskId};
use kt_domain::workspace::RunState;
use serde::Deserialize;

use super::Fields;
use super::chat::{Standing, decision_badge, is_redacted, policy_badge};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_and_say, leave_for, page, see_and_say};
use crate::console::filters;
use crate::console::markdown::to_html;
use crate::console::visit::SignedIn;

const PAGE: &str = "/tasks";

#[derive(Template)]
#[template(path = "pages/tasks.html")]
struct TasksPage {
    frame: Frame,
    tasks: Vec<(Task, Option<RunState>)>,
    /// What is searched for.
    q: String,
    models: Vec<String>,
    may_read_gateways: bool,
}

#[derive(Template)]
#[template(path = "pages/task.html")]
struct TaskPage {
    frame: Frame,
    view: TaskView,
    models: Vec<String>,
    /// Whether a run waits or is under way.
    is_live: bool,
}

#[derive(Template)]
#[template(path = "pages/task-run.html")]
struct RunPage {
    frame: Frame,
    task: Task,
    run: Run,
    html: String,
    /// What the gateway decided, of a run that is over.
    standing: Option<Standing>,
    is_live: bool,
    may_read_events: bool,
}

impl RunPage {
    /// Whether what the gateway decided is on its way.
    fn is_awaited(&self) -> bool {
        matches!(self.standing, Some(Standing::Awaited))
    }
}

/// Which of one's tasks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(Asked { q }): Query<Asked>,
) -> Answer {
    let tasks = doors.control.tasks(&visit.ctx, &q).await?;
    let models = doors.control.models(&visit.ctx).await?;
    let may_read_gateways = visit.may(Permission::ReadSettings);
    page(&visit.look, &TasksPage { frame: Frame::of(&visit), tasks, q, models, may_read_gateways })
}

/// One of one's own, with its runs.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.task(&visit.ctx, &task_id(&id)?).await?;
    let mut models = doors.control.models(&visit.ctx).await?;
    if !models.contains(&view.task.model) {
        models.insert(0, view.task.model.clone());
    }
    let is_live = view.runs.iter().any(|run| !run.state.is_over());
    page(&visit.look, &TaskPage { frame: Frame::of(&visit), view, models, is_live })
}

/// What a task is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    name: String,
    prompt: String,
    model: String,
}

impl From<Terms> for TaskTerms {
    fn from(Terms { name, prompt, model }: Terms) -> Self {
        Self { name, prompt, model }
    }
}

/// Keeps a new task.
pub(crate) async fn add(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(terms): Fields<Terms>,
) -> Answer {
    let id = doors.control.add_task(&visit.ctx, terms.into()).await?;
    let said = visit.look.language.text("The task was saved. Fill in its inputs and run it.");
    Ok(leave_and_say(&doors, &format!("{PAGE}/{id}"), said))
}

/// Changes a task.
pub(crate) async fn change(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(terms): Fields<Terms>,
) -> Answer {
    let id = task_id(&id)?;
    doors.control.change_task(&visit.ctx, &id, terms.into()).await?;
    Ok(see_and_say(&doors, &format!("{PAGE}/{id}"), visit.look.language.text("The task was changed.")))
}

/// Forgets a task.
pub(crate) async fn delete(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    doors.control.delete_task(&visit.ctx, &task_id(&id)?).await?;
    Ok(leave_and_say(&doors, PAGE, visit.look.language.text("The task was deleted.")))
}

/// Starts a run. The form's fields are the inputs of the task's prompt, each with `input-` before its name.
pub(crate) async fn start(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    Fields(fields): Fields<BTreeMap<String, String>>,
) -> Answer {
    let id = task_id(&id)?;
    let inputs =
        fields.into_iter().filter_map(|(name, value)| Some((name.strip_prefix("input-")?.to_owned(), value)));
    let run = doors.control.start_run(&visit.ctx, &id, &inputs.collect()).await?;
    Ok(leave_for(&format!("{PAGE}/{id}/runs/{run}")))
}

/// A run, and what came of it.
pub(crate) async fn show_run(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path((task, run)): Path<(String, String)>,
) -> Answer {
    let view = doors.control.task(&visit.ctx, &task_id(&task)?).await?;
    let (run, decision) = doors.control.run(&visit.ctx, &run_id(&run)?).await?;
    if run.task != view.task.id {
        return Err(Error::not_found("run").into());
    }
    let template = RunPage {
        frame: Frame::of(&visit),
        task: view.task,
        html: to_html(&run.answer),
        is_live: !run.state.is_over(),
        standing: run
            .request_id
            .as_ref()
            .and(run.ended_at)
            .map(|at| Standing::of(decision, at, visit.ctx.now)),
        run,
        may_read_events: visit.may(Permission::ReadEvents),
    };
    page(&visit.look, &template)
}

/// Cancels a run.
pub(crate) async fn cancel(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path((task, run)): Path<(String, String)>,
) -> Answer {
    let (task, run) = (task_id(&task)?, run_id(&run)?);
    doors.control.cancel_run(&visit.ctx, &run).await?;
    let said = visit.look.language.text("The run was cancelled.");
    Ok(see_and_say(&doors, &format!("{PAGE}/{task}/runs/{run}"), said))
}

fn task_id(text: &str) -> Result<TaskId, Error> {
    text.parse().map_err(|_| Error::not_found("task"))
}

fn run_id(text: &str) -> Result<RunId, Error> {
    text.parse().map_err(|_| Error::not_found("run"))
}

/// What the state of a run is called, and the class of its badge.
fn badge_of(run: &Run) -> (&'static str, &'static str) {
    state_badge(run.state)
}

/// The same of a task's latest run.
fn latest_badge((_, latest): &(Task, Option<RunState>)) -> Option<(&'static str, &'static str)> {
    latest.map(state_badge)
}

fn state_badge(state: RunState) -> (&'static str, &'static str) {
    match state {
        RunState::Queued => ("Waiting", ""),
        RunState::Running => ("Running", "accent"),
        RunState::Complete => ("Done", "good"),
        RunState::Blocked => ("Blocked", "bad"),
        RunState::Failed => ("Failed", "bad"),
        RunState::Refused => ("Refused", "bad"),
        RunState::Cancelled => ("Cancelled", ""),
    }
}
