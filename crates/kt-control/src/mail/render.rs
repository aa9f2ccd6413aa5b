//! From facts to the two forms of a mail: plain text and HTML.

use std::sync::Arc;

use kt_domain::email::EmailAddress;
use kt_domain::public_url::PublicUrl;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::Message;
use super::content::Content;

const TEXT: &str = "mail.txt";
const HTML: &str = "mail.html";

/// Makes mails of messages. Cheap to clone.
#[derive(Clone)]
pub struct Renderer {
    templates: Arc<Environment<'static>>,
    home: PublicUrl,
}

/// What a mail says. It may hold the token of a one-time link.
#[derive(Clone)]
pub struct Rendered {
    /// The subject, on one line.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML: a document of its own, without anything that would have to be fetched.
    pub html: String,
}

/// What the layouts are filled with.
#[derive(Serialize)]
struct Page<'a> {
    content: &'a Content,
    home: &'a str,
    to: &'a str,
}

impl Renderer {
    /// Every link leads below `home`.
    ///
    /// # Panics
    /// Never: the templates are part of the program.
    #[must_use]
    #[expect(clippy::expect_used, reason = "what cannot be read is found by the first test")]
    pub fn new(home: PublicUrl) -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| match name {
            TEXT => AutoEscape::None,
            _ => AutoEscape::Html,
        });
        let syntax = SyntaxConfig::builder().trim_blocks(true).build().expect("the usual delimiters");
        templates.set_syntax(syntax);
        templates
            .add_template(TEXT, include_str!("templates/mail.txt"))
            .expect("the template is well formed");
        templates
            .add_template(HTML, include_str!("templates/mail.html"))
            .expect("the template is well formed");
        Self { templates: Arc::new(templates), home }
    }

    /// What `message` says to `to`.
    #[must_use]
    pub fn render(&self, message: &Message, to: &EmailAddress) -> Rendered {
        let content = message.content(&self.home);
        let page = Page { content: &content, home: self.home.url().as_str(), to: to.as_typed() };
        Rendered { text: self.fill(TEXT, &page), html: self.fill(HTML, &page), subject: content.subject }
    }

    #[expect(clippy::expect_used, reason = "every value of a layout is there; tests render each message")]
    fn fill(&self, template: &str, page: &Page<'_>) -> String {
        let template = self.templates.get_template(template).expect("the template was added");
        template.render(Serde(page)).expect("the layout can be filled")
    }
}

#[cfg(test)]
mod tests;
