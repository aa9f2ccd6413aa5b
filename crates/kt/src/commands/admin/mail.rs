//! `kt admin mail …`: what could not be sent.

use clap::{Args, Subcommand};
use comfy_table::Table;
use kt_store::mail_queue::FailedMail;
use serde_json::{Value, json};

use super::Scene;
use crate::commands::reading::{empty_table, printable};
use crate::failure::Failure;
use crate::output;

/// Messages that could not be sent.
#[derive(Subcommand)]
pub(crate) enum Mail {
    /// List the messages that were given up, the latest first
    List(List),
}

/// List the messages that were given up, the latest first
///
/// The newest 200 of them: to whom, of what kind, and why. Their words are not kept.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    scene: Scene,
}

impl Mail {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::List(List { scene }) = self;
        let (control, ctx) = scene.open().await?;
        let given_up = control.undelivered_mail(&ctx).await?;
        if scene.json {
            output::list("mail", &given_up.iter().map(facts).collect::<Vec<Value>>());
        } else if given_up.is_empty() {
            output::complain("No message was given up.");
        } else {
            output::line(table(&given_up));
        }
        Ok(())
    }
}

fn facts(mail: &FailedMail) -> Value {
    json!({
        "id": mail.id,
        "kind": mail.kind,
        "recipient": mail.recipient,
        "created_at": mail.created_at,
        "failed_at": mail.failed_at,
        "reason": mail.reason,
    })
}

fn table(given_up: &[FailedMail]) -> Table {
    let mut table = empty_table(&["given up", "to", "kind", "why"]);
    for mail in given_up {
        let FailedMail { recipient, kind, failed_at, reason, .. } = mail;
        table.add_row([format!("{failed_at:.0}"), printable(recipient), kind.clone(), printable(reason)]);
    }
    table
}
