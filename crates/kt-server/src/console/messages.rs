//! The console's languages. English stands in the templates and in the code; every other language is one file of
//! `messages/`, in the format of GNU gettext, with the English text as the message's id.

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
}

/// English first; the others by their files.
static CATALOGS: LazyLock<Vec<Catalog>> = LazyLock::new(|| {
    let english = Catalog { tag: "en", name: "English", texts: HashMap::new() };
    vec![english, read("de", "Deutsch", include_str!("../../messages/de.po"))]
});

fn read(tag: &'static str, name: &'static str, file: &str) -> Catalog {
    let parsed = polib::po_file::parse_from_reader(file.as_bytes()).unwrap_or_else(|error| {
        tracing::error!(%error, language = tag, "a file of messages cannot be read: English stands in its place");
        polib::catalog::Catalog::new(polib::metadata::CatalogMetadata::new())
    });
    let translated = parsed.messages().filter(|message| message.is_translated());
    let texts = translated
        .filter_map(|message| Some((message.msgid().to_owned(), message.msgstr().ok()?.to_owned())))
        .collect();
    Catalog { tag, name, texts }
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

    use super::*;

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
        said
    }

    fn files(folder: &Path, ends: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
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
        let said = said();
        assert!(said.len() > 500, "{}", said.len());
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
    fn values_stand_in_the_order_of_their_places() {
        let english = Language::accepted("en");
        assert_eq!(english.text_with("{} of {}", &[&1, &"two"]), "1 of two");
        assert_eq!(english.text_with("nothing", &[&1]), "nothing");
    }
}
