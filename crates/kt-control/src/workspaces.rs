//! How long what people keep in the console's workspaces stays: for as long as the deployment says.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::{conversations, once, tasks};

use crate::authenticate::require_operator;
use crate::control::Control;

/// Looked for once an hour, whichever process comes first.
const HOUR: i64 = 3600;

/// How long it is remembered that somebody has looked.
const REMEMBERED: Duration = Duration::from_hours(24);

impl Control {
    /// Removes conversations that nobody has gone on with for the days that the deployment keeps them, and runs of tasks that
    /// ended before. Without such a number of days nothing is removed. Only the server's own jobs do this.
    pub async fn forget_old_workspaces(&self, ctx: &Ctx) -> Result<(), Error> {
        require_operator(ctx)?;
        let Some(days) = self.workspace_days else { return Ok(()) };
        let tx = self.store.begin_write().await?;
        let hour = ctx.now.as_second().div_euclid(HOUR).to_string();
        if !once::claim(&tx, "workspace_retention", &hour, ctx.now + REMEMBERED).await? {
            return Ok(());
        }
        let before = ctx.now - Duration::from_hours(24) * days;
        conversations::remove_untouched(&tx, before).await?;
        tasks::remove_ended_runs(&tx, before).await?;
        Ok(tx.commit().await?)
    }
}
