//! Pages of a list, and the cursors that lead from one to the next.

use kt_domain::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::Control;

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most how many; without it, as many as the list likes.
    pub limit: Option<u32>,
    /// Where to go on: the `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it, in the order of the list.
    pub items: Vec<T>,
    /// Leads to the next page; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// How long the pages of a list are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    pub(crate) usual: u32,
    pub(crate) most: u32,
}

const OF_SHORT_LISTS: PageSize = PageSize { usual: 50, most: 1000 };

impl PageSize {
    /// How many things the page that is asked for may hold.
    pub(crate) fn of(self, request: &PageRequest) -> Result<u32, Error> {
        let limit = request.limit.unwrap_or(self.usual);
        if (1..=self.most).contains(&limit) {
            return Ok(limit);
        }
        Err(Error::invalid("limit", format!("Ask for 1 to {} at once.", self.most)))
    }
}

impl Control {
    /// Where the page that is asked for begins; `None` for the first page. A cursor is sealed for its list, so nobody
    /// can make one up, or read what it says, or use it for another list.
    pub(crate) fn position<T: DeserializeOwned>(
        &self,
        list: &str,
        request: &PageRequest,
    ) -> Result<Option<T>, Error> {
        let Some(cursor) = &request.cursor else { return Ok(None) };
        let sealed = cursor.replace('-', "+").replace('_', "/");
        let opened = self.seal.open(&place_of(list), &sealed).ok();
        opened.and_then(|text| serde_json::from_slice(&text).ok()).map(Some).ok_or_else(|| {
            Error::invalid(
                "cursor",
                "Send the `next_cursor` of the page before, unchanged, to the same list.",
            )
        })
    }

    /// A page of what was found behind a position by asking for one more than its `limit`. `position` tells where an
    /// item stands.
    pub(crate) fn page<T, P: Serialize>(
        &self,
        list: &str,
        limit: u32,
        mut items: Vec<T>,
        position: impl FnOnce(&T) -> P,
    ) -> Result<Page<T>, Error> {
        let limit = limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let end = items.last().filter(|_| has_more).map(position);
        let next_cursor = end.map(|end| self.cursor(list, &end)).transpose()?;
        Ok(Page { items, next_cursor })
    }

    /// A page of a list that is short enough to be read whole, in the order of what `position` tells of each item.
    pub fn page_of_whole<T, P: Serialize + DeserializeOwned + Ord>(
        &self,
        list: &str,
        request: &PageRequest,
        mut items: Vec<T>,
        position: impl Fn(&T) -> P,
    ) -> Result<Page<T>, Error> {
        let limit = OF_SHORT_LISTS.of(request)?;
        items.sort_by_cached_key(&position);
        if let Some(after) = self.position::<P>(list, request)? {
            items.retain(|item| position(item) > after);
        }
        self.page(list, limit, items, position)
    }

    fn cursor(&self, list: &str, position: &impl Serialize) -> Result<String, Error> {
        let text = serde_json::to_vec(position).map_err(Error::internal)?;
        let sealed = self.draw(|random| self.seal.seal(&place_of(list), &text, random))?;
        // Nothing that would have to be escaped in an address (RFC 4648 section 5).
        Ok(sealed.replace('+', "-").replace('/', "_"))
    }
}

fn place_of(list: &str) -> String {
    format!("cursor/{list}")
}
