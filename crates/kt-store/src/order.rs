//! Lists that are ordered by a column: which part of one is read, and where a page of it ends.

use jiff::Timestamp;
use kt_domain::order::Order;
use serde::{Deserialize, Serialize};

use crate::sql::Composed;

/// Which part of a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, C> {
    /// In which order the list is.
    pub order: Order<C>,
    /// Behind this place.
    pub after: Option<&'a Place>,
    /// At most so many.
    pub limit: u32,
}

impl<C> Part<'_, C>
where
    Order<C>: Default,
{
    /// All of it.
    #[must_use]
    pub fn whole() -> Self {
        Self { order: Order::default(), after: None, limit: u32::MAX }
    }
}

/// Where something stands in a list: by its value in the column, and among equals by its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    value: PlaceValue,
    id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PlaceValue {
    /// Capital and small letters are taken for each other as far as the database does so.
    Text(String),
    Number(i64),
}

impl Place {
    /// By a text.
    pub(crate) fn of_text(text: &str, id: &str) -> Self {
        Self { value: PlaceValue::Text(text.to_owned()), id: id.to_owned() }
    }

    /// By a moment; `never` stands for one that there is not.
    pub(crate) fn of_moment(moment: Option<Timestamp>, never: i64, id: &str) -> Self {
        Self { value: PlaceValue::Number(moment.map_or(never, Timestamp::as_microsecond)), id: id.to_owned() }
    }
}

/// Before every moment.
pub(crate) const EARLIEST: i64 = 0;

/// Behind every moment.
pub(crate) const LATEST: i64 = i64::MAX;

/// By what the database orders a column, and by which column among equals.
pub(crate) struct Sorted {
    /// An expression over the row.
    pub(crate) by: &'static str,
    /// The identifier.
    pub(crate) id: &'static str,
}

impl Composed {
    /// Goes on with ` AND `, that a row stands behind the place where the part begins, and with the order and the limit.
    pub(crate) fn part<C>(&mut self, sorted: &Sorted, part: &Part<'_, C>) -> &mut Self {
        let descends = part.order.descending;
        if let Some(Place { value, id }) = part.after {
            self.text(" AND (").listed([sorted.by, sorted.id]).text(if descends { ") < (" } else { ") > (" });
            match value {
                PlaceValue::Text(text) => self.text("LOWER(").value(text).text(")"),
                PlaceValue::Number(number) => self.value(*number),
            };
            self.text(", ").value(id).text(")");
        }
        let direction = if descends { " DESC" } else { "" };
        self.text(" ORDER BY ").text(sorted.by).text(direction);
        self.text(", ").text(sorted.id).text(direction);
        self.text(" LIMIT ").value(i64::from(part.limit))
    }
}
