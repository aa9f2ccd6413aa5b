//! Prompts with places that are filled in at each run, such as `Summarise {{text}} for {{audience}}`.

use std::collections::BTreeMap;

use super::{LONGEST_QUESTION, question};
use crate::error::Error;

/// A prompt that is run again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its text, with places.
    pub text: String,
    /// The names of its places, each once, in the order in which they first stand there.
    pub inputs: Vec<String>,
}

/// How many places a prompt has at most.
const MOST_INPUTS: usize = 20;

/// The longest name of a place, in bytes.
const LONGEST_NAME: usize = 40;

impl Prompt {
    /// Reads what somebody typed. Two braces that open no place are text.
    pub fn parse(typed: &str) -> Result<Self, Error> {
        let text = question("prompt", typed)?;
        let mut inputs: Vec<String> = Vec::new();
        for part in parts(&text) {
            if let Part::Place(name) = part
                && !inputs.iter().any(|known| known == name)
            {
                inputs.push(name.to_owned());
            }
        }
        if inputs.len() > MOST_INPUTS {
            return Err(Error::invalid("prompt", format!("Use at most {MOST_INPUTS} inputs.")));
        }
        Ok(Self { text, inputs })
    }
}

/// The prompt with these values in its places. What stands in a value is text, and no place, whatever it looks like.
pub fn fill_in(prompt: &Prompt, values: &BTreeMap<String, String>) -> Result<String, Error> {
    let mut filled = String::with_capacity(prompt.text.len());
    for part in parts(&prompt.text) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Place(name) => {
                let value = values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
                let missing = || Error::invalid(format!("input-{name}"), "Fill this in.");
                filled.push_str(value.ok_or_else(missing)?);
            }
        }
        if filled.len() > LONGEST_QUESTION {
            let message = format!("The whole prompt must have at most {LONGEST_QUESTION} bytes.");
            return Err(Error::invalid("prompt", message));
        }
    }
    Ok(filled.replace("\r\n", "\n"))
}

enum Part<'a> {
    Text(&'a str),
    Place(&'a str),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut begins) = (text, 0);
    while let Some(open) = rest[begins..].find("{{").map(|at| at + begins) {
        let inside = rest[open + 2..].split_once("}}").map(|(inside, _)| inside);
        match inside.filter(|inside| is_name(inside.trim())) {
            Some(inside) => {
                parts.push(Part::Text(&rest[..open]));
                parts.push(Part::Place(inside.trim()));
                rest = &rest[open + 4 + inside.len()..];
                begins = 0;
            }
            None => begins = open + 2,
        }
    }
    parts.push(Part::Text(rest));
    parts
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_places_of_a_prompt_are_its_inputs() {
        for (text, inputs) in [
            ("no place", vec![]),
            ("{{a}} and {{ b }} and {{a}}", vec!["a", "b"]),
            ("{{}} {{ }} {{a b}} {{é}} {a} {{a", vec![]),
            ("{{{{a}}", vec!["a"]),
            ("{{a}}{{b-c_1}}", vec!["a", "b-c_1"]),
        ] {
            assert_eq!(Prompt::parse(text).unwrap().inputs, inputs, "{text}");
        }
        let many = (0..21).map(|n| format!("{{{{i{n}}}}}")).collect::<Vec<_>>().concat();
        assert_eq!(Prompt::parse(&many).unwrap_err().param.as_deref(), Some("prompt"));
        assert!(Prompt::parse(" ").is_err());
    }

    #[test]
    fn values_are_text_and_every_place_needs_one() {
        let prompt = Prompt::parse("Say {{a}} to {{b}}, {{a}}!").unwrap();
        let filled = fill_in(&prompt, &values(&[("a", "{{b}}"), ("b", "you")])).unwrap();
        assert_eq!(filled, "Say {{b}} to you, {{b}}!");
        let missing = fill_in(&prompt, &values(&[("a", "x"), ("b", " ")])).unwrap_err();
        assert_eq!(missing.param.as_deref(), Some("input-b"));
        let long = "x".repeat(LONGEST_QUESTION);
        let too_long = fill_in(&prompt, &values(&[("a", &long), ("b", "x")])).unwrap_err();
        assert_eq!(too_long.param.as_deref(), Some("prompt"));
    }

    proptest! {
        #[test]
        fn a_prompt_without_its_places_filled_is_the_same_text(text in "[ab{} ]{1,40}") {
            if let Ok(prompt) = Prompt::parse(&text) {
                let same = prompt.inputs.iter().map(|name| (name.clone(), "1".to_owned())).collect();
                let filled = fill_in(&prompt, &same).unwrap();
                if prompt.inputs.is_empty() {
                    prop_assert_eq!(filled, prompt.text);
                }
            }
        }
    }
}
