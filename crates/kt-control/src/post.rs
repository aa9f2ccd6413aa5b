//! Mail that waits: queued in the transaction of what it tells about, sealed, and delivered by a job.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Actor;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::{Client, Ctx};
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{MailId, OrganizationId};
use kt_domain::lockout::Count;
use kt_domain::mail;
use kt_store::mail_queue::{self, FailedMail, QueuedMail};
use kt_store::{Tx, audit, limits};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::links::Link;
use crate::mail::{Circumstances, Label, Letter, MailError, Mailer, Message, Renderer, Sender};

/// How mail leaves. Whoever wires the process decides it.
pub struct Post {
    /// The way out.
    pub mailer: Arc<dyn Mailer>,
    /// Makes the words.
    pub renderer: Renderer,
    /// Who sends it.
    pub sender: Sender,
}

/// How long one process may take over one message; longer than any mailer takes. If it dies meanwhile, another process
/// tries afterwards.
const LEASE: Duration = Duration::from_mins(10);

/// How often the queue is looked at without being told to: mail of other processes, and second attempts.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many due messages are looked up at a time.
const BATCH: u32 = 32;

/// How many given-up messages are shown.
const SHOWN: u32 = 200;

impl Control {
    /// Puts a message to `recipient` into the queue; it leaves once the transaction is committed. With nobody as the
    /// recipient the same is done and nothing is sent. Over the recipient's limit the message is left out.
    pub(crate) async fn enqueue(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: Option<&OrganizationId>,
        recipient: Option<&EmailAddress>,
        message: &Message,
    ) -> Result<(), Error> {
        let kind = message.kind();
        if let (Some(recipient), false) = (recipient, message.is_on_request()) {
            let limit = mail::notice(&kind, &recipient.folded());
            if !is_within(ctx, tx, &limit).await? {
                return Ok(());
            }
        }
        let id = self.draw(|random| MailId::new(ctx.now, random));
        let text = message.to_seal().map_err(Error::internal)?;
        let sealed = self.draw(|random| self.seal.seal(&place(&id), &text, random))?;
        let mail = QueuedMail {
            id,
            organization: organization.cloned(),
            kind,
            recipient: recipient.map(EmailAddress::to_string),
            sealed,
            created_at: ctx.now,
            attempts: 0,
        };
        mail_queue::insert(tx, &mail).await?;
        self.mail_waits.notify_one();
        Ok(())
    }

    /// Counts a request of a stranger for mail with this link to this address, whether or not it belongs to an account. `false`
    /// when the address has had its share: then nothing is sent and nothing is changed, least of all the link sent before. A
    /// network that asks too often is refused, which tells nothing about any address.
    pub(crate) async fn may_request_mail(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        link: &Link,
        to: &EmailAddress,
    ) -> Result<bool, Error> {
        if let Some(limit) = ctx.client.ip.and_then(mail::per_source)
            && !is_within(ctx, tx, &limit).await?
        {
            return Err(too_much_mail());
        }
        is_within(ctx, tx, &mail::on_request(link.purpose(), &to.folded())).await
    }

    /// Delivers what is due, and tells how many messages it took on. What fails for now is tried again later; what fails
    /// for good is kept without its words, and recorded.
    pub async fn deliver_mail(&self, post: &Post) -> Result<usize, Error> {
        let mut taken = 0;
        for id in mail_queue::due(&self.store, self.clock.now(), BATCH).await? {
            let now = self.clock.now();
            let tx = self.store.begin_write().await?;
            let leased = mail_queue::lease(&tx, &id, now, now + LEASE).await?;
            tx.commit().await?;
            if let Some(mail) = leased {
                taken += 1;
                let outcome = self.hand_over(post, &mail).await;
                self.settle(&mail, outcome).await?;
            }
        }
        Ok(taken)
    }

    /// Delivers mail as long as it is polled. Any number of processes may do so.
    pub async fn keep_delivering_mail(&self, post: &Post) {
        loop {
            if let Err(error) = self.deliver_mail(post).await {
                tracing::error!(%error, "mail cannot be delivered at the moment");
            }
            tokio::select! {
                () = self.mail_waits.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// The messages that were given up, the latest first, for the operator.
    pub async fn undelivered_mail(&self, ctx: &Ctx) -> Result<Vec<FailedMail>, Error> {
        require_operator(ctx)?;
        Ok(mail_queue::failed(&self.store, SHOWN).await?)
    }

    async fn hand_over(&self, post: &Post, mail: &QueuedMail) -> Result<(), MailError> {
        let Some(recipient) = &mail.recipient else { return Ok(()) };
        let letter = self.letter(post, mail, recipient).map_err(MailError::Permanent)?;
        post.mailer.send(&letter).await
    }

    fn letter(&self, post: &Post, mail: &QueuedMail, recipient: &str) -> Result<Letter, String> {
        let opened = self.seal.open(&place(&mail.id), &mail.sealed).map_err(|error| error.to_string())?;
        let message = Message::from_unsealed(&opened).map_err(|error| error.to_string())?;
        let to = EmailAddress::parse(recipient).map_err(|error| error.to_string())?;
        let digits = mail.id.as_str().trim_start_matches("mail_");
        let id = Uuid::try_parse(digits).map_err(|error| error.to_string())?;
        let content = post.renderer.render(&message, &to);
        Ok(Letter { id, from: post.sender.clone(), to, date: mail.created_at, content })
    }

    async fn settle(&self, mail: &QueuedMail, outcome: Result<(), MailError>) -> Result<(), Error> {
        let now = self.clock.now();
        let tx = self.store.begin_write().await?;
        match outcome {
            Ok(()) => mail_queue::remove(&tx, mail).await?,
            Err(error) => match mail::next_attempt(mail.attempts, now).filter(|_| !error.is_permanent()) {
                Some(due_at) => mail_queue::put_off(&tx, mail, due_at, &error.to_string()).await?,
                None => self.give_up(&tx, mail, &error, now).await?,
            },
        }
        Ok(tx.commit().await?)
    }

    async fn give_up(
        &self,
        tx: &Tx<'_>,
        mail: &QueuedMail,
        error: &MailError,
        now: Timestamp,
    ) -> Result<(), Error> {
        let reason = error.to_string();
        tracing::warn!(id = %mail.id, kind = mail.kind, reason, "a message was given up");
        mail_queue::give_up(tx, mail, &reason, now).await?;
        let client = Client::default();
        let ctx = Ctx { actor: Actor::System("mail"), client, request_id: mail.id.to_string(), now };
        let what = json!({ "kind": mail.kind, "recipient": mail.recipient, "reason": reason });
        let record = self
            .record(&ctx, AuditAction::MailFailed, mail.id.as_str())
            .with_change(Value::Null, what)
            .refused();
        Ok(audit::append(tx, mail.organization.as_ref(), &record).await?)
    }
}

/// When and from where `ctx` is done, as mail tells it.
pub(crate) fn circumstances(ctx: &Ctx) -> Circumstances {
    let client = ctx.client.user_agent.as_deref().map(Label::new);
    Circumstances { at: ctx.now, address: ctx.client.ip, client }
}

/// What somebody typed as an e-mail address; a refusal names `param`.
pub(crate) fn parse_email(param: &'static str, typed: &str) -> Result<EmailAddress, Error> {
    EmailAddress::parse(typed).map_err(|why| Error::invalid(param, why.to_string()))
}

/// An address that is kept for an account.
pub(crate) fn kept_email(text: &str) -> Result<EmailAddress, Error> {
    EmailAddress::parse(text).map_err(Error::internal)
}

async fn is_within(ctx: &Ctx, tx: &Tx<'_>, limit: &Count) -> Result<bool, Error> {
    let count = limits::count(tx, &limit.key, mail::WINDOW, ctx.now).await?;
    Ok(count <= i64::from(limit.limit))
}

fn place(id: &MailId) -> String {
    format!("mail_queue/{id}")
}

fn too_much_mail() -> Error {
    let message = "Too many messages were asked for from your network. Try again in an hour.";
    Error::new(ErrorKind::TooManyRequests, "too_much_mail", message).with_retry_after(mail::WINDOW)
}
