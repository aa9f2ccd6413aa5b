//! The console's languages. English stands in the templates and in the code; every other language is one file of
//! `messages/`, in the format of GNU gettext, with the English text as the message's id: `de.po` is the language of that tag in
//! BCP 47, and its header `X-Language-Name` says what its speakers call it.
//!
//! What pages say is looked up by its text. What use cases say, such as why they refuse something, is made in English with its
//! values in place, for the API and for logs: such a sentence is recognised by the text that it was made from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::LazyLock;

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Language(&'static Catalog);

#[derive(Debug, PartialEq, Eq)]
struct Catalog {
    /// As in BCP 47.
    tag: &'static str,
    /// What its speakers call it.
    name: &'static str,
    /// From the English text.
    texts: HashMap<String, String>,
    /// The English texts with values, those with the most words of their own first.
    forms: Vec<String>,
}

/// English first; the others by their files.
static CATALOGS: LazyLock<Vec<Catalog>> = LazyLock::new(|| {
    let english = Catalog { tag: "en", name: "English", texts: HashMap::new(), forms: Vec::new() };
    let others = FILES.iter().map(|(tag, file)| read(tag, file));
    std::iter::once(english).chain(others).collect()
});

/// The tags of all other languages, and their files.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/languages.rs"));

/// The line of a file's header that names the language.
const NAME: &str = "\"X-Language-Name: ";

/// What the speakers of a language call it, as its file says.
fn name_in(file: &'static str) -> Option<&'static str> {
    let (_, rest) = file.split_once(NAME)?;
    rest.split_once("\\n").map(|(name, _)| name)
}

fn read(tag: &'static str, file: &'static str) -> Catalog {
    let name = name_in(file).unwrap_or(tag);
    let parsed = polib::po_file::parse_from_reader(file.as_bytes()).unwrap_or_else(|error| {
        tracing::error!(%error, language = tag, "a file of messages cannot be read: English stands in its place");
        polib::catalog::Catalog::new(polib::metadata::CatalogMetadata::new())
    });
    let translated = parsed.messages().filter(|message| message.is_translated());
    let texts: HashMap<_, _> = translated
        .filter_map(|message| Some((message.msgid().to_owned(), message.msgstr().ok()?.to_owned())))
        .collect();
    let mut forms: Vec<_> = texts.keys().filter(|text| text.contains("{}")).cloned().collect();
    forms.sort_by_key(|form| (std::cmp::Reverse(form.replace("{}", "").len()), form.clone()));
    Catalog { tag, name, texts, forms }
}

/// The values with which `text` was made from `form`, if it was.
fn values_in<'a>(form: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = form.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut parts: Vec<_> = parts.collect();
    let last = parts.pop()?;
    let mut values = Vec::with_capacity(parts.len() + 1);
    for part in parts {
        let (value, behind) = rest.split_once(part)?;
        values.push(value);
        rest = behind;
    }
    values.push(rest.strip_suffix(last)?);
    Some(values)
}

impl Language {
    /// Every language, English first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CATALOGS.iter().map(Self)
    }

    /// The language of a tag such as `de`.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        Self::all().find(|language| language.tag() == tag)
    }

    /// The first language of an `Accept-Language` that there is; English without one (RFC 9110 section 12.5.4).
    pub(crate) fn accepted(header: &str) -> Self {
        let mut asked: Vec<(&str, f32)> = header
            .split(',')
            .filter_map(|range| {
                let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
                let weight = weight.trim().parse().ok().filter(|weight| *weight > 0.0)?;
                Some((tag.trim().split('-').next()?, weight))
            })
            .collect();
        asked.sort_by(|one, other| other.1.total_cmp(&one.1));
        let english = Self(&CATALOGS[0]);
        asked.iter().find_map(|(tag, _)| Self::from_tag(&tag.to_ascii_lowercase())).unwrap_or(english)
    }

    /// Its tag in BCP 47.
    pub(crate) fn tag(self) -> &'static str {
        self.0.tag
    }

    /// What its speakers call it.
    pub(crate) fn name(self) -> &'static str {
        self.0.name
    }

    /// The text in this language; in English where it has no other.
    pub(crate) fn text(self, english: &str) -> &str {
        self.0.texts.get(english).map_or(english, String::as_str)
    }

    /// A sentence that was made elsewhere, or several, in this language as far as it knows them.
    pub(crate) fn said(self, english: &str) -> Cow<'_, str> {
        if let Some(text) = self.0.texts.get(english) {
            return Cow::Borrowed(text);
        }
        let made = self.0.forms.iter().find_map(|form| Some((form, values_in(form, english)?)));
        if let Some((form, values)) = made {
            // What stands between backticks is a name that somebody has given.
            let is_name = form.split("{}").map(|before| before.ends_with('`'));
            let values = values.into_iter().zip(is_name);
            let values: Vec<_> = values
                .map(|(value, is_name)| if is_name { Cow::Borrowed(value) } else { self.said(value) })
                .collect();
            let values: Vec<_> = values.iter().map(|value| value as &dyn fmt::Display).collect();
            return Cow::Owned(self.text_with(form, &values));
        }
        let sentences = english.split_inclusive(". ");
        let known = sentences.map(|sentence| match self.0.texts.get(sentence.trim_end()) {
            Some(text) if sentence.ends_with(' ') => format!("{text} "),
            Some(text) => text.clone(),
            None => sentence.to_owned(),
        });
        Cow::Owned(known.collect())
    }

    /// The text with `values` in place of its `{}`, in their order.
    pub(crate) fn text_with(self, english: &str, values: &[&dyn fmt::Display]) -> String {
        let mut parts = self.text(english).split("{}");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (part, value) in parts.zip(values) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{value}{part}");
        }
        text
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use kt_domain::audit::AuditAction;

    use super::*;

    mod used;

    #[test]
    fn the_browsers_first_choice_that_there_is_is_taken() {
        let table = [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("fr,en;q=0.5,de;q=0.7", "de"),
            ("en,de;q=0.9", "en"),
            ("de;q=0,en", "en"),
            ("*", "en"),
            (";;;q=q", "en"),
        ];
        for (header, expected) in table {
            assert_eq!(Language::accepted(header).tag(), expected, "{header}");
        }
    }

    /// What the templates and the pages say, as it stands between quotes before the filter `t` or behind `text(`.
    fn said() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut said = BTreeSet::new();
        for (folder, ends) in [("templates", "html"), ("src/console", "rs")] {
            for file in files(&root.join(folder), ends) {
                let text = std::fs::read_to_string(&file).unwrap();
                let found = if ends == "html" { before_filter(&text) } else { behind_call(&text) };
                said.extend(found.into_iter().map(|quoted| quoted.replace("\\\"", "\"")));
            }
        }
        said.extend(refused());
        said.extend(AuditAction::ALL.iter().map(|action| action.sentence().to_owned()));
        said
    }

    /// The texts of the pages that reach the filter `t` through a value: what stands between quotes in their code, and in the
    /// tags of the templates, and begins as a sentence or a heading does.
    fn handed_on() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut texts = Vec::new();
        for file in files(&root.join("src/console"), "rs") {
            texts.extend(quoted(&code_of(&std::fs::read_to_string(&file).unwrap())));
        }
        for file in files(&root.join("templates"), "html") {
            let template = std::fs::read_to_string(&file).unwrap();
            let tags = template.split("{%").skip(1).filter_map(|rest| rest.split("%}").next());
            texts.extend(tags.flat_map(quoted));
        }
        let begins_as_text = |text: &String| text.starts_with(char::is_uppercase);
        texts.into_iter().filter(begins_as_text).filter(|text| !NO_TEXTS.contains(&text.as_str())).collect()
    }

    /// What begins so, and is said to no person: headers, variables, and the name of a language.
    const NO_TEXTS: [&str; 15] = [
        "Accept, HX-Request",
        "Accept-Encoding",
        "Contact: {}\\nExpires: {}\\nCanonical: {}\\n",
        "Cookie, Sec-Fetch-Site, Origin, HX-Request",
        "DENY",
        "English",
        "KEEPTRUSTS_GATEWAY_TOKEN={} kt gateway run --api-url {}",
        "MODEL",
        "OUT_DIR",
        "RelayState",
        "SAMLRequest",
        "SAMLResponse",
        "SameSite=Lax",
        "SameSite=Lax; Secure",
        "SameSite=None; Secure",
    ];

    /// The program's text, without its tests and what is said about it.
    fn code_of(text: &str) -> String {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.fold(String::new(), |code, line| code + line + "\n")
    }

    /// What use cases say when they refuse something, wherever the console may show it: the texts of every failure that is
    /// made, with `{}` in place of their values.
    fn refused() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = ["kt-domain/src", "kt-store/src", "kt-control/src", "kt-server/src"];
        let mut refused = BTreeSet::new();
        for file in folders.iter().flat_map(|folder| files(&root.join(folder), "rs")) {
            let name = file.to_string_lossy().replace('\\', "/");
            if NOT_IN_THE_CONSOLE.iter().any(|part| name.contains(part)) || name.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = code_of(&text);
            for begins in ["Error::new(", "Error::invalid(", "Self::new(", "let message ="] {
                for (at, _) in code.match_indices(begins) {
                    let texts = quoted(statement(&code[at + begins.len()..]));
                    refused.extend(texts.into_iter().filter(|text| is_sentence(text)));
                }
            }
            refused.extend(quoted_behind(&code, "Error::not_found(\""));
            if name.contains("kt-domain/src/passwords/") {
                refused.extend(quoted_behind(&code, "#[error(\""));
                refused.extend(quoted_behind(&code, "deviations.push(format!(\n                \""));
            }
        }
        refused
    }

    /// Parts of the system that speak to programs alone.
    const NOT_IN_THE_CONSOLE: [&str; 11] = [
        "/scim",
        "/api/",
        "/policy_config",
        "/deployment_config",
        "/jwt",
        "/delivery.rs",
        "/once_requests.rs",
        "/idempotency.rs",
        "/tests/",
        "/paging.rs",
        "/facts.rs",
    ];

    fn is_sentence(text: &str) -> bool {
        text.contains(' ') && text.starts_with(|c: char| c.is_uppercase() || c == '{')
    }

    /// What `code` goes on with to the end of the call or of the statement.
    fn statement(code: &str) -> &str {
        let (mut depth, mut in_text, mut escaped) = (0_i32, false, false);
        for (at, c) in code.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_text => escaped = true,
                '"' => in_text = !in_text,
                _ if in_text => {}
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' | ';' if depth == 0 => return &code[..at],
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        code
    }

    /// The texts between quotes, as they are once they are made: joined over lines, with `{}` in place of each value.
    fn quoted(code: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut rest = code;
        while let Some((_, behind)) = rest.split_once('"') {
            let end = behind.match_indices('"').find(|(at, _)| !behind[..*at].ends_with('\\'));
            let Some((end, _)) = end else { break };
            texts.push(plain(&behind[..end]));
            rest = &behind[end + 1..];
        }
        texts
    }

    /// The text that begins with the quote at the end of each `begins`.
    fn quoted_behind(code: &str, begins: &str) -> Vec<String> {
        let starts = code.match_indices(begins).map(|(at, found)| at + found.len() - 1);
        starts.filter_map(|start| quoted(&code[start..]).into_iter().next()).collect()
    }

    fn plain(text: &str) -> String {
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let whole = lines.fold(first, |whole, line| whole + line.trim_start());
        let mut parts = whole.split('{');
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            plain += "{}";
            plain += part.split_once('}').map_or(part, |(_, behind)| behind);
        }
        plain.replace("\\\"", "\"")
    }

    fn files(folder: &Path, ends: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            // What stands there is said to nobody.
            .filter(|path| !path.ends_with("tests"))
            .flat_map(|path| if path.is_dir() { files(&path, ends) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|found| found == ends))
            .collect()
    }

    /// Every text of `{{ "text"|t }}`.
    fn before_filter(template: &str) -> Vec<&str> {
        let ends = template
            .match_indices("\"|t")
            .filter(|(at, _)| !template[at + 3..].starts_with(char::is_alphabetic));
        ends.filter_map(|(end, _)| {
            let start =
                template[..end].rmatch_indices('"').find(|(at, _)| !template[..*at].ends_with('\\'))?.0;
            Some(&template[start + 1..end])
        })
        .collect()
    }

    /// Every text that a call of `text` names.
    fn behind_call(code: &str) -> Vec<&str> {
        let starts = code.match_indices(".text(\"").map(|(at, call)| at + call.len());
        starts.filter_map(|start| Some(&code[start..start + code[start..].find("\")")?])).collect()
    }

    #[test]
    fn every_language_says_everything_with_the_same_values() {
        let mut said = said();
        assert!(said.len() > 900, "{}", said.len());
        let handed_on = handed_on();
        assert!(handed_on.len() > 200, "{}", handed_on.len());
        said.extend(handed_on);
        for language in Language::all().skip(1) {
            let missing: Vec<_> = said.iter().filter(|text| !language.0.texts.contains_key(*text)).collect();
            assert!(missing.is_empty(), "{language} lacks {missing:#?}");
            for (english, text) in &language.0.texts {
                assert_eq!(
                    english.matches("{}").count(),
                    text.matches("{}").count(),
                    "{language}: {english}"
                );
            }
        }
    }

    #[test]
    fn every_file_of_messages_is_a_language_and_needs_nothing_else() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("messages");
        let found: BTreeSet<_> = files(&folder, "po")
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let known: BTreeSet<_> = Language::all().skip(1).map(|language| language.tag().to_owned()).collect();
        assert_eq!(found, known);
        assert_eq!(Language::from_tag("de").unwrap().name(), "Deutsch");
        let file = "msgid \"\"\nmsgstr \"\"\n\"Content-Type: text/plain; charset=UTF-8\\n\"\n\"X-Language-Name: Gaeilge\\n\"\n\n\
                    msgid \"Name\"\nmsgstr \"Ainm\"\n";
        let third = read("ga", file);
        assert_eq!((third.tag, third.name, third.texts["Name"].as_str()), ("ga", "Gaeilge", "Ainm"));
        assert_eq!(read("ga", "msgid \"\"\nmsgstr \"\"\n").name, "ga", "its tag, where it does not say");
    }

    #[test]
    fn a_sentence_that_was_made_is_recognised_with_its_values() {
        let german = Language::from_tag("de").unwrap();
        for (english, expected) in [
            (
                "Your role does not allow this. Ask an administrator of your organization.",
                "Ihre Rolle erlaubt das nicht. Fragen Sie die Verwaltung Ihrer Organisation.",
            ),
            ("There is no such key.", "Das gibt es nicht: Schlüssel."),
            ("use at least 12 characters: this has 4", "verwenden Sie mindestens 12 Zeichen: Es sind 4"),
            ("Line 3: Write a whole number.", "Zeile 3: Schreiben Sie eine ganze Zahl."),
            (
                "Avoid sequences. Avoid recent years.",
                "Vermeiden Sie Folgen. Vermeiden Sie die letzten Jahre.",
            ),
            ("Avoid sequences. Eat more fruit.", "Vermeiden Sie Folgen. Eat more fruit."),
            (
                "No provider credential `member` is kept. Store it first, then do this again.",
                "Es ist kein Anbieterschlüssel `member` hinterlegt. Hinterlegen Sie ihn zuerst und versuchen Sie es dann erneut.",
            ),
            ("Nobody has said this.", "Nobody has said this."),
            ("", ""),
        ] {
            assert_eq!(german.said(english), expected);
            assert_eq!(Language::accepted("en").said(english), english);
        }
        assert_eq!(values_in("{} of {}.", "1 of two."), Some(vec!["1", "two"]));
        assert_eq!(values_in("{} of {}.", "1 of two"), None);
    }

    #[test]
    fn values_stand_in_the_order_of_their_places() {
        let english = Language::accepted("en");
        assert_eq!(english.text_with("{} of {}", &[&1, &"two"]), "1 of two");
        assert_eq!(english.text_with("nothing", &[&1]), "nothing");
    }
}
