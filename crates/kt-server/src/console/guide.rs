//! The guide and the reference pages for people, part of the program, so that help is there without any other server.

use std::sync::LazyLock;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Where the pages are.
const PLACE: &str = "/help/";

/// The files, in groups by what somebody comes for.
macro_rules! groups {
    ($($title:literal: $folder:literal [$($name:literal),+ $(,)?]),+ $(,)?) => {
        &[$(($title, &[$(($name, include_str!(
            concat!("../../../../docs/", $folder, "/", $name, ".md")
        ))),+])),+]
    };
}

type Files = &'static [(&'static str, &'static [(&'static str, &'static str)])];

const FILES: Files = groups! {
    "To begin": "guide" ["getting-started", "first-run", "workspaces", "for-leaders"],
    "People and how they sign in": "guide" [
        "accounts", "passwords", "mfa", "single-sign-on", "single-sign-on-saml", "command-line"
    ],
    "Protecting the organization": "guide" [
        "hardening", "organization-security", "provisioning", "console-sign-in", "break-glass", "audit",
        "logs", "data-protection"
    ],
    "Gateways": "guide" [
        "connect-gateways", "configurations", "gateways", "policies", "routing", "routes-and-groups", "rate-limits",
        "budgets", "events-and-evidence", "telemetry",
        "operating"
    ],
    "At the gateway's edge": "guide" [
        "edge-ip-allowlist", "behind-a-load-balancer", "edge-cors", "edge-size-limits", "authentication-static-keys"
    ],
    "Running the control plane": "guide" [
        "control-plane", "least-rights", "rotation", "api-keys", "backup", "errors"
    ],
    "Reference": "reference" [
        "cli", "policy-config", "keeptrusts", "lint-codes", "audit-actions", "api", "event-log-format",
        "cryptography"
    ],
};

/// Pages about one matter.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) pages: Vec<Page>,
}

/// A page of help.
pub(crate) struct Page {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Its first paragraph, without marks.
    pub(crate) summary: String,
    /// Its text as HTML, without its title. Nothing in it was HTML before.
    pub(crate) html: String,
    /// Its sections: their anchors and titles.
    pub(crate) sections: Vec<(String, String)>,
}

/// Every page.
pub(crate) static GUIDE: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let pages =
        |files: &[(&'static str, &str)]| files.iter().map(|(name, text)| Page::read(name, text)).collect();
    FILES.iter().map(|(title, files)| Group { title, pages: pages(files) }).collect()
});

/// The page of this name.
pub(crate) fn find(name: &str) -> Option<&'static Page> {
    GUIDE.iter().flat_map(|group| &group.pages).find(|page| page.name == name)
}

impl Page {
    fn read(name: &'static str, text: &str) -> Self {
        let mut page = Self {
            name,
            title: String::new(),
            summary: String::new(),
            html: String::new(),
            sections: Vec::new(),
        };
        let events: Vec<_> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
        let events = page.with_anchors(events);
        let summary = between(&events, |tag| matches!(tag, Tag::Paragraph));
        page.summary = summary.map(|inside| words(inside)).unwrap_or_default();
        html::push_html(&mut page.html, events.into_iter().scan(Links::default(), shown).flatten());
        page
    }

    /// The events without the title, each heading with an anchor.
    fn with_anchors<'a>(&mut self, events: Vec<Event<'a>>) -> Vec<Event<'a>> {
        let mut kept = Vec::with_capacity(events.len());
        let mut rest = events.into_iter();
        while let Some(event) = rest.next() {
            let Event::Start(Tag::Heading { level, classes, attrs, .. }) = event else {
                kept.push(event);
                continue;
            };
            let inside: Vec<_> =
                rest.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))).collect();
            let title = words(&inside);
            if level == HeadingLevel::H1 {
                self.title = title;
                continue;
            }
            let anchor = anchor(&title);
            let id = Some(CowStr::from(anchor.clone()));
            if level == HeadingLevel::H2 {
                self.sections.push((anchor, title));
            }
            kept.push(Event::Start(Tag::Heading { level, id, classes, attrs }));
            kept.extend(inside);
            kept.push(Event::End(TagEnd::Heading(level)));
        }
        kept
    }
}

/// What stands inside of the first element of this kind.
fn between<'e, 'a>(events: &'e [Event<'a>], is_wanted: impl Fn(&Tag<'a>) -> bool) -> Option<&'e [Event<'a>]> {
    let start = events.iter().position(|event| matches!(event, Event::Start(tag) if is_wanted(tag)))?;
    let Event::Start(tag) = &events[start] else { return None };
    let end = events[start..].iter().position(|event| *event == Event::End(tag.to_end()))?;
    Some(&events[start + 1..start + end])
}

/// The words of these events alone.
fn words(events: &[Event<'_>]) -> String {
    let words = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        Event::SoftBreak | Event::HardBreak => Some(" "),
        _ => None,
    });
    words.collect()
}

/// The anchor of a heading, as forges make it: lower case, hyphens for spaces, no other marks.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The links that are open at a place of the text: whether each is shown as one.
#[derive(Default)]
struct Links(Vec<bool>);

/// What of an event is shown. HTML of the text becomes plain text; links lead to pages that are here, or to the web.
#[expect(clippy::unnecessary_wraps, reason = "the signature that `scan` calls")]
fn shown<'a>(links: &mut Links, event: Event<'a>) -> Option<Vec<Event<'a>>> {
    Some(match event {
        Event::Html(text) | Event::InlineHtml(text) => vec![Event::Text(text)],
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let place = place_of(&dest_url);
            links.0.push(place.is_some());
            let link = |dest_url| Event::Start(Tag::Link { link_type, dest_url, title, id });
            place.map(|place| link(place.into())).into_iter().collect()
        }
        Event::End(TagEnd::Link) => {
            if links.0.pop() == Some(true) {
                vec![Event::End(TagEnd::Link)]
            } else {
                Vec::new()
            }
        }
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => Vec::new(),
        // Alignments would become inline style, which the pages' policy forbids. What scrolls takes the focus.
        Event::Start(Tag::Table(columns)) => vec![
            Event::Html("<div class=\"table-wrap\" tabindex=\"0\">".into()),
            Event::Start(Tag::Table(vec![pulldown_cmark::Alignment::None; columns.len()])),
        ],
        Event::End(TagEnd::Table) => vec![Event::End(TagEnd::Table), Event::Html("</div>\n".into())],
        Event::Start(Tag::CodeBlock(_)) => {
            vec![Event::Html("<pre class=\"code\" tabindex=\"0\"><code>".into())]
        }
        Event::End(TagEnd::CodeBlock) => vec![Event::Html("</code></pre>\n".into())],
        other => vec![other],
    })
}

/// Where a link of the documentation leads to in the console; nowhere, where there is no such page.
fn place_of(target: &str) -> Option<String> {
    if target.starts_with('#') || target.starts_with("https://") {
        return Some(target.to_owned());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let name = file.rsplit('/').next()?.strip_suffix(".md")?;
    let mut files = FILES.iter().flat_map(|(_, files)| files.iter());
    files.any(|(here, _)| *here == name).then(|| match anchor {
        Some(anchor) => format!("{PLACE}{name}#{anchor}"),
        None => format!("{PLACE}{name}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn page(text: &str) -> Page {
        Page::read("test", text)
    }

    #[test]
    fn every_page_of_the_guide_is_here_once() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide"));
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let there: BTreeSet<_> =
            files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let pages: Vec<_> = GUIDE.iter().flat_map(|group| &group.pages).collect();
        let names: BTreeSet<_> = pages.iter().map(|page| page.name.to_owned()).collect();
        assert_eq!(names.len(), pages.len(), "two pages have one name");
        assert_eq!(there.difference(&names).collect::<Vec<_>>(), [""; 0], "list them in FILES");
        for page in pages {
            assert!(
                !page.title.is_empty() && !page.summary.is_empty() && !page.html.is_empty(),
                "{}",
                page.name
            );
        }
    }

    #[test]
    fn every_link_within_leads_to_an_anchor_that_is_there() {
        let anchors = |page: &Page| -> BTreeSet<String> {
            page.html
                .split(" id=\"")
                .skip(1)
                .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
                .collect()
        };
        let mut seen = 0;
        for page in GUIDE.iter().flat_map(|group| &group.pages) {
            for target in page.html.split("href=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0))
            {
                let Some(place) = target.strip_prefix(PLACE).or(target.strip_prefix('#').map(|_| target))
                else {
                    assert!(target.starts_with("https://"), "{}: {target}", page.name);
                    continue;
                };
                let (name, anchor) = place.split_once('#').unwrap_or((place, ""));
                let aim = if name.is_empty() { page } else { find(name).unwrap() };
                assert!(anchor.is_empty() || anchors(aim).contains(anchor), "{}: {target}", page.name);
                seen += 1;
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn text_is_never_html() {
        let hostile = page(
            "# T\n\n<script>alert(1)</script>\n\nA <img src=x onerror=alert(1)> b\n\n![c](javascript:1) \
             [d](javascript:alert(1)) `<b>`\n\n| a |\n|:-:|\n| <i>x</i> |\n",
        );
        for bad in ["<script", "<img", "<b>", "<i>", "javascript:", "style="] {
            assert!(!hostile.html.contains(bad), "{bad}: {}", hostile.html);
        }
        assert!(hostile.html.contains("&lt;script&gt;"), "{}", hostile.html);
    }

    #[test]
    fn a_page_has_its_parts() {
        let text = "# The title\n\nFirst `words`\nof [it](mfa.md).\n\n## A (b) `c_d`, e\n\n\
                    [x](mfa.md#for-yourself) [y](../reference/cli.md) [z](../decisions/0001.md) [w](#a-b)\n";
        let page = page(text);
        assert_eq!((page.title.as_str(), page.summary.as_str()), ("The title", "First words of it."));
        assert_eq!(page.sections, [("a-b-c_d-e".to_owned(), "A (b) c_d, e".to_owned())]);
        assert!(page.html.contains("<h2 id=\"a-b-c_d-e\">") && !page.html.contains("<h1"), "{}", page.html);
        let links =
            "<a href=\"/help/mfa#for-yourself\">x</a> <a href=\"/help/cli\">y</a> z <a href=\"#a-b\">w</a>";
        assert!(page.html.contains(links), "{}", page.html);
    }
}
