//! What the control plane does beside what it serves.

use std::sync::Arc;
use std::time::Duration;

use kt_control::{AuditSink, Control, Post};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::operator;
use crate::kept_up::{is_true, kept_up, until};

/// How often the jobs look for work.
const JOBS: Duration = Duration::from_secs(10);

/// How often those look for work that ask name servers and identity providers.
const LOOKS_OUTSIDE: Duration = Duration::from_mins(1);

/// What is done beside what is served, until `ended` says so.
pub(super) struct Beside {
    control: Arc<Control>,
    ended: watch::Receiver<bool>,
    parts: JoinSet<bool>,
}

impl Beside {
    pub(super) fn new(control: &Arc<Control>, ended: &watch::Receiver<bool>) -> Self {
        Self { control: Arc::clone(control), ended: ended.clone(), parts: JoinSet::new() }
    }

    /// All that the control plane does of itself: its jobs, tasks, mail, and the audit log on its way elsewhere.
    pub(super) fn begin(&mut self, post: Post, audit_sinks: Vec<AuditSink>) {
        self.keep_up("jobs", run_jobs);
        self.keep_up("looks outside", look_outside);
        self.keep_up("tasks", run_tasks);
        let post = Arc::new(post);
        self.keep_up("mail", move |control, ended| deliver_mail(control, Arc::clone(&post), ended));
        for sink in audit_sinks {
            let (name, sink) = (sink.name(), Arc::new(sink));
            self.keep_up(name, move |control, ended| send_audit(control, Arc::clone(&sink), ended));
        }
    }

    /// Is ready once all of it has ended.
    pub(super) async fn ended(mut self) {
        while self.parts.join_next().await.is_some() {}
    }

    /// Does `work` as well, also after a defect in it.
    fn keep_up<W>(
        &mut self,
        name: &'static str,
        work: impl Fn(Arc<Control>, watch::Receiver<bool>) -> W + Send + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let control = Arc::clone(&self.control);
        self.parts.spawn(kept_up(name, self.ended.clone(), move |ended| work(Arc::clone(&control), ended)));
    }
}

async fn run_jobs(control: Arc<Control>, ended: watch::Receiver<bool>) {
    let mut timer = tokio::time::interval(JOBS);
    let ended = is_true(ended);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = timer.tick() => {
                // What failed is in the log, by its name.
                let _ = control.run_jobs(&operator("jobs")).await;
            }
        }
    }
}

/// Asks name servers and identity providers until `ended` says so; whatever is under way then is asked again by the next
/// process.
async fn look_outside(control: Arc<Control>, ended: watch::Receiver<bool>) {
    let looks = async {
        let mut timer = tokio::time::interval(LOOKS_OUTSIDE);
        loop {
            timer.tick().await;
            let _ = control.look_outside(&operator("jobs")).await;
        }
    };
    until(ended, looks).await;
}

/// Delivers mail until `ended` says so. A message that is under way then is tried again by the next process.
async fn deliver_mail(control: Arc<Control>, post: Arc<Post>, ended: watch::Receiver<bool>) {
    until(ended, control.keep_delivering_mail(&post)).await;
}

/// Runs tasks until `ended` says so. Runs under way then have as long as requests have to finish.
async fn run_tasks(control: Arc<Control>, ended: watch::Receiver<bool>) {
    control.keep_running_tasks(is_true(ended), kt_server::DRAIN).await;
}

/// Sends the audit log to a sink until `ended` says so. What is under way then is sent again by the next process.
async fn send_audit(control: Arc<Control>, sink: Arc<AuditSink>, ended: watch::Receiver<bool>) {
    until(ended, control.keep_sending_audit(&sink)).await;
}
