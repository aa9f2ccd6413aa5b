//! Conversations with models: each belongs to one person in one organization, and every statement says so.

use jiff::Timestamp;
use kt_domain::id::{ConversationId, OrganizationId, TurnId, UserId};
use kt_domain::search::Search;
use kt_domain::workspace::{Ending, Refusal, Spent};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// Whose things are meant.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    /// Where.
    pub organization: &'a OrganizationId,
    /// Who.
    pub user: &'a UserId,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its identifier.
    pub id: ConversationId,
    /// What it is called.
    pub title: String,
    /// The model that was asked last.
    pub model: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When something was last asked in it.
    pub updated_at: Timestamp,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its identifier; sorts by time.
    pub id: TurnId,
    /// What was asked.
    pub question: String,
    /// The model that was asked.
    pub model: String,
    /// The answer, as far as it is there.
    pub answer: String,
    /// Where the answer stands.
    pub state: Ending,
    /// The number of the try to answer it.
    pub attempt: i64,
    /// Until when whoever answers is believed to.
    pub held_until: Timestamp,
    /// The gateway's identifier of the request.
    pub request_id: Option<String>,
    /// Why there is no answer.
    pub refusal: Option<Refusal>,
    /// What it took.
    pub spent: Spent,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// What has come of a try to answer a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The answer, as far as it is there.
    pub text: String,
    /// The gateway's identifier of the request.
    pub request_id: Option<String>,
    /// Why there is no answer, or no whole one.
    pub refusal: Option<Refusal>,
    /// What it took.
    pub spent: Spent,
}

/// Adds a conversation.
pub async fn insert(tx: &Tx<'_>, keeper: Keeper<'_>, new: &Conversation) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO conversations (id, organization_id, user_id, title, model, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = values![
        new.id.as_str(),
        keeper.organization.as_str(),
        keeper.user.as_str(),
        &new.title,
        &new.model,
        new.created_at,
        new.updated_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// How many somebody keeps.
pub async fn count(source: &impl Source, keeper: Keeper<'_>) -> Result<i64, StoreError> {
    const SELECT: &str =
        "SELECT COUNT(*) AS kept FROM conversations WHERE organization_id = $1 AND user_id = $2";
    let row = sql::row(source, SELECT, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("kept"))
}

/// How many bytes of questions and answers they hold together.
pub async fn bytes(source: &impl Source, keeper: Keeper<'_>) -> Result<i64, StoreError> {
    const SELECT: &str =
        "SELECT CAST(COALESCE(SUM(OCTET_LENGTH(t.question) + OCTET_LENGTH(t.answer)), 0) AS BIGINT) AS kept
        FROM conversations c JOIN conversation_turns t ON t.conversation_id = c.id
        WHERE c.organization_id = $1 AND c.user_id = $2";
    let row = sql::row(source, SELECT, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("kept"))
}

/// Up to `limit` of them whose title holds what is searched for, the one asked in last first.
pub async fn list(
    source: &impl Source,
    keeper: Keeper<'_>,
    search: Option<&Search>,
    limit: u32,
) -> Result<Vec<Conversation>, StoreError> {
    let mut query = Composed::new("SELECT * FROM conversations WHERE organization_id = ");
    query.value(keeper.organization.as_str()).and("user_id = ", Some(keeper.user.as_str()));
    query.and_found_in(["title"], search);
    query.text(" ORDER BY updated_at DESC, id DESC LIMIT ").value(i64::from(limit));
    query.rows(source).await?.iter().map(read).collect()
}

/// One of somebody's own.
pub async fn find(
    source: &impl Source,
    keeper: Keeper<'_>,
    id: &ConversationId,
) -> Result<Option<Conversation>, StoreError> {
    const SELECT: &str =
        "SELECT * FROM conversations WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read).transpose()
}

/// Notes that something is asked in one of somebody's own, and holds it still until the transaction ends; `false` where
/// there is none.
pub async fn touch(
    tx: &Tx<'_>,
    keeper: Keeper<'_>,
    id: &ConversationId,
    model: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE conversations SET model = $4, updated_at = $5
        WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str(), model, now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Gives one of somebody's own another title; `false` where there is none.
pub async fn rename(
    tx: &Tx<'_>,
    keeper: Keeper<'_>,
    id: &ConversationId,
    title: &str,
) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE conversations SET title = $4 WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str(), title];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Forgets one of somebody's own with all that was said in it; `false` where there is none.
pub async fn remove(tx: &Tx<'_>, keeper: Keeper<'_>, id: &ConversationId) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM conversations WHERE organization_id = $1 AND user_id = $2 AND id = $3";
    let values = values![keeper.organization.as_str(), keeper.user.as_str(), id.as_str()];
    Ok(sql::execute(tx, DELETE, values).await? == 1)
}

/// Forgets all that somebody has said here.
pub async fn remove_all(tx: &Tx<'_>, keeper: Keeper<'_>) -> Result<(), StoreError> {
    const DELETE: &str = "DELETE FROM conversations WHERE organization_id = $1 AND user_id = $2";
    sql::execute(tx, DELETE, values![keeper.organization.as_str(), keeper.user.as_str()]).await?;
    Ok(())
}

/// Removes every conversation that nobody has gone on with since `before`.
pub async fn remove_untouched(tx: &Tx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx, "DELETE FROM conversations WHERE updated_at < $1", values![before]).await
}

/// Adds a question.
pub async fn ask(tx: &Tx<'_>, conversation: &ConversationId, turn: &Turn) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO conversation_turns
            (id, conversation_id, question, model, answer, state, attempt, held_until, asked_at)
        VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8)";
    let values = values![
        turn.id.as_str(),
        conversation.as_str(),
        &turn.question,
        &turn.model,
        turn.state.as_str(),
        turn.attempt,
        turn.held_until,
        turn.asked_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Asks the same again, as the try behind `before`, which is forgotten; `false` where that is not the latest.
pub async fn ask_again(
    tx: &Tx<'_>,
    id: &TurnId,
    model: &str,
    before: i64,
    held_until: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE conversation_turns
        SET model = $2, answer = '', state = 'answering', attempt = attempt + 1, held_until = $4, request_id = NULL,
            refusal = NULL, input_tokens = NULL, output_tokens = NULL, duration_ms = NULL
        WHERE id = $1 AND attempt = $3";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), model, before, held_until]).await? == 1)
}

/// The questions of a conversation with their answers, the earliest first. Ask for the conversation first: it says whose
/// it is.
pub async fn turns(source: &impl Source, conversation: &ConversationId) -> Result<Vec<Turn>, StoreError> {
    const SELECT: &str = "SELECT * FROM conversation_turns WHERE conversation_id = $1 ORDER BY id";
    sql::rows(source, SELECT, values![conversation.as_str()]).await?.iter().map(read_turn).collect()
}

/// One question of a conversation of somebody's own, with its answer.
pub async fn find_turn(
    source: &impl Source,
    keeper: Keeper<'_>,
    conversation: &ConversationId,
    id: &TurnId,
) -> Result<Option<Turn>, StoreError> {
    const SELECT: &str =
        "SELECT t.* FROM conversation_turns t JOIN conversations c ON c.id = t.conversation_id
        WHERE c.organization_id = $1 AND c.user_id = $2 AND c.id = $3 AND t.id = $4";
    let values =
        values![keeper.organization.as_str(), keeper.user.as_str(), conversation.as_str(), id.as_str()];
    sql::row(source, SELECT, values).await?.as_ref().map(read_turn).transpose()
}

/// Keeps what has come so far of a try, which goes on until `held_until`; `false` where another try has begun, or the
/// conversation is gone.
pub async fn keep_so_far(
    tx: &Tx<'_>,
    id: &TurnId,
    attempt: i64,
    so_far: &Answered,
    held_until: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE conversation_turns SET answer = $3, request_id = $4, held_until = $5
        WHERE id = $1 AND attempt = $2 AND state = 'answering'";
    let values = values![id.as_str(), attempt, &so_far.text, so_far.request_id.clone(), held_until];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Keeps how a try ended; `false` where another try has begun, or the conversation is gone.
pub async fn settle(
    tx: &Tx<'_>,
    id: &TurnId,
    attempt: i64,
    ending: Ending,
    answered: &Answered,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE conversation_turns
        SET answer = $3, state = $4, request_id = $5, refusal = $6, input_tokens = $7, output_tokens = $8,
            duration_ms = $9
        WHERE id = $1 AND attempt = $2 AND state = 'answering'";
    let values = values![
        id.as_str(),
        attempt,
        &answered.text,
        ending.as_str(),
        answered.request_id.clone(),
        answered.refusal.as_ref().map(sql::document).transpose()?,
        answered.spent.input_tokens,
        answered.spent.output_tokens,
        answered.spent.duration_ms,
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

fn read(row: &Row) -> Result<Conversation, StoreError> {
    Ok(Conversation {
        id: row.parsed("id")?,
        title: row.get("title")?,
        model: row.get("model")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn read_turn(row: &Row) -> Result<Turn, StoreError> {
    Ok(Turn {
        id: row.parsed("id")?,
        question: row.get("question")?,
        model: row.get("model")?,
        answer: row.get("answer")?,
        state: row.parsed("state")?,
        attempt: row.get("attempt")?,
        held_until: row.time("held_until")?,
        request_id: row.get("request_id")?,
        refusal: read_refusal(row)?,
        spent: read_spent(row)?,
        asked_at: row.time("asked_at")?,
    })
}

pub(crate) fn read_refusal(row: &Row) -> Result<Option<Refusal>, StoreError> {
    let text: Option<String> = row.get("refusal")?;
    text.map(|_| row.document("refusal")).transpose()
}

pub(crate) fn read_spent(row: &Row) -> Result<Spent, StoreError> {
    Ok(Spent {
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        duration_ms: row.get::<Option<i64>>("duration_ms")?.unwrap_or(0),
    })
}
