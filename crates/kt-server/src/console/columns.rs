//! Charts of columns: their shapes in an SVG of [`WIDTH`] by [`HEIGHT`], and the same figures as a table.

use jiff::Timestamp;

/// How wide the drawing is, in its own units: a page stretches it to the room there is.
const WIDTH: u64 = 1000;

/// How high.
const HEIGHT: u64 = 200;

/// What one colour stands for.
#[derive(Clone, Copy)]
pub(crate) struct Series {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The class that gives it its colour.
    pub(crate) class: &'static str,
}

/// The figures of one column, one for each series.
pub(crate) struct Column {
    pub(crate) begins_at: Timestamp,
    pub(crate) values: Vec<u64>,
}

/// A rectangle of the drawing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) class: &'static str,
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
}

/// A drawing and its figures.
pub(crate) struct Chart {
    pub(crate) series: Vec<Series>,
    pub(crate) columns: Vec<Column>,
    pub(crate) bars: Vec<Bar>,
    /// The value at the upper edge.
    pub(crate) top: u64,
}

impl Chart {
    /// The series stand on each other.
    pub(crate) fn stacked(series: &[Series], columns: impl Iterator<Item = Column>) -> Self {
        Self::drawn(series, columns.collect(), |values| values.iter().sum(), |ground, value| ground + value)
    }

    /// The series stand in front of each other, the greatest behind.
    pub(crate) fn nested(series: &[Series], columns: impl Iterator<Item = Column>) -> Self {
        Self::drawn(series, columns.collect(), |values| values.iter().copied().max().unwrap_or(0), |_, _| 0)
    }

    fn drawn(
        series: &[Series],
        columns: Vec<Column>,
        extent: impl Fn(&[u64]) -> u64,
        next_ground: impl Fn(u64, u64) -> u64,
    ) -> Self {
        let top = round_up(columns.iter().map(|column| extent(&column.values)).max().unwrap_or(0));
        let step = WIDTH / (columns.len() as u64).max(1);
        let scaled = |value: u64| value.saturating_mul(HEIGHT) / top;
        let mut bars = Vec::new();
        for (place, column) in (0..).zip(&columns) {
            let mut ground = 0;
            for (series, &value) in series.iter().zip(&column.values) {
                let (low, high) = (scaled(ground), scaled(ground + value));
                // What is there at all can be seen.
                let height = if value > 0 { (high - low).max(2) } else { 0 };
                if height > 0 {
                    let y = HEIGHT.saturating_sub(low + height);
                    bars.push(Bar {
                        class: series.class,
                        x: place * step + step / 8,
                        y,
                        width: step * 3 / 4,
                        height,
                    });
                }
                ground = next_ground(ground, value);
            }
        }
        Self { series: series.to_vec(), columns, bars, top }
    }

    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }

    /// When the first and the middle column begin.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &Timestamp> {
        let middle = self.columns.len() / 2;
        [self.columns.first(), self.columns.get(middle), self.columns.last()]
            .into_iter()
            .flatten()
            .map(|column| &column.begins_at)
    }

    /// The newest column first, as people read tables.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().rev()
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_up(value: u64) -> u64 {
    let mut ten = 1;
    loop {
        for factor in [1, 2, 5] {
            if value <= factor * ten {
                return factor * ten;
            }
        }
        match 10_u64.checked_mul(ten) {
            Some(next) if next < u64::MAX / 10 => ten = next,
            _ => return value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [Series; 2] = [Series { name: "One", class: "a" }, Series { name: "Other", class: "b" }];

    fn column(values: [u64; 2]) -> Column {
        Column { begins_at: Timestamp::UNIX_EPOCH, values: values.to_vec() }
    }

    #[test]
    fn columns_stand_on_the_ground_and_end_below_the_top() {
        let chart = Chart::stacked(&TWO, [column([6, 2]), column([0, 0]), column([0, 1])].into_iter());
        assert_eq!(chart.top, 10);
        let bar = |class, x, y, height| Bar { class, x, y, width: 249, height };
        assert_eq!(chart.bars, [bar("a", 41, 80, 120), bar("b", 41, 40, 40), bar("b", 707, 180, 20)]);
        let nested = Chart::nested(&TWO, [column([900, 300])].into_iter());
        assert_eq!(
            nested.bars.iter().map(|bar| (bar.y, bar.height)).collect::<Vec<_>>(),
            [(20, 180), (140, 60)]
        );
        assert!(Chart::stacked(&TWO, [column([0, 0])].into_iter()).is_empty());
    }

    #[test]
    fn the_top_is_a_round_number() {
        let table = [(0, 1), (1, 1), (3, 5), (11, 20), (999, 1000), (u64::MAX, u64::MAX)];
        for (value, expected) in table {
            assert_eq!(round_up(value), expected, "{value}");
        }
    }
}
