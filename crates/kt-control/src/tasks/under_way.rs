//! The runs that one server works on at this moment.

use std::collections::HashMap;
use std::sync::Arc;

use kt_domain::id::OrganizationId;
use kt_store::tasks::Run;
use tokio::task::{Id, JoinSet};

use crate::control::Control;

/// How many runs one server works on at once.
const AT_ONCE: usize = 16;

/// How many of them are of one organisation, so that others find room beside one whose gateways never come to an end.
pub(super) const OF_ONE_ORGANIZATION: u32 = 4;

/// The runs under way. Dropped, it ends its work on them; another server begins them again.
#[derive(Default)]
pub(super) struct UnderWay {
    runs: JoinSet<()>,
    organizations: HashMap<Id, OrganizationId>,
}

impl UnderWay {
    /// Whether one more can be begun.
    pub(super) fn has_room(&self) -> bool {
        self.runs.len() < AT_ONCE
    }

    /// The organisations of which no more can be begun.
    pub(super) fn with_their_share(&self) -> Vec<OrganizationId> {
        let mut counts: HashMap<&OrganizationId, u32> = HashMap::new();
        for organization in self.organizations.values() {
            *counts.entry(organization).or_default() += 1;
        }
        let full = counts.into_iter().filter(|(_, runs)| *runs >= OF_ONE_ORGANIZATION);
        full.map(|(organization, _)| organization.clone()).collect()
    }

    /// Begins to work on a run.
    pub(super) fn begin(&mut self, control: Arc<Control>, run: Run) {
        let organization = run.organization.clone();
        let handle = self.runs.spawn(async move { control.work_on(run).await });
        self.organizations.insert(handle.id(), organization);
    }

    /// Is ready when the work on one has ended; `None` while there is none.
    pub(super) async fn next_end(&mut self) -> Option<()> {
        let id = match self.runs.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.organizations.remove(&id);
        Some(())
    }
}
