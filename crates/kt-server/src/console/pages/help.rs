//! `/help`: the guide, for everybody, signed in or not.

use askama::Template;
use axum::extract::Path;
use kt_domain::error::Error;

use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::guide::{GUIDE, Group, Page, find};
use crate::console::visit::Anybody;

#[derive(Template)]
#[template(path = "pages/help.html")]
struct IndexPage {
    frame: Frame,
    groups: &'static [Group],
}

#[derive(Template)]
#[template(path = "pages/help-page.html")]
struct HelpPage {
    frame: Frame,
    page: &'static Page,
}

/// What there is.
pub(crate) async fn index(Anybody(visit): Anybody) -> Answer {
    page(&visit.look, &IndexPage { frame: Frame::of(&visit), groups: &GUIDE })
}

/// One page of it.
pub(crate) async fn show(Anybody(visit): Anybody, Path(name): Path<String>) -> Answer {
    let found = find(&name).ok_or_else(|| Error::not_found("page of help"))?;
    page(&visit.look, &HelpPage { frame: Frame::of(&visit), page: found })
}
