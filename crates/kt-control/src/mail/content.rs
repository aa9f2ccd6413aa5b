//! The parts of a mail's text, the same for plain text and HTML.

use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use super::Circumstances;

/// What a mail says, in the order in which it is read.
#[derive(Serialize)]
pub(super) struct Content {
    pub(super) subject: String,
    /// What happened.
    opening: Vec<String>,
    facts: Vec<Fact>,
    button: Option<Button>,
    /// What to know and to do, above all if it was not you.
    closing: Vec<String>,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// The one thing to click.
#[derive(Serialize)]
struct Button {
    label: &'static str,
    url: String,
}

impl Content {
    pub(super) fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            opening: Vec::new(),
            facts: Vec::new(),
            button: None,
            closing: Vec::new(),
        }
    }

    /// A paragraph before the facts.
    pub(super) fn opens(mut self, paragraph: impl Into<String>) -> Self {
        self.opening.push(paragraph.into());
        self
    }

    pub(super) fn fact(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.facts.push(Fact { name, value: value.to_string() });
        self
    }

    pub(super) fn when(self, at: Timestamp) -> Self {
        self.fact("When", &readable(at))
    }

    /// When, from which address and with what.
    pub(super) fn circumstances(self, circumstances: &Circumstances) -> Self {
        let mut content = self.when(circumstances.at);
        if let Some(address) = circumstances.address {
            content = content.fact("From", &address);
        }
        if let Some(client) = &circumstances.client {
            content = content.fact("With", client);
        }
        content
    }

    pub(super) fn button(mut self, label: &'static str, url: &Url) -> Self {
        self.button = Some(Button { label, url: url.to_string() });
        self
    }

    /// A paragraph behind the facts and the button.
    pub(super) fn closes(mut self, paragraph: impl Into<String>) -> Self {
        self.closing.push(paragraph.into());
        self
    }

    /// The paragraph under the button of a link that works once.
    pub(super) fn one_time(self, until: Timestamp) -> Self {
        self.closes(format!("The link works once, until {}.", readable(until)))
    }
}

/// As in the `Date` of a mail (RFC 5322 section 3.3), without seconds: everybody's clock shows minutes.
pub(super) fn readable(moment: Timestamp) -> String {
    moment.strftime("%a, %-d %b %Y %H:%M UTC").to_string()
}

/// `1 attempt`, `2 attempts`.
pub(super) fn counted(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_as_in_the_head_of_a_mail() {
        let moment: Timestamp = "2026-03-05T04:02:31.9Z".parse().unwrap();
        assert_eq!(readable(moment), "Thu, 5 Mar 2026 04:02 UTC");
    }

    #[test]
    fn one_is_not_several() {
        let told = [0, 1, 2].map(|number| counted(number, "code"));
        assert_eq!(told, ["0 codes", "1 code", "2 codes"]);
    }
}
