//! Conversations with models: each is its owner's alone, in one organization, and everything asked in it goes through a
//! gateway under their identity.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kt_domain::actor::{Permission, Person};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::events::Event;
use kt_domain::id::{ConversationId, OrganizationId, TurnId};
use kt_domain::search::Search;
use kt_domain::workspace::{
    self, Decision, Ending, LONGEST_ANSWER, LONGEST_CONVERSATION, MOST_KEPT, MOST_TURNS, Refusal,
};
use kt_store::conversations::{self, Answered, Conversation, Keeper, Turn};
use kt_store::event_log::EventFilter;
use kt_store::{Tx, events};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::Interval;

use crate::control::Control;
use crate::inference::{NotAnswered, Question, Reply, Said};
use crate::keeping::until_kept;
use crate::passes::until_refused;

/// How long whoever answers is believed to, and how often what has come is kept.
const HELD: Duration = Duration::from_secs(30);
const KEPT_EVERY: Duration = Duration::from_secs(2);

/// How many parts of an answer wait for a reader.
const WAITING_PARTS: usize = 16;

/// A conversation with all that was said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationView {
    /// The conversation.
    pub conversation: Conversation,
    /// What was asked and answered, the earliest first.
    pub turns: Vec<TurnView>,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnView {
    /// Both, as they are kept.
    pub turn: Turn,
    /// Whether nobody is answering any more, though it was begun: the server ended meanwhile.
    pub is_interrupted: bool,
}

/// An answer that is on its way. Whoever drops `parts` stops it; what had come until then is kept.
pub struct Streaming {
    /// In which conversation.
    pub conversation: ConversationId,
    /// The parts of its text, as they come.
    pub parts: mpsc::Receiver<String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub question: String,
    /// Which model.
    pub model: String,
}

impl Control {
    /// One's conversations whose title holds what is searched for, the one asked in last first.
    pub async fn conversations(&self, ctx: &Ctx, search: &str) -> Result<Vec<Conversation>, Error> {
        let (keeper, search) = (keeper(ctx)?, Search::read(search)?);
        Ok(conversations::list(&self.store, keeper, search.as_ref(), MOST_KEPT).await?)
    }

    /// One of them. Somebody else's is not to be found.
    pub async fn conversation(&self, ctx: &Ctx, id: &ConversationId) -> Result<ConversationView, Error> {
        let found = conversations::find(&self.store, keeper(ctx)?, id).await?;
        let conversation = found.ok_or_else(no_conversation)?;
        let turns = conversations::turns(&self.store, id).await?.into_iter();
        Ok(ConversationView { conversation, turns: turns.map(|turn| TurnView::at(ctx.now, turn)).collect() })
    }

    /// Gives one of one's conversations another title.
    pub async fn rename_conversation(
        &self,
        ctx: &Ctx,
        id: &ConversationId,
        title: &str,
    ) -> Result<(), Error> {
        let (keeper, title) = (keeper(ctx)?, workspace::title("title", title)?);
        let tx = self.store.begin_write().await?;
        if !conversations::rename(&tx, keeper, id, &title).await? {
            return Err(no_conversation());
        }
        Ok(tx.commit().await?)
    }

    /// Forgets one of one's conversations with all that was said in it. An answer that is on its way is stopped.
    pub async fn delete_conversation(&self, ctx: &Ctx, id: &ConversationId) -> Result<(), Error> {
        let keeper = keeper(ctx)?;
        let tx = self.store.begin_write().await?;
        if !conversations::remove(&tx, keeper, id).await? {
            return Err(no_conversation());
        }
        Ok(tx.commit().await?)
    }

    /// Asks a model, in one of one's conversations or in a new one. The question is kept before anything is sent.
    pub async fn ask_model(
        self: &Arc<Self>,
        ctx: &Ctx,
        conversation: Option<&ConversationId>,
        ask: Ask,
    ) -> Result<Streaming, Error> {
        let keeper = keeper(ctx)?;
        let ask = ask.checked()?;
        let pass = self.gateway_pass(ctx).await?;
        let tx = self.store.begin_write().await?;
        let id = match conversation {
            Some(id) => id.clone(),
            None => self.new_conversation(ctx, &tx, keeper, &ask).await?,
        };
        let before = self.turns_to_go_on(ctx, &tx, keeper, &id, &ask.model).await?;
        let said: usize = before.iter().map(|turn| turn.question.len() + turn.answer.len()).sum();
        if before.len() >= MOST_TURNS as usize || said >= LONGEST_CONVERSATION {
            return Err(conversation_full());
        }
        let turn = Turn {
            id: self.draw(|random| TurnId::new(ctx.now, random)),
            question: ask.question,
            model: ask.model,
            answer: String::new(),
            state: Ending::Answering,
            attempt: 1,
            held_until: ctx.now + HELD,
            request_id: None,
            refusal: None,
            spent: workspace::Spent::default(),
            asked_at: ctx.now,
        };
        conversations::ask(&tx, &id, &turn).await?;
        tx.commit().await?;
        Ok(self.stream(ctx.require_person()?.clone(), pass, id, before, turn))
    }

    /// Asks the last question of one of one's conversations again; the answer before is forgotten.
    pub async fn ask_model_again(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: &ConversationId,
        model: &str,
    ) -> Result<Streaming, Error> {
        let (keeper, model) = (keeper(ctx)?, workspace::model(model)?);
        let pass = self.gateway_pass(ctx).await?;
        let tx = self.store.begin_write().await?;
        let mut before = self.turns_to_go_on(ctx, &tx, keeper, id, &model).await?;
        let last = before.pop().ok_or_else(no_conversation)?;
        if !conversations::ask_again(&tx, &last.id, &model, last.attempt, ctx.now + HELD).await? {
            return Err(still_answering());
        }
        tx.commit().await?;
        let turn = Turn { attempt: last.attempt + 1, model, ..last };
        Ok(self.stream(ctx.require_person()?.clone(), pass, id.clone(), before, turn))
    }

    /// A question of one's own with its answer, and what the gateway decided about it, once its event has arrived.
    pub async fn turn(
        &self,
        ctx: &Ctx,
        id: &ConversationId,
        turn: &TurnId,
    ) -> Result<(TurnView, Option<Decision>), Error> {
        let keeper = keeper(ctx)?;
        let turn = conversations::find_turn(&self.store, keeper, id, turn).await?;
        let turn = turn.ok_or_else(no_conversation)?;
        let decision = self.decision_about(keeper.organization, turn.request_id.as_deref()).await?;
        Ok((TurnView::at(ctx.now, turn), decision))
    }

    /// What a gateway decided about a request.
    pub(crate) async fn decision_about(
        &self,
        organization: &OrganizationId,
        request_id: Option<&str>,
    ) -> Result<Option<Decision>, Error> {
        let Some(request_id) = request_id else { return Ok(None) };
        let filter = EventFilter { request_id: Some(request_id.to_owned()), ..EventFilter::default() };
        let found = events::page(&self.store, organization, &filter, None, 1).await?;
        // An event of a newer gateway may say more than is known here.
        let event = found.first().and_then(|found| serde_json::from_str::<Event>(&found.body).ok());
        Ok(event.map(Decision::from))
    }

    /// The models that can be asked for, by name; none where no gateway can be asked.
    pub async fn models(&self, ctx: &Ctx) -> Result<Vec<String>, Error> {
        let organization = ctx.require(Permission::Infer)?;
        let pass = self.gateway_pass(ctx).await?;
        self.models_of(organization, &pass, ctx.now).await
    }

    async fn new_conversation(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        keeper: Keeper<'_>,
        ask: &Ask,
    ) -> Result<ConversationId, Error> {
        if conversations::count(tx, keeper).await? >= i64::from(MOST_KEPT) {
            return Err(workspace::too_many("conversations"));
        }
        workspace::check_room("conversations", conversations::bytes(tx, keeper).await?)?;
        let new = Conversation {
            id: self.draw(|random| ConversationId::new(ctx.now, random)),
            title: workspace::title_of(&ask.question),
            model: ask.model.clone(),
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        conversations::insert(tx, keeper, &new).await?;
        Ok(new.id)
    }

    /// What was said in a conversation in which something is asked now. One question at a time is answered.
    async fn turns_to_go_on(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        keeper: Keeper<'_>,
        id: &ConversationId,
        model: &str,
    ) -> Result<Vec<Turn>, Error> {
        if !conversations::touch(tx, keeper, id, model, ctx.now).await? {
            return Err(no_conversation());
        }
        let turns = conversations::turns(tx, id).await?;
        if turns.iter().any(|turn| turn.state == Ending::Answering && turn.held_until > ctx.now) {
            return Err(still_answering());
        }
        Ok(turns)
    }

    fn stream(
        self: &Arc<Self>,
        asker: Person,
        pass: SecretString,
        conversation: ConversationId,
        before: Vec<Turn>,
        turn: Turn,
    ) -> Streaming {
        let (sender, parts) = mpsc::channel(WAITING_PARTS);
        let answering = Answering {
            control: Arc::clone(self),
            asker,
            pass,
            before,
            turn,
            began: Instant::now(),
            reader: sender,
            so_far: Answered::default(),
        };
        tokio::spawn(answering.run());
        Streaming { conversation, parts }
    }
}

impl TurnView {
    fn at(now: Timestamp, turn: Turn) -> Self {
        Self { is_interrupted: turn.state == Ending::Answering && turn.held_until <= now, turn }
    }
}

impl Ask {
    fn checked(self) -> Result<Self, Error> {
        Ok(Self {
            question: workspace::question("question", &self.question)?,
            model: workspace::model(&self.model)?,
        })
    }
}

/// A question that is being answered. It goes on until the answer is there or nobody reads it any more.
struct Answering {
    control: Arc<Control>,
    asker: Person,
    pass: SecretString,
    before: Vec<Turn>,
    turn: Turn,
    began: Instant,
    reader: mpsc::Sender<String>,
    so_far: Answered,
}

impl Answering {
    async fn run(mut self) {
        let (control, asker) = (Arc::clone(&self.control), self.asker.clone());
        let ending = tokio::select! {
            ending = self.answer() => ending,
            // What had come is kept, as when the reader has it stopped.
            _ = until_refused(|| control.may_still_ask(&asker)) => Ending::Stopped,
        };
        self.so_far.spent.duration_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let kept = until_kept("an answer", || self.settle(ending));
        if tokio::time::timeout(HELD, kept).await.is_err() {
            tracing::error!(turn = %self.turn.id, "the end of an answer is lost");
        }
    }

    /// Asks, and hands on what comes. Dropped with the connection to the gateway in it, which ends the call there too.
    async fn answer(&mut self) -> Ending {
        let mut keeping = tokio::time::interval(KEPT_EVERY);
        keeping.tick().await;
        let Some(begun) = self.while_wanted(&mut keeping, self.ask()).await else { return Ending::Stopped };
        let mut reply = match begun {
            Ok(reply) => reply,
            Err(NotAnswered { request_id, refusal, .. }) => {
                self.so_far.request_id = request_id;
                return self.refuse(refusal);
            }
        };
        self.so_far.request_id.clone_from(&reply.request_id);
        loop {
            let Some(part) = self.while_wanted(&mut keeping, reply.next()).await else {
                return Ending::Stopped;
            };
            match part {
                Ok(None) => {
                    self.note_tokens(&reply);
                    return Ending::Complete;
                }
                Ok(Some(text)) => {
                    self.so_far.text.push_str(&text);
                    if self.so_far.text.len() > LONGEST_ANSWER {
                        self.so_far.refusal = Some(Refusal::too_long());
                        return Ending::Stopped;
                    }
                    let handed_on = self.while_wanted(&mut keeping, self.reader.send(text)).await;
                    if !matches!(handed_on, Some(Ok(()))) {
                        return Ending::Stopped;
                    }
                }
                Err(refusal) => {
                    self.note_tokens(&reply);
                    return self.refuse(refusal);
                }
            }
        }
    }

    /// Waits for a step of the answer, however long that takes, and says meanwhile that it is still being worked on: whoever
    /// asked must not be told that it was interrupted, and ask again. `None` when nobody wants the answer any more.
    async fn while_wanted<T>(&self, keeping: &mut Interval, step: impl Future<Output = T>) -> Option<T> {
        let mut step = pin!(step);
        loop {
            tokio::select! {
                done = &mut step => return Some(done),
                () = self.reader.closed() => return None,
                _ = keeping.tick() => if !self.keep_so_far().await {
                    return None;
                },
            }
        }
    }

    async fn ask(&self) -> Result<Reply, NotAnswered> {
        let remembered: Vec<&Turn> =
            self.before.iter().rev().filter(|turn| turn.state.is_remembered()).collect();
        let pairs = remembered.iter().map(|turn| (turn.question.as_str(), turn.answer.as_str()));
        let fits = workspace::remembered(pairs);
        let mut messages = Vec::with_capacity(2 * fits + 1);
        for turn in remembered[..fits].iter().rev() {
            messages.push(Said::by_user(&turn.question));
            if !turn.answer.is_empty() {
                messages.push(Said::by_model(&turn.answer));
            }
        }
        messages.push(Said::by_user(&self.turn.question));
        let question = Question { model: &self.turn.model, messages };
        let key = format!("{}-{}", self.turn.id, self.turn.attempt);
        self.control.ask(&self.asker.organization, &self.pass, &question, &key).await
    }

    fn refuse(&mut self, refusal: Refusal) -> Ending {
        let ending = refusal.ending();
        self.so_far.refusal = Some(refusal);
        ending
    }

    fn note_tokens(&mut self, reply: &Reply) {
        self.so_far.spent.input_tokens = reply.used.prompt_tokens;
        self.so_far.spent.output_tokens = reply.used.completion_tokens;
    }

    /// `false` where nobody wants the answer any more.
    async fn keep_so_far(&self) -> bool {
        let until: Timestamp = self.control.clock.now() + HELD;
        let kept = async {
            let tx = self.control.store.begin_write().await?;
            let (id, attempt) = (&self.turn.id, self.turn.attempt);
            let is_wanted = conversations::keep_so_far(&tx, id, attempt, &self.so_far, until).await?;
            tx.commit().await?;
            Ok::<_, Error>(is_wanted)
        };
        kept.await.unwrap_or_else(|error| {
            tracing::warn!(%error, turn = %self.turn.id, "what came of an answer cannot be kept yet; the answer goes on");
            true
        })
    }

    async fn settle(&self, ending: Ending) -> Result<(), Error> {
        let tx = self.control.store.begin_write().await?;
        conversations::settle(&tx, &self.turn.id, self.turn.attempt, ending, &self.so_far).await?;
        Ok(tx.commit().await?)
    }
}

/// Whose things are meant: those of the person who acts, who may use models.
pub(crate) fn keeper(ctx: &Ctx) -> Result<Keeper<'_>, Error> {
    let organization = ctx.require(Permission::Infer)?;
    Ok(Keeper { organization, user: &ctx.require_person()?.user })
}

fn no_conversation() -> Error {
    Error::not_found("conversation")
}

fn still_answering() -> Error {
    let message = "Your last question is still being answered. Wait for the answer, or stop it.";
    Error::new(ErrorKind::Conflict, "still_answering", message)
}

fn conversation_full() -> Error {
    let message = "This conversation is as long as one may be. Begin another one.";
    Error::new(ErrorKind::Conflict, "conversation_full", message)
}
