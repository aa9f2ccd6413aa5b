//! Saved prompts and their runs. A run is leased by the server that works on it, and each lease has a number.

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, RunId, TaskId, UserId};
use kt_domain::search::Search;
use kt_domain::workspace::{Refusal, RunState, Spent};

use crate::conversations::{Answered, Keeper, read_refusal, read_spent};
use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// A saved prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its identifier.
    pub id: TaskId,
    /// What it is called.
    pub name: String,
    /// Its text, with places.
    pub prompt: String,
    /// The model that is asked.
    pub model: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed or run last.
    pub updated_at: Timestamp,
}

/// A run of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its identifier; sorts by time.
    pub id: RunId,
    /// Of which task.
    pub task: TaskId,
    /// Where.
    pub organization: OrganizationId,
    /// On whose behalf.
    pub user: UserId,
    /// The prompt as it was filled in.
    pub prompt: String,
    /// The model that is asked.
    pub model: String,
    /// Where it stands.
    pub state: RunState,
    /// The number of its last lease: how often it was begun.
    pub attempt: i64,
    /// Under how many of these leases a model may have been asked.
    pub asked: i64,
    /// Until when that lease lasts.
    pub leased_until: Timestamp,
    /// The answer.
    pub answer: String,
    /// The gateway's identifier of the request.
    pub request_id: Option<String>,
    /// Why there is no answer.
    pub refusal: Option<Refusal>,
    /// What it took.
    pub spent: Spent,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Adds a task.
pub async fn insert(tx: &Tx<'_>, keeper: Keeper<'_>, task: &Task) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO tasks (id, organization_id, user_id, name, prompt, model, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = values![
        task.id.as_str(),
        keeper.organization.as_str(),
        keeper.user.as_str(),
        &task.name,
        &task.prompt,
        &task.model,
        task.created_at,
        task.updated_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// How many somebody keeps.
pub async fn count(source: &impl Source, keeper: Keeper<'_>) -> Result<i64, StoreError> {
    const SELECT: &str = "SELECT COUNT(*) AS kept FROM tasks WHERE organization_id = $1 AND user_id = $2";
    let row = sql::row(source, SELECT, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("kept"))
}

/// Up to `limit` of somebody's tasks whose name or prompt holds what is searched for, the one changed or run last first, each
/// with the state of its latest run.
pub async fn list(
    source: &impl Source,
    keeper: Keeper<'_>,
    search: Option<&Search>,
    limit: u32,
) -> Result<Vec<(Task, Option<RunState>)>, StoreError> {
    const SELECT: &str = "SELECT t.*,
            (SELECT r.state FROM task_runs r WHERE r.task_id = t.id ORDER BY r.id DESC LIMIT 1) AS latest
        FROM tasks t WHERE t.organization_id = ";
    let mut query = Composed::new(SELECT);
    query.value(keeper.organization.as_str()).and("t.user_id = ", Some(keeper.user.as_str()));
    query.and_found_in(["t.name", "t.prompt"], search);
    query.text(" ORDER BY t.updated_at DESC, t.id DESC LIMIT ").value(i64::from(limit));
    let rows = query.rows(source).await?;
    rows.iter().map(|row| Ok((read(row)?, row.parsed_opt("latest")?))).collect()
}

/// One of somebody's own.
pub async fn find(source: &impl Source, keeper: Keeper<'_>, id: &TaskId) -> Result<Option<Task>, StoreError> {
    const SELECT: &str = "SELECT * FROM tasks WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// Changes one of somebody's own; `false` where there is none.
pub async fn update(tx: &Tx<'_>, keeper: Keeper<'_>, task: &Task) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE tasks SET name = $4, prompt = $5, model = $6, updated_at = $7
        WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![
        keeper.organization.as_str(),
        keeper.user.as_str(),
        task.id.as_str(),
        &task.name,
        &task.prompt,
        &task.model,
        task.updated_at,
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Forgets one of somebody's own with its runs; `false` where there is none.
pub async fn remove(tx: &Tx<'_>, keeper: Keeper<'_>, id: &TaskId) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM tasks WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str()];
    Ok(sql::execute(tx, DELETE, values).await? == 1)
}

/// Forgets all of somebody's tasks here with their runs.
pub async fn remove_all(tx: &Tx<'_>, keeper: Keeper<'_>) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM tasks WHERE organization_id = $1 AND user_id = $2";
    sql::execute(tx, DELETE, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    Ok(())
}

/// Adds a run that waits.
pub async fn start(tx: &Tx<'_>, run: &Run) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO task_runs
            (id, task_id, organization_id, user_id, prompt, model, state, attempt, asked, leased_until, answer, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11)";
    let values = values![
        run.id.as_str(),
        run.task.as_str(),
        run.organization.as_str(),
        run.user.as_str(),
        &run.prompt,
        &run.model,
        run.state.as_str(),
        run.attempt,
        run.asked,
        run.leased_until,
        run.created_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// How many bytes of prompts and answers somebody's runs hold together.
pub async fn bytes(source: &impl Source, keeper: Keeper<'_>) -> Result<i64, StoreError> {
    const SELECT: &str =
        "SELECT CAST(COALESCE(SUM(OCTET_LENGTH(r.prompt) + OCTET_LENGTH(r.answer)), 0) AS BIGINT) AS kept
        FROM tasks t JOIN task_runs r ON r.task_id = t.id WHERE t.organization_id = $1 AND t.user_id = $2";
    let row = sql::row(source, SELECT, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("kept"))
}

/// How many runs of somebody's are not over.
pub async fn under_way(source: &impl Source, keeper: Keeper<'_>) -> Result<i64, StoreError> {
    const SELECT: &str = "SELECT COUNT(*) AS runs FROM task_runs
        WHERE state IN ('queued', 'running') AND organization_id = $1 AND user_id = $2";
    let row = sql::row(source, SELECT, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("runs"))
}

/// The latest `limit` runs of a task, the latest first. Ask for the task first: it says whose it is.
pub async fn runs(source: &impl Source, task: &TaskId, limit: u32) -> Result<Vec<Run>, StoreError> {
    const SELECT: &str = "SELECT * FROM task_runs WHERE task_id = $1 ORDER BY id DESC LIMIT $2";
    sql::rows(source, SELECT, values![task.as_str(), i64::from(limit)]).await?.iter().map(read_run).collect()
}

/// One of somebody's own runs.
pub async fn find_run(
    source: &impl Source,
    keeper: Keeper<'_>,
    id: &RunId,
) -> Result<Option<Run>, StoreError> {
    const SELECT: &str = "SELECT * FROM task_runs WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read_run).transpose()
}

/// Forgets all but the latest `keep` runs of a task that are over.
pub async fn forget_old_runs(tx: &Tx<'_>, task: &TaskId, keep: u32) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM task_runs WHERE task_id = $1 AND ended_at IS NOT NULL AND id NOT IN
        (SELECT id FROM task_runs WHERE task_id = $1 ORDER BY id DESC LIMIT $2)";
    sql::execute(tx, DELETE, values![task.as_str(), i64::from(keep)]).await?;
    Ok(())
}

/// Removes every run that ended before `before`.
pub async fn remove_ended_runs(tx: &Tx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx, "DELETE FROM task_runs WHERE ended_at < $1", values![before]).await
}

/// Runs that nobody works on, at most `each` of an organization and `limit` of all: the longest waiting of each first, then
/// the second of each.
pub async fn due(
    source: &impl Source,
    now: Timestamp,
    each: u32,
    limit: u32,
) -> Result<Vec<Run>, StoreError> {
    const SELECT: &str = "SELECT r.* FROM task_runs r JOIN (
            SELECT id, ROW_NUMBER() OVER (PARTITION BY organization_id ORDER BY leased_until, id) AS place
            FROM task_runs WHERE state IN ('queued', 'running') AND leased_until <= $1
        ) waiting ON waiting.id = r.id
        WHERE waiting.place <= $2 ORDER BY waiting.place, r.leased_until, r.id LIMIT $3";
    let values = values![now, i64::from(each), i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read_run).collect()
}

/// Takes a run as it was read, under the next number; `false` where somebody else was faster, or whoever held it has said
/// since that it still does. Of all who try, one gets it.
pub async fn lease(tx: &Tx<'_>, run: &Run, until: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE task_runs SET state = 'running', attempt = attempt + 1, asked = asked + 1, leased_until = $4
        WHERE id = $1 AND attempt = $2 AND leased_until = $3 AND state IN ('queued', 'running')";
    let values = values![run.id.as_str(), run.attempt, run.leased_until, until];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Ends a run as it was read that nobody begins again; `false`, and nothing changed, where that is no longer so.
pub async fn give_up(tx: &Tx<'_>, run: &Run, why: &Refusal, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE task_runs SET state = 'failed', refusal = $4, ended_at = $5
        WHERE id = $1 AND attempt = $2 AND leased_until = $3 AND state IN ('queued', 'running')";
    let values = values![run.id.as_str(), run.attempt, run.leased_until, sql::document(why)?, now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Holds a run on under this number; `false` where it is over, or somebody else's.
pub async fn renew(tx: &Tx<'_>, id: &RunId, attempt: i64, until: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE task_runs SET leased_until = $3 WHERE id = $1 AND attempt = $2 AND state = 'running'";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), attempt, until]).await? == 1)
}

/// Puts a run off until then that was leased under this number, and for which no model was asked; `false` where it is over,
/// or somebody else's.
pub async fn put_off(tx: &Tx<'_>, id: &RunId, attempt: i64, until: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE task_runs SET state = 'queued', asked = asked - 1, leased_until = $3
        WHERE id = $1 AND attempt = $2 AND state = 'running'";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), attempt, until]).await? == 1)
}

/// Ends a run under this number; `false`, and nothing changed, where it is over or somebody else's.
pub async fn settle(
    tx: &Tx<'_>,
    id: &RunId,
    attempt: i64,
    state: RunState,
    answered: &Answered,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE task_runs
        SET state = $3, answer = $4, request_id = $5, refusal = $6, input_tokens = $7, output_tokens = $8,
            duration_ms = $9, ended_at = $10
        WHERE id = $1 AND attempt = $2 AND state IN ('queued', 'running')";
    let values = values![
        id.as_str(),
        attempt,
        state.as_str(),
        &answered.text,
        answered.request_id.clone(),
        answered.refusal.as_ref().map(sql::document).transpose()?,
        answered.spent.input_tokens,
        answered.spent.output_tokens,
        answered.spent.duration_ms,
        now,
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Cancels one of somebody's own runs; `false` where it is over. Whoever works on it finds that at its next sign of life.
pub async fn cancel(tx: &Tx<'_>, keeper: Keeper<'_>, id: &RunId, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE task_runs SET state = 'cancelled', ended_at = $4
        WHERE organization_id = $1 AND user_id = $2 AND id = $3 AND state IN ('queued', 'running')";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str(), now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

fn read(row: &Row) -> Result<Task, StoreError> {
    Ok(Task {
        id: row.parsed("id")?,
        name: row.get("name")?,
        prompt: row.get("prompt")?,
        model: row.get("model")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn read_run(row: &Row) -> Result<Run, StoreError> {
    Ok(Run {
        id: row.parsed("id")?,
        task: row.parsed("task_id")?,
        organization: row.parsed("organization_id")?,
        user: row.parsed("user_id")?,
        prompt: row.get("prompt")?,
        model: row.get("model")?,
        state: row.parsed("state")?,
        attempt: row.get("attempt")?,
        asked: row.get("asked")?,
        leased_until: row.time("leased_until")?,
        answer: row.get("answer")?,
        request_id: row.get("request_id")?,
        refusal: read_refusal(row)?,
        spent: read_spent(row)?,
        created_at: row.time("created_at")?,
        ended_at: row.time_opt("ended_at")?,
    })
}
