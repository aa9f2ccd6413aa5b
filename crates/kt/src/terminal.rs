//! Asking the person at the terminal, which may be another place than where input and output lead.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// Longer than any password that is accepted, in bytes.
const MAX_LINE: u64 = 16 * 1024;

/// The terminal of this process.
pub(crate) struct Terminal(File);

impl Terminal {
    /// The terminal, if there is one.
    pub(crate) fn open() -> Option<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// What is typed, and seen while it is.
    pub(crate) fn ask(&self, prompt: &str) -> Result<String, Failure> {
        write!(&self.0, "{prompt}")?;
        self.line()
    }

    /// What is typed, and not seen.
    pub(crate) fn ask_secret(&self, prompt: &str) -> Result<String, Failure> {
        let line = {
            let _quiet = Quiet::begin(&self.0)?;
            write!(&self.0, "{prompt}")?;
            self.line()
        };
        writeln!(&self.0)?;
        line
    }

    /// The next line. Ctrl-C ends the wait, so that whoever waits can put the terminal in order first.
    fn line(&self) -> Result<String, Failure> {
        let file = self.0.try_clone()?;
        let (sender, receiver) = oneshot::channel();
        // A thread of its own, which ends with the process: a read cannot be taken back.
        std::thread::spawn(move || sender.send(read_line(file)));
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            tokio::select! {
                line = receiver => Ok(line.map_err(|error| Failure::failed(error.to_string()))??),
                _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
            }
        })
    }
}

/// The next line of standard input, without its end; none where it has ended.
pub(crate) fn next_line() -> io::Result<Option<String>> {
    line_of(io::stdin().lock())
}

/// The first line of `input`, without its end.
fn read_line(input: impl Read) -> io::Result<String> {
    Ok(line_of(BufReader::new(input))?.unwrap_or_default())
}

fn line_of(input: impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = input.take(MAX_LINE).read_line(&mut line)?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok((read > 0).then_some(line))
}

/// While it lives, the terminal does not show what is typed.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // What was typed ahead was seen: it is thrown away.
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // When the terminal has gone there is nothing to put in order.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_end_and_with_everything_else() {
        for (input, line) in [
            ("Tall-cedar-9-river\n", "Tall-cedar-9-river"),
            ("Tall-cedar-9-river\r\nmore\n", "Tall-cedar-9-river"),
            (" spaces belong \n", " spaces belong "),
            ("no end", "no end"),
            ("", ""),
        ] {
            assert_eq!(read_line(input.as_bytes()).unwrap(), line);
        }
    }
}
