//! How much memory something takes.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests that need much memory, or measure it, take turns: what they see is the memory of the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// A measurement under way.
pub(crate) struct Memory {
    before: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Memory {
    /// Waits for its turn, then begins to measure.
    pub(crate) fn begin() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets the peak that was reached so far (proc(5)).
        fs::write("/proc/self/clear_refs", "5").expect("the kernel forgets");
        Self { before: peak_mib(), _turn: turn }
    }

    /// By how many MiB the process has grown at most since the measurement began.
    pub(crate) fn growth_mib(&self) -> usize {
        peak_mib().saturating_sub(self.before)
    }
}

fn peak_mib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") / 1024
}
