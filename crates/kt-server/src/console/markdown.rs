//! What a model has written, as HTML. It is a stranger's text: of Markdown nothing is taken but its structure.
//!
//! HTML in it is text. Links lead to the web or to an e-mail address, open apart, and tell nothing of where they stand;
//! images are links, so that showing an answer fetches nothing. What comes out has the elements and attributes written
//! here and no others, whatever goes in (OWASP ASVS 5.0, 1.2.1 and 1.3.5).

use std::fmt::Write;

use pulldown_cmark::{
    Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html,
};
use url::Url;

/// The text as HTML.
pub(crate) fn to_html(text: &str) -> String {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut links = Links::default();
    let mut out = String::with_capacity(text.len() * 5 / 4);
    html::push_html(&mut out, parser.filter_map(|event| harmless(event, &mut links)));
    out
}

/// The links and images that are open at a place of the text: whether each is shown as a link.
#[derive(Default)]
struct Links(Vec<bool>);

impl Links {
    fn open(&mut self, target: &str) -> Option<Event<'static>> {
        // A link in a link is none in HTML.
        let link = if self.0.contains(&true) { None } else { opening(target) };
        self.0.push(link.is_some());
        link
    }

    fn close(&mut self) -> Option<Event<'static>> {
        self.0.pop().filter(|is_shown| *is_shown).map(|_| markup("</a>"))
    }
}

/// An event in its harmless form; `None` for what leaves nothing behind.
fn harmless<'a>(event: Event<'a>, links: &mut Links) -> Option<Event<'a>> {
    Some(match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            return links.open(&dest_url);
        }
        Event::End(TagEnd::Link | TagEnd::Image) => return links.close(),
        // The page has headings of its own above.
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        // No class, and no inline style for the alignment of columns.
        Event::Start(Tag::CodeBlock(_)) => Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        other => other,
    })
}

fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        HeadingLevel::H4 | HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

/// The beginning of a link to this place, if it is one that may be linked to.
fn opening(target: &str) -> Option<Event<'static>> {
    let url = Url::parse(target).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "mailto"))?;
    let mut tag = String::from("<a href=\"");
    for c in url.as_str().chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing to a string cannot fail.
                let _ = write!(tag, "&#{};", u32::from(c));
            }
            c => tag.push(c),
        }
    }
    tag.push_str("\" rel=\"noopener noreferrer\" target=\"_blank\">");
    Some(Event::InlineHtml(CowStr::from(tag)))
}

fn markup(text: &'static str) -> Event<'static> {
    Event::InlineHtml(CowStr::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn structure_is_kept() {
        let table = [
            ("a *b* **c** `d` ~~e~~", "<p>a <em>b</em> <strong>c</strong> <code>d</code> <del>e</del></p>\n"),
            ("# One\n\n## Two", "<h3>One</h3>\n<h4>Two</h4>\n"),
            ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n"),
            ("```rust\nlet a = \"<b>\";\n```", "<pre><code>let a = \"&lt;b&gt;\";\n</code></pre>\n"),
            (
                "[a](https://example.com/?b=1&c=2)",
                "<p><a href=\"https://example.com/?b=1&#38;c=2\" rel=\"noopener noreferrer\" target=\"_blank\">a</a></p>\n",
            ),
            (
                "![a picture](https://example.com/a.png)",
                "<p><a href=\"https://example.com/a.png\" rel=\"noopener noreferrer\" target=\"_blank\">a picture</a></p>\n",
            ),
            (
                "| a |\n|--:|\n| 1 |",
                "<table><thead><tr><th>a</th></tr></thead><tbody>\n<tr><td>1</td></tr>\n</tbody></table>\n",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(to_html(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_hostile_is_more_than_text() {
        let table = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "a <svg/onload=alert(1)> b",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<iframe srcdoc=\"<script>alert(1)</script>\">",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](&#106;avascript:alert(1))",
            "[x](java\nscript:alert(1))",
            "[x](\u{1}javascript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
            "[x](vbscript:msgbox(1))",
            "[x](//evil.example)",
            "[x](/settings/profile)",
            "<javascript:alert(1)>",
            "![x](javascript:alert(1))",
            "![\"><img src=x onerror=alert(1)>](https://a.example)",
            "[x](https://a.example/\"onmouseover=\"alert(1))",
            "[x](https://a.example \"t\\\" onclick=alert(1)\")",
            "[x](mailto:a@b.example?subject=\"><script>alert(1)</script>)",
            "[a [b](https://b.example)](https://a.example)",
            "[![x](https://b.example)](https://a.example)",
            "```\"><script>alert(1)</script>\nx\n```",
            "# x {#id .class onclick=alert(1)}",
            "<!-- --><style>*{display:none}</style>",
            "<?php ?><![CDATA[ <b> ]]>",
            "[x]: javascript:alert(1)\n\n[x]",
        ];
        for text in table {
            assert_harmless(&to_html(text));
        }
        assert!(to_html("[x](javascript:alert(1))").contains("<p>x</p>"), "its words stay");
        assert!(
            to_html("<b>bold</b>").contains("&lt;b&gt;bold&lt;/b&gt;"),
            "HTML is shown as it was written"
        );
        let nested = to_html("[![x](https://b.example)](https://a.example)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
    }

    /// Every tag in it is one of those that this module writes, and links lead nowhere else.
    fn assert_harmless(html: &str) {
        const PLAIN: &[&str] = &[
            "p",
            "em",
            "strong",
            "code",
            "del",
            "h3",
            "h4",
            "h5",
            "h6",
            "ul",
            "ol",
            "li",
            "pre",
            "blockquote",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "hr",
            "br",
            "a",
        ];
        for part in html.split('<').skip(1) {
            let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("an open tag in {html}"));
            let name = tag.trim_start_matches('/').trim_end_matches(" /");
            let is_list = name.strip_prefix("ol start=\"").is_some_and(|rest| {
                rest.strip_suffix('"').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            });
            let is_link = name.strip_prefix("a href=\"").is_some_and(|rest| {
                let target = rest.strip_suffix("\" rel=\"noopener noreferrer\" target=\"_blank\"");
                target.is_some_and(|target| {
                    let schemes = ["http://", "https://", "mailto:"];
                    schemes.iter().any(|scheme| target.starts_with(scheme)) && !target.contains('"')
                })
            });
            assert!(PLAIN.contains(&name) || is_list || is_link, "<{tag}> in {html}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_comes_out_harmless(text in "(<|>|\"|'|\\[|\\]|\\(|\\)|!|`|#|\\*|\\||-|:|&|;|\\n| |a|x|1|javascript:|https://|<script|onerror=|\\PC){0,60}") {
            assert_harmless(&to_html(&text));
        }
    }
}
