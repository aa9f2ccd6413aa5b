//! The `kt` binary, run as people run it, and the house and the documentation around it.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect, wherever that happens")]

mod admin;
mod audit;
mod auth;
mod config;
mod copies;
mod dependencies;
mod documentation;
mod events;
mod gateway;
mod house;
mod killed;
mod least_rights;
mod plane;
mod policy;
mod postgres;
#[expect(dead_code, reason = "shared with the tests of the API, which need more of it")]
#[path = "../../../kt-server/tests/it/redis.rs"]
mod redis;
mod scale_out;
mod server;
mod small_disk;
mod storage_away;

use std::path::Path;
use std::process::{Command, Output};

/// Runs `kt` in a directory and waits for its end.
fn kt(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kt"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("`kt` starts")
}

/// What a command printed.
fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("`kt` prints UTF-8")
}

/// What a command printed that has ended with this status.
#[track_caller]
fn said(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{}{}", printed(output), complaint(output));
    printed(output)
}

/// What a command complained about.
fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("`kt` prints UTF-8")
}
