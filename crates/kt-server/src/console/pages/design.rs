//! `/design`: every part that pages are made of, for whoever makes one.

use askama::Template;

use crate::console::answer::{Answer, Frame, page};
use crate::console::chart::DailyChart;
use crate::console::filters;
use crate::console::visit::Anybody;

/// The colours, by their names in the style.
const COLOURS: [&str; 19] = [
    "page",
    "surface",
    "raised",
    "sunken",
    "text",
    "muted",
    "line",
    "line-strong",
    "accent",
    "accent-strong",
    "on-accent",
    "accent-soft",
    "good",
    "good-soft",
    "warn",
    "warn-soft",
    "bad",
    "bad-soft",
    "shade",
];

#[derive(Template)]
#[template(path = "pages/design.html")]
struct DesignPage {
    frame: Frame,
    colours: &'static [&'static str],
    chart: DailyChart,
    empty_chart: DailyChart,
}

/// The page.
pub(crate) async fn show(Anybody(visit): Anybody) -> Answer {
    let first = jiff::civil::date(2026, 1, 1);
    let days =
        (0..90_i32).map(|day| (first.saturating_add(jiff::Span::new().days(day)), i64::from(day * day % 23)));
    let template = DesignPage {
        frame: Frame::of(&visit),
        colours: &COLOURS,
        chart: DailyChart::new(days),
        empty_chart: DailyChart::new(std::iter::empty()),
    };
    page(&visit.look, &template)
}
