//! The bodies of many entries, on their way to a log.

/// Bodies, one behind the other: they are made where the entries are, and read where these are written.
#[derive(Default)]
pub(super) struct Bodies {
    joined: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Bodies {
    pub(super) fn push(&mut self, body: &[u8]) {
        self.joined.extend_from_slice(body);
        self.ends.push(self.joined.len());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each of them but the first `skipped`, in order.
    pub(super) fn iter_from(&self, skipped: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        (skipped..self.len()).map(|index| &self.joined[self.start(index)..self.ends[index]])
    }

    /// Takes all of `others` behind these.
    pub(super) fn append(&mut self, others: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, others);
            return;
        }
        let before = self.joined.len();
        self.joined.append(&mut others.joined);
        self.ends.extend(others.ends.drain(..).map(|end| before + end));
    }

    /// Lets go of the first `count`.
    pub(super) fn remove_first(&mut self, count: usize) {
        let start = self.start(count);
        self.joined.drain(..start);
        self.ends.drain(..count);
        for end in &mut self.ends {
            *end -= start;
        }
    }

    /// Keeps room for no more than about `count` beyond those that there are.
    pub(super) fn shrink_to(&mut self, count: usize) {
        self.joined.shrink_to(count * USUAL);
        self.ends.shrink_to(count);
    }

    /// How many bytes of bodies there is room for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.joined.capacity()
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// About how many bytes the body of an event has.
const USUAL: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies<'a>(of: impl IntoIterator<Item = &'a str>) -> Bodies {
        let mut bodies = Bodies::default();
        of.into_iter().for_each(|body| bodies.push(body.as_bytes()));
        bodies
    }

    fn texts(bodies: &Bodies) -> Vec<&str> {
        bodies.iter_from(0).map(|body| str::from_utf8(body).unwrap()).collect()
    }

    #[test]
    fn bodies_stay_whole_and_in_order_whatever_is_added_and_removed() {
        let mut first = bodies(["a", "", "bcd"]);
        let mut others = bodies(["ef", "g"]);
        first.append(&mut others);
        assert_eq!((texts(&first), first.len(), others.len()), (vec!["a", "", "bcd", "ef", "g"], 5, 0));
        first.remove_first(3);
        assert_eq!(texts(&first), ["ef", "g"]);
        assert_eq!(first.iter_from(1).collect::<Vec<_>>(), [b"g"]);
        first.remove_first(0);
        first.shrink_to(0);
        others.append(&mut first);
        assert_eq!((texts(&others), first.is_empty()), (vec!["ef", "g"], true));
        others.remove_first(2);
        assert_eq!((others.len(), others.iter_from(0).len()), (0, 0));
    }
}
