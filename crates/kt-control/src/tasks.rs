//! Tasks: saved prompts that are run in the background, through a gateway, on behalf of whoever started them.
//!
//! A run is a row that servers lease. Whoever holds the latest lease works on it and alone can end it; a run whose server
//! has ended is begun again by another, under the same key for whoever stands behind the gateway. So is a run whose gateway
//! has ended. A model is asked three times at most; a run that no gateway takes waits for one. A server that is told to end
//! takes no more runs, works on to the end of those that it has, and gives back at once what takes too long for that.
//!
//! A server works on a few runs at once, of which each organization has its share, and on none for ever: a gateway that
//! answers drop by drop keeps nobody waiting but its own organization.

mod under_way;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, RunId, TaskId};
use kt_domain::search::Search;
use kt_domain::workspace::{
    self, Decision, Ending, LEASE, LONGEST_ANSWER, LONGEST_RUN, MOST_ASKED, MOST_KEPT, Prompt, Refusal,
    RunState, Taken, fill_in, may_take, wait_for_gateway,
};
use kt_store::conversations::Answered;
use kt_store::tasks::{self, Run, Task};

use crate::chat::keeper;
use crate::control::Control;
use crate::inference::{NotAnswered, Question, Said, may_pass, was_not_asked};
use crate::keeping::until_kept;
use crate::passes::until_refused;
use under_way::{OF_ONE_ORGANIZATION, UnderWay};

/// How often a server says that it still works on a run; also how soon it learns that the run was cancelled.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// How soon a run is begun again whose answer broke off: long enough for a gateway that restarts.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How often runs that wait are looked for without being told to.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many runs of somebody's may wait or be under way.
const MOST_UNDER_WAY: i64 = 20;

/// How many runs of a task are kept.
const RUNS_KEPT: u32 = 100;

/// How many waiting runs are looked at together.
const BATCH: u32 = 16;

/// What a task is to be.
#[derive(Clone, Debug)]
pub struct TaskTerms {
    /// What it is called.
    pub name: String,
    /// Its prompt, with places such as `{{text}}`.
    pub prompt: String,
    /// The model that is asked.
    pub model: String,
}

/// A task with its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// The names of the places in its prompt.
    pub inputs: Vec<String>,
    /// Its runs, the latest first.
    pub runs: Vec<Run>,
}

impl Control {
    /// One's tasks whose name or prompt holds what is searched for, the one changed or run last first, each with the state of
    /// its latest run.
    pub async fn tasks(&self, ctx: &Ctx, search: &str) -> Result<Vec<(Task, Option<RunState>)>, Error> {
        let (keeper, search) = (keeper(ctx)?, Search::read(search)?);
        Ok(tasks::list(&self.store, keeper, search.as_ref(), MOST_KEPT).await?)
    }

    /// One of them. Somebody else's is not to be found.
    pub async fn task(&self, ctx: &Ctx, id: &TaskId) -> Result<TaskView, Error> {
        let task = tasks::find(&self.store, keeper(ctx)?, id).await?.ok_or_else(no_task)?;
        let runs = tasks::runs(&self.store, id, RUNS_KEPT).await?;
        let inputs = Prompt::parse(&task.prompt)?.inputs;
        Ok(TaskView { task, inputs, runs })
    }

    /// Keeps a new task.
    pub async fn add_task(&self, ctx: &Ctx, terms: TaskTerms) -> Result<TaskId, Error> {
        let keeper = keeper(ctx)?;
        let id = self.draw(|random| TaskId::new(ctx.now, random));
        let task = terms.checked(id, ctx.now)?;
        let tx = self.store.begin_write().await?;
        if tasks::count(&tx, keeper).await? >= i64::from(MOST_KEPT) {
            return Err(workspace::too_many("tasks"));
        }
        tasks::insert(&tx, keeper, &task).await?;
        tx.commit().await?;
        Ok(task.id)
    }

    /// Changes one of one's tasks. Runs of it that were started before stay as they are.
    pub async fn change_task(&self, ctx: &Ctx, id: &TaskId, terms: TaskTerms) -> Result<(), Error> {
        let keeper = keeper(ctx)?;
        let task = terms.checked(id.clone(), ctx.now)?;
        let tx = self.store.begin_write().await?;
        if !tasks::update(&tx, keeper, &task).await? {
            return Err(no_task());
        }
        Ok(tx.commit().await?)
    }

    /// Forgets one of one's tasks with its runs. One that is under way is stopped.
    pub async fn delete_task(&self, ctx: &Ctx, id: &TaskId) -> Result<(), Error> {
        let keeper = keeper(ctx)?;
        let tx = self.store.begin_write().await?;
        if !tasks::remove(&tx, keeper, id).await? {
            return Err(no_task());
        }
        Ok(tx.commit().await?)
    }

    /// Starts a run of one of one's tasks with these inputs. It waits for a server, of which one begins at once.
    pub async fn start_run(
        &self,
        ctx: &Ctx,
        id: &TaskId,
        inputs: &BTreeMap<String, String>,
    ) -> Result<RunId, Error> {
        let keeper = keeper(ctx)?;
        let tx = self.store.begin_write().await?;
        let task = tasks::find(&tx, keeper, id).await?.ok_or_else(no_task)?;
        let prompt = fill_in(&Prompt::parse(&task.prompt)?, inputs)?;
        if tasks::under_way(&tx, keeper).await? >= MOST_UNDER_WAY {
            return Err(too_many_runs());
        }
        workspace::check_room("runs", tasks::bytes(&tx, keeper).await?)?;
        let run = Run {
            id: self.draw(|random| RunId::new(ctx.now, random)),
            task: id.clone(),
            organization: keeper.organization.clone(),
            user: keeper.user.clone(),
            prompt,
            model: task.model.clone(),
            state: RunState::Queued,
            attempt: 0,
            asked: 0,
            leased_until: ctx.now,
            answer: String::new(),
            request_id: None,
            refusal: None,
            spent: workspace::Spent::default(),
            created_at: ctx.now,
            ended_at: None,
        };
        tasks::start(&tx, &run).await?;
        tasks::update(&tx, keeper, &Task { updated_at: ctx.now, ..task }).await?;
        tasks::forget_old_runs(&tx, id, RUNS_KEPT).await?;
        tx.commit().await?;
        self.runs_wait.notify_one();
        Ok(run.id)
    }

    /// Cancels one of one's runs that is not over. A server that works on it stops within seconds, and what it would have
    /// said is not kept.
    pub async fn cancel_run(&self, ctx: &Ctx, id: &RunId) -> Result<(), Error> {
        let keeper = keeper(ctx)?;
        let tx = self.store.begin_write().await?;
        if !tasks::cancel(&tx, keeper, id, ctx.now).await? {
            let known = tasks::find_run(&tx, keeper, id).await?;
            return Err(known.map_or_else(|| Error::not_found("run"), |_| run_is_over()));
        }
        Ok(tx.commit().await?)
    }

    /// One of one's runs, and what the gateway decided about it, once its event has arrived.
    pub async fn run(&self, ctx: &Ctx, id: &RunId) -> Result<(Run, Option<Decision>), Error> {
        let keeper = keeper(ctx)?;
        let run = tasks::find_run(&self.store, keeper, id).await?.ok_or_else(|| Error::not_found("run"))?;
        let decision = self.decision_about(keeper.organization, run.request_id.as_deref()).await?;
        Ok((run, decision))
    }

    /// Works on runs until `ended`, a few at once; then for as long as `drain` on those that are under way, and gives back what
    /// is not done. Any number of servers may do so.
    pub async fn keep_running_tasks(self: &Arc<Self>, ended: impl Future<Output = ()>, drain: Duration) {
        let mut under_way = UnderWay::default();
        let mut ended = pin!(ended);
        loop {
            self.begin_waiting_runs(&mut under_way).await;
            tokio::select! {
                // Where there is a run to begin with too, it is not begun.
                biased;
                () = &mut ended => break,
                () = self.runs_wait.notified() => {}
                Some(()) = under_way.next_end() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        for run in under_way.finish(drain).await {
            self.give_back(&run).await;
        }
    }

    /// Begins with runs that wait, as many as there is room for.
    async fn begin_waiting_runs(self: &Arc<Self>, under_way: &mut UnderWay) {
        while under_way.has_room() {
            match self.take_run(&under_way.with_their_share()).await {
                Ok(Some(run)) => under_way.begin(Arc::clone(self), run),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "runs of tasks cannot be looked for at the moment");
                    return;
                }
            }
        }
    }

    /// Lets another server begin at once with a run that this one works on no longer.
    async fn give_back(&self, run: &Run) {
        match self.hold_for(run, Duration::ZERO).await {
            Ok(_) => {
                tracing::info!(run = %run.id, "a run takes longer than this server; another one begins it again");
            }
            Err(error) => {
                tracing::warn!(%error, run = %run.id, "a run is begun again when its lease is over");
            }
        }
    }

    /// Works on all runs that wait, one after the other, and tells how many there were.
    pub async fn run_waiting_tasks(&self) -> Result<usize, Error> {
        let mut worked_on = 0;
        while let Some(run) = self.take_run(&[]).await? {
            self.work_on(&run).await;
            worked_on += 1;
        }
        Ok(worked_on)
    }

    /// The run that has waited longest, leased by this server; `None` when none waits. Of several organizations each has its
    /// turn, and none has one that `have_their_share`.
    async fn take_run(&self, have_their_share: &[OrganizationId]) -> Result<Option<Run>, Error> {
        let now = self.clock.now();
        let due = tasks::due(&self.store, now, OF_ONE_ORGANIZATION, BATCH).await?;
        for run in due.into_iter().filter(|run| !have_their_share.contains(&run.organization)) {
            let asked = u32::try_from(run.asked).unwrap_or(u32::MAX);
            let tx = self.store.begin_write().await?;
            match may_take(run.state, asked, run.leased_until, now) {
                Taken::GiveUp => {
                    tasks::give_up(&tx, &run, &given_up(), now).await?;
                }
                Taken::Begin if tasks::lease(&tx, &run, now + LEASE).await? => {
                    tx.commit().await?;
                    let (attempt, asked) = (run.attempt + 1, run.asked + 1);
                    return Ok(Some(Run { attempt, asked, state: RunState::Running, ..run }));
                }
                // Somebody else was faster.
                Taken::Begin | Taken::No => {}
            }
            tx.commit().await?;
        }
        Ok(None)
    }

    /// Works on a run that is leased by this server, as long as it is. Ends it under the number of the lease, or leaves it
    /// to be begun again where that may help.
    async fn work_on(&self, run: &Run) {
        let began = Instant::now();
        let answered = async {
            tokio::select! {
                outcome = self.answer_run(run) => outcome,
                why = until_refused(|| self.role_for_models(&run.organization, &run.user, self.clock.now())) => {
                    Outcome::without_pass(why)
                }
            }
        };
        let mut outcome = match self.while_held(run, answered).await {
            Ok(outcome) => outcome,
            Err(NotHeld::Lost) => return,
            Err(NotHeld::TooLong) => Outcome::refused(took_too_long()),
        };
        outcome.answered.spent.duration_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let kept = until_kept("the outcome of a run", || self.keep_outcome(run, &outcome));
        match self.while_held(run, kept).await {
            Ok(true) => {}
            Ok(false) | Err(NotHeld::Lost) => {
                tracing::info!(run = %run.id, "a run was over, or taken over by another server");
            }
            Err(NotHeld::TooLong) => tracing::error!(run = %run.id, "the outcome of a run is lost"),
        }
    }

    /// Does this as long as this server holds the run, and says meanwhile that it does.
    async fn while_held<T>(&self, run: &Run, work: impl Future<Output = T>) -> Result<T, NotHeld> {
        tokio::select! {
            done = work => Ok(done),
            not_held = self.hold(run) => Err(not_held),
        }
    }

    /// Ends a run, or leaves it to be begun again where that may help; `false` where it is no longer this server's own.
    async fn keep_outcome(&self, run: &Run, outcome: &Outcome) -> Result<bool, Error> {
        let now = self.clock.now();
        let tx = self.store.begin_write().await?;
        let (id, attempt) = (&run.id, run.attempt);
        let is_ours = match outcome.next(run, now) {
            Next::PutOff(wait) => tasks::put_off(&tx, id, attempt, now + wait).await?,
            Next::AskAgain => tasks::renew(&tx, id, attempt, now + AGAIN_AFTER).await?,
            Next::End => tasks::settle(&tx, id, attempt, outcome.state, &outcome.answered, now).await?,
        };
        tx.commit().await?;
        Ok(is_ours)
    }

    /// Says again and again that this server works on the run. Is ready when it does so no longer.
    async fn hold(&self, run: &Run) -> NotHeld {
        let until = self.clock.now() + LONGEST_RUN;
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            if self.clock.now() >= until {
                return NotHeld::TooLong;
            }
            match self.hold_for(run, LEASE).await {
                Ok(true) => {}
                Ok(false) => return NotHeld::Lost,
                // While the store is away, the lease may end; then the outcome is not taken from here.
                Err(error) => tracing::warn!(%error, run = %run.id, "a lease cannot be renewed"),
            }
        }
    }

    /// Keeps everybody else from the run for so long; `false` where it is no longer this server's own.
    async fn hold_for(&self, run: &Run, time: Duration) -> Result<bool, Error> {
        let tx = self.store.begin_write().await?;
        let is_ours = tasks::renew(&tx, &run.id, run.attempt, self.clock.now() + time).await?;
        tx.commit().await?;
        Ok(is_ours)
    }

    async fn answer_run(&self, run: &Run) -> Outcome {
        let pass = match self.gateway_pass_for(&run.organization, &run.user, self.clock.now()).await {
            Ok(pass) => pass,
            Err(error) => return Outcome::without_pass(error),
        };
        let question = Question { model: &run.model, messages: vec![Said::by_user(&run.prompt)] };
        let mut reply = match self.ask(&run.organization, &pass, &question, run.id.as_str()).await {
            Ok(reply) => reply,
            Err(NotAnswered { request_id, refusal, retry_after }) => {
                let mut outcome = Outcome::refused(refusal);
                outcome.answered.request_id = request_id;
                return Outcome { retry_after, ..outcome };
            }
        };
        let mut text = String::new();
        let refusal = loop {
            match reply.next().await {
                Ok(Some(part)) => text.push_str(&part),
                Ok(None) => break None,
                Err(refusal) => break Some(refusal),
            }
            if text.len() > LONGEST_ANSWER {
                break Some(Refusal::too_long());
            }
        };
        let spent = workspace::Spent {
            input_tokens: reply.used.prompt_tokens,
            output_tokens: reply.used.completion_tokens,
            ..workspace::Spent::default()
        };
        Outcome::of(Answered { text, request_id: reply.request_id, refusal, spent })
    }
}

/// What came of working on a run.
struct Outcome {
    state: RunState,
    answered: Answered,
    /// How long it should wait at least that the gateway did not take.
    retry_after: Duration,
}

/// What becomes of a run that was worked on.
enum Next {
    /// It is over.
    End,
    /// A model is asked again soon, as often as that is done.
    AskAgain,
    /// It waits for so long, since no model was asked.
    PutOff(Duration),
}

impl Outcome {
    fn of(answered: Answered) -> Self {
        Self { state: ended(answered.refusal.as_ref()), answered, retry_after: Duration::ZERO }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::of(Answered { refusal: Some(refusal), ..Answered::default() })
    }

    /// Nobody can be asked on behalf of whoever started the run.
    fn without_pass(error: Error) -> Self {
        let refusal =
            Refusal { code: error.code.to_owned(), message: error.message.into_owned(), policy: None };
        let state = if error.kind == ErrorKind::Forbidden { RunState::Refused } else { RunState::Failed };
        Self { state, ..Self::refused(refusal) }
    }

    /// What becomes of the run, at this moment.
    fn next(&self, run: &Run, now: Timestamp) -> Next {
        let Some(refusal) = &self.answered.refusal else { return Next::End };
        let age = now.duration_since(run.created_at).unsigned_abs();
        match wait_for_gateway(age, self.retry_after) {
            Some(wait) if was_not_asked(refusal) => Next::PutOff(wait),
            _ if may_pass(refusal) && run.asked < i64::from(MOST_ASKED) => Next::AskAgain,
            _ => Next::End,
        }
    }
}

/// Why a server no longer holds a run.
enum NotHeld {
    /// It is over, or another server's.
    Lost,
    /// It has had all the time that a run gets.
    TooLong,
}

impl TaskTerms {
    fn checked(self, id: TaskId, now: Timestamp) -> Result<Task, Error> {
        Ok(Task {
            id,
            name: workspace::title("name", &self.name)?,
            prompt: Prompt::parse(&self.prompt)?.text,
            model: workspace::model(&self.model)?,
            created_at: now,
            updated_at: now,
        })
    }
}

/// How a run ended that was refused so, or not.
fn ended(refusal: Option<&Refusal>) -> RunState {
    match refusal.map(Refusal::ending) {
        None => RunState::Complete,
        Some(Ending::Blocked) => RunState::Blocked,
        Some(_) => RunState::Failed,
    }
}

fn given_up() -> Refusal {
    Refusal {
        code: "given_up".to_owned(),
        message: "The server that worked on this run ended, three times. Start it again if you like."
            .to_owned(),
        policy: None,
    }
}

fn took_too_long() -> Refusal {
    let minutes = LONGEST_RUN.as_secs() / 60;
    let message = format!(
        "The answer was not whole after {minutes} minutes, and was stopped. Ask for less at once, or choose another model."
    );
    Refusal { code: "run_too_slow".to_owned(), message, policy: None }
}

fn no_task() -> Error {
    Error::not_found("task")
}

fn run_is_over() -> Error {
    let message = "This run is over already, so there is nothing to cancel.";
    Error::new(ErrorKind::Conflict, "run_is_over", message)
}

fn too_many_runs() -> Error {
    let message =
        format!("{MOST_UNDER_WAY} of your runs are waiting or under way. Wait for one of them to end.");
    Error::new(ErrorKind::Conflict, "too_many_runs", message)
}
