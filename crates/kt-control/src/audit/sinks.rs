//! Sinks outside, to which the audit log goes on its own, so that the evidence outlives the machine.
//!
//! Each sink has a position in each chain. What stands behind it is sent in parts, in order; the position moves on once the
//! sink has taken a part. So every entry arrives at least once: twice when the process ends between the two.

mod syslog;
mod webhook;

use std::time::Duration;

use kt_domain::error::Error;
use kt_store::audit::deliveries::{self, Delivery};
use kt_store::audit::{self, ChainEntry};

use crate::control::Control;
use crate::outbound::OutboundError;

pub use syslog::{Syslog, SyslogAddress, SyslogAddressError};
pub use webhook::{Webhook, WebhookError};

/// How often entries that wait are looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many entries are sent at once.
const PART: u32 = 100;

/// How long a process that sends keeps others from doing so. Longer than any sending takes.
const LEASE: Duration = Duration::from_mins(2);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Where the audit log goes.
pub enum AuditSink {
    /// A program that takes it over HTTP.
    Webhook(Webhook),
    /// A collector of logs.
    Syslog(Syslog),
}

/// Why a sink has not taken a part.
struct NotTaken {
    reason: String,
    /// How long it asks to be left alone.
    wait: Option<Duration>,
}

impl AuditSink {
    /// The name under which positions are kept: one of each kind, wherever it leads.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Syslog(_) => "syslog",
        }
    }

    async fn send(&self, control: &Control, chain: &str, entries: &[ChainEntry]) -> Result<(), NotTaken> {
        match self {
            Self::Webhook(webhook) => webhook.send(chain, entries, control.clock.now()).await,
            Self::Syslog(syslog) => syslog.send(chain, entries).await,
        }
    }
}

impl From<OutboundError> for NotTaken {
    fn from(error: OutboundError) -> Self {
        Self { reason: error.to_string(), wait: None }
    }
}

impl Control {
    /// Sends the audit log to a sink as long as it is polled. Any number of processes may do so.
    pub async fn keep_sending_audit(&self, sink: &AuditSink) {
        loop {
            match self.send_audit(sink).await {
                Ok(0) => tokio::time::sleep(INTERVAL).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, sink = sink.name(), "the audit log cannot be sent at the moment");
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    }

    /// Sends the next part of every chain that is due; tells how many entries the sink has taken.
    pub async fn send_audit(&self, sink: &AuditSink) -> Result<usize, Error> {
        let mut taken = 0;
        for chain in deliveries::due(&self.store, sink.name(), self.clock.now()).await? {
            if let Some(delivery) = self.lease_delivery(sink, &chain).await? {
                taken += self.send_part(sink, &delivery).await?;
            }
        }
        Ok(taken)
    }

    async fn lease_delivery(&self, sink: &AuditSink, chain: &str) -> Result<Option<Delivery>, Error> {
        let now = self.clock.now();
        let tx = self.store.begin_write().await?;
        let delivery = deliveries::lease(&tx, sink.name(), chain, now, now + LEASE).await?;
        tx.commit().await?;
        Ok(delivery)
    }

    async fn send_part(&self, sink: &AuditSink, delivery: &Delivery) -> Result<usize, Error> {
        let entries = audit::entries(&self.store, &delivery.chain, delivery.seq, PART).await?;
        let Some(last) = entries.last() else { return Ok(0) };
        let sent = sink.send(self, &delivery.chain, &entries).await;
        let now = self.clock.now();
        let tx = self.store.begin_write().await?;
        let taken = match sent {
            Ok(()) => {
                deliveries::advance(&tx, delivery, last.seq, now).await?;
                entries.len()
            }
            Err(NotTaken { reason, wait }) => {
                let Delivery { chain, attempts, .. } = delivery;
                tracing::warn!(sink = sink.name(), %chain, attempts, reason, "a sink has not taken the audit log");
                let wait = wait_after(*attempts).max(wait.unwrap_or_default().min(LONGEST_WAIT));
                deliveries::put_off(&tx, delivery, now + wait, &reason).await?;
                0
            }
        };
        tx.commit().await?;
        Ok(taken)
    }
}

/// How long to wait after so many tries: a second, then twice as long each time.
fn wait_after(attempts: u32) -> Duration {
    let seconds = 1u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_five_minutes() {
        let waits = [1, 2, 3, 9, 10, 64, 65, u32::MAX].map(|attempts| wait_after(attempts).as_secs());
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300, 300]);
    }
}
