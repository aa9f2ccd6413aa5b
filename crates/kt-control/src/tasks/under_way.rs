//! The runs that one server works on at this moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kt_domain::id::OrganizationId;
use kt_store::tasks::Run;
use tokio::task::{Id, JoinSet};

use crate::control::Control;

/// How many runs one server works on at once.
const AT_ONCE: usize = 16;

/// How many of them are of one organization, so that others find room beside one whose gateways never come to an end.
pub(super) const OF_ONE_ORGANIZATION: u32 = 4;

/// The runs under way. Dropped, it ends its work on them; another server begins them again.
#[derive(Default)]
pub(super) struct UnderWay {
    work: JoinSet<()>,
    runs: HashMap<Id, Arc<Run>>,
}

impl UnderWay {
    /// Whether one more can be begun.
    pub(super) fn has_room(&self) -> bool {
        self.work.len() < AT_ONCE
    }

    /// The organizations of which no more can be begun.
    pub(super) fn with_their_share(&self) -> Vec<OrganizationId> {
        let mut counts: HashMap<&OrganizationId, u32> = HashMap::new();
        for run in self.runs.values() {
            *counts.entry(&run.organization).or_default() += 1;
        }
        let full = counts.into_iter().filter(|(_, runs)| *runs >= OF_ONE_ORGANIZATION);
        full.map(|(organization, _)| organization.clone()).collect()
    }

    /// Begins to work on a run.
    pub(super) fn begin(&mut self, control: Arc<Control>, run: Run) {
        let run = Arc::new(run);
        let worked_on = Arc::clone(&run);
        let handle = self.work.spawn(async move { control.work_on(&worked_on).await });
        self.runs.insert(handle.id(), run);
    }

    /// Is ready when the work on one has ended; `None` while there is none.
    pub(super) async fn next_end(&mut self) -> Option<()> {
        let id = match self.work.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.runs.remove(&id);
        Some(())
    }

    /// Lets the work go on for so long at most, then ends it. The runs that are not done.
    pub(super) async fn finish(mut self, time: Duration) -> Vec<Arc<Run>> {
        let all_end = async { while self.next_end().await.is_some() {} };
        // What is over too late is told by what is left.
        let _ = tokio::time::timeout(time, all_end).await;
        self.work.shutdown().await;
        self.runs.into_values().collect()
    }
}
