//! The reference of all commands, made from the commands themselves. `KEEPTRUSTS_WRITE_REFERENCE=1` writes it.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};

const BEGINNING: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt reference` writes it anew. -->

# Commands

What `kt` and each of its commands says about itself with `--help`. An option that names an environment variable is
also read from there; the option wins.

Exit status: 0 done; 1 failed; 2 wrong usage or invalid configuration; 3 not signed in or not allowed;
4 the server cannot be reached.
";

#[test]
fn the_page_of_commands_is_the_one_in_the_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let mut page = BEGINNING.to_owned();
    let mut kt = crate::Cli::command().term_width(100);
    kt.build();
    describe(&kt, &mut page);
    if crate::environment::variable("KEEPTRUSTS_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{} is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it", path.display());
}

#[test]
fn every_command_and_option_has_its_sentence() {
    let mut kt = crate::Cli::command();
    kt.build();
    assert_eq!(unexplained(&kt), Vec::<String>::new());
}

/// Writes what a command says of itself, then the same of each command below it.
fn describe(command: &Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or("kt").to_owned();
    // The environment of whoever writes the page is no part of it.
    let mut shown = command.clone().mut_args(|argument| argument.hide_env_values(true));
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n")).unwrap();
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(below, page);
    }
}

fn unexplained(command: &Command) -> Vec<String> {
    let name = command.get_bin_name().unwrap_or("kt");
    let own = command.get_about().is_none().then(|| name.to_owned());
    let options = command.get_arguments().filter(|argument| argument.get_help().is_none());
    let options = options.map(|argument| format!("{name} {}", argument.get_id()));
    own.into_iter().chain(options).chain(command.get_subcommands().flat_map(unexplained)).collect()
}
