//! `kt completions`: scripts that teach a shell the commands.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Which shell.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell to write for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) {
        let mut script = Vec::new();
        generate(self.shell, &mut crate::Cli::command(), "kt", &mut script);
        crate::output::line(String::from_utf8_lossy(&script).trim_end());
    }
}
