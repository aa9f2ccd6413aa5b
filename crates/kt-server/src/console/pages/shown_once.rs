//! A secret that is shown once: the answer to the form that made it. Loading the page again does not bring it back.

use askama::Template;
use jiff::Timestamp;

use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::visit::Visit;

/// A secret, and what is to be known of it.
pub(super) struct ShownOnce<'a> {
    /// What it is.
    pub(super) heading: &'static str,
    /// Whom or what it is for.
    pub(super) of: &'a str,
    /// What to do with it.
    pub(super) advice: &'static str,
    pub(super) secret: &'a str,
    pub(super) expires_at: Option<Timestamp>,
    /// The page to go on to.
    pub(super) back: &'a str,
}

#[derive(Template)]
#[template(path = "pages/shown-once.html")]
struct ShownOncePage<'a> {
    frame: Frame,
    shown: ShownOnce<'a>,
}

impl ShownOnce<'_> {
    /// The page that shows it.
    pub(super) fn answer(self, visit: &Visit) -> Answer {
        page(&visit.look, &ShownOncePage { frame: Frame::of(visit), shown: self })
    }
}
