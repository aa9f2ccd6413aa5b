//! The workspaces of the console: conversations with models, and tasks that are run for somebody.
//!
//! What is in them belongs to one person in one organization, and nobody else reads it, whatever their role.

mod decision;
mod outcome;
mod prompt;
mod runs;

pub use decision::{Decision, Judged};
pub use outcome::{Ending, Refusal, Spent};
pub use prompt::{Prompt, fill_in};
pub use runs::{LEASE, LONGEST_RUN, LONGEST_WAIT, MOST_ASKED, RunState, Taken, may_take, wait_for_gateway};

use crate::error::{Error, ErrorKind};

/// How many conversations, and how many tasks, somebody keeps at most.
pub const MOST_KEPT: u32 = 500;

/// How many questions a conversation has at most.
pub const MOST_TURNS: u32 = 500;

/// The longest question or prompt, in bytes.
pub const LONGEST_QUESTION: usize = 200_000;

/// The longest answer that is kept, in bytes; a longer one is stopped there.
pub const LONGEST_ANSWER: usize = 1_000_000;

/// How much is asked and answered in a conversation, in bytes; after that another one is begun. A page shows all of it.
pub const LONGEST_CONVERSATION: usize = 4_000_000;

/// How much of a conversation goes with the next question, in bytes: the latest questions and answers that fit.
pub const LONGEST_HISTORY: usize = 400_000;

/// The longest title or name, in characters.
const LONGEST_TITLE: usize = 100;

/// The longest name of a model, in bytes.
const LONGEST_MODEL: usize = 200;

/// A title or name as it is kept: one line of 1 to 100 characters.
pub fn title(param: &'static str, typed: &str) -> Result<String, Error> {
    let title = typed.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = title.chars().count();
    if (1..=LONGEST_TITLE).contains(&length) && !title.chars().any(char::is_control) {
        return Ok(title);
    }
    Err(Error::invalid(param, format!("Write 1 to {LONGEST_TITLE} characters.")))
}

/// What a conversation is called that begins with this question: its first words.
#[must_use]
pub fn title_of(question: &str) -> String {
    let words = question.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain: String = words.chars().filter(|c| !c.is_control()).collect();
    match plain.char_indices().nth(60) {
        None => plain,
        Some((end, _)) => {
            let cut = plain[..end].rfind(' ').filter(|at| *at > 20).unwrap_or(end);
            format!("{}…", plain[..cut].trim_end())
        }
    }
}

/// A question or prompt as it is kept: some text of at most 200,000 bytes.
pub fn question(param: &'static str, typed: &str) -> Result<String, Error> {
    let text = typed.replace("\r\n", "\n");
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::invalid(param, "Write what you want to ask."));
    }
    if text.len() > LONGEST_QUESTION || text.contains('\0') {
        return Err(Error::invalid(param, format!("Write at most {LONGEST_QUESTION} bytes of text.")));
    }
    Ok(text.to_owned())
}

/// The name of a model as it is asked for.
pub fn model(typed: &str) -> Result<String, Error> {
    let model = typed.trim();
    if (1..=LONGEST_MODEL).contains(&model.len()) && !model.chars().any(char::is_control) {
        return Ok(model.to_owned());
    }
    Err(Error::invalid("model", "Choose a model."))
}

/// How much of somebody's conversations is kept, and how much of their runs, in bytes. The last one may go beyond.
pub const MOST_BYTES_KEPT: i64 = 100_000_000;

/// Refuses to keep more of `what` for somebody of whom so many bytes are kept.
pub fn check_room(what: &'static str, kept: i64) -> Result<(), Error> {
    if kept < MOST_BYTES_KEPT {
        return Ok(());
    }
    let megabytes = MOST_BYTES_KEPT / 1_000_000;
    let message = format!("Your {what} hold {megabytes} MB, which is as much as is kept. Delete some first.");
    Err(Error::new(ErrorKind::Conflict, "too_much_kept", message))
}

/// Somebody keeps as much as they may.
#[must_use]
pub fn too_many(what: &'static str) -> Error {
    let message = format!("You have {MOST_KEPT} {what}, which is as many as are kept. Delete one first.");
    Error::new(ErrorKind::Conflict, "too_many_kept", message)
}

/// How many of these pairs, the latest first, go with the next question.
#[must_use]
pub fn remembered<'a>(latest_first: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    let mut room = LONGEST_HISTORY;
    latest_first
        .take_while(|(question, answer)| {
            let size = question.len() + answer.len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_called_by_its_first_words() {
        let long = "Please explain to me in detail how photosynthesis works in C4 plants and why";
        for (question, expected) in [
            ("Hello", "Hello"),
            ("  two\n lines ", "two lines"),
            (long, "Please explain to me in detail how photosynthesis works in…"),
            (&"x".repeat(61), &format!("{}…", "x".repeat(60))),
            ("a\u{7}b", "ab"),
        ] {
            assert_eq!(title_of(question), expected);
        }
    }

    #[test]
    fn what_is_typed_is_bounded_and_cleaned() {
        assert_eq!(title("title", " a  b ").unwrap(), "a b");
        assert_eq!(question("question", " a\r\nb \n").unwrap(), "a\nb");
        assert_eq!(model(" gpt-x ").unwrap(), "gpt-x");
        assert!(question("question", &"x".repeat(LONGEST_QUESTION)).is_ok());
        for refused in [
            title("title", " "),
            title("title", &"x".repeat(101)),
            question("question", " \n"),
            question("question", &"x".repeat(LONGEST_QUESTION + 1)),
            question("question", "a\0b"),
            model(""),
            model("a\nb"),
        ] {
            assert_eq!(refused.unwrap_err().code, "validation_error");
        }
    }

    #[test]
    fn the_latest_that_fit_go_with_the_next_question() {
        let (half, small) = ("x".repeat(LONGEST_HISTORY / 2), "y");
        let pairs = [(small, small), (half.as_str(), small), (half.as_str(), small), (small, small)];
        assert_eq!(remembered(pairs.into_iter()), 2, "what is older than one that does not fit is left out");
        assert_eq!(remembered([(small, small); 3].into_iter()), 3);
    }
}
