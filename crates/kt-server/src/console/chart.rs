//! Charts of the console: where their bars stand. Templates draw them as SVG, with the same figures in a table.

use jiff::civil::Date;

/// One figure a day, the newest day at the right.
pub(crate) struct DailyChart {
    pub(crate) bars: Vec<Bar>,
    /// The largest figure.
    pub(crate) most: i64,
}

/// The figure of a day, in the chart's own units.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) date: Date,
    pub(crate) figure: i64,
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) height: i64,
}

impl DailyChart {
    /// How many days a chart has room for.
    const DAYS: i64 = 90;
    /// How far one day is from the next.
    const STEP: i64 = 6;
    /// How high the highest bar is.
    const HIGH: i64 = 64;

    /// The chart of these figures, the oldest first; the oldest are left out where there are more than fit.
    pub(crate) fn new(figures: impl DoubleEndedIterator<Item = (Date, i64)>) -> Self {
        let mut newest: Vec<_> = figures.rev().take(90).collect();
        newest.reverse();
        let most = newest.iter().map(|(_, figure)| *figure).max().unwrap_or(0).max(0);
        let first = Self::DAYS - i64::try_from(newest.len()).unwrap_or(Self::DAYS);
        let places = (first..).map(|day| day * Self::STEP);
        let bars = newest.into_iter().zip(places).map(|((date, figure), x)| {
            // A day without any still shows that it was counted.
            let height = (figure.max(0) * Self::HIGH / most.max(1)).max(1);
            Bar { date, figure, x, y: Self::HIGH - height, height }
        });
        Self { bars: bars.collect(), most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(figures: &[i64]) -> DailyChart {
        let first: Date = "2026-03-01".parse().unwrap();
        let days = (0..).map(|day| first.saturating_add(jiff::Span::new().days(day)));
        DailyChart::new(days.zip(figures.iter().copied()).take(figures.len()).collect::<Vec<_>>().into_iter())
    }

    #[test]
    fn bars_end_at_the_right_and_the_highest_fills_the_chart() {
        let chart = chart(&[0, 5, 10]);
        let places: Vec<_> = chart.bars.iter().map(|bar| (bar.x, bar.y, bar.height, bar.figure)).collect();
        assert_eq!(places, [(522, 63, 1, 0), (528, 32, 32, 5), (534, 0, 64, 10)]);
        assert_eq!(chart.most, 10);
    }

    #[test]
    fn what_does_not_fit_is_the_oldest_and_nothing_is_a_chart_too() {
        let chart = super::tests::chart(&(0..91).collect::<Vec<_>>());
        assert_eq!((chart.bars.len(), chart.bars[0].figure, chart.bars[0].x), (90, 1, 0));
        let empty = super::tests::chart(&[]);
        assert_eq!((empty.bars.len(), empty.most), (0, 0));
        let quiet = super::tests::chart(&[0, 0]);
        assert!(quiet.bars.iter().all(|bar| bar.height == 1), "{:?}", quiet.bars);
    }
}
