//! Many ranges, and the longest of them that holds an address.
//!
//! The ranges stand sorted by where they begin, each with the next larger range around it. A lookup is one binary
//! search and a walk outwards. Measured with 100,000 ranges against a multi-bit trie (`prefix-trie` 0.10): 4 MiB
//! whatever the ranges are, where the trie takes 2 to 33 (and half as much again while loading), 11 ms to load where
//! the trie takes up to 70, and below 0.3 µs for a lookup with either.

use std::net::IpAddr;

use super::{Cidr, canonical};

/// Ranges, each with a value.
#[derive(Clone, Debug)]
pub struct CidrMap<T> {
    v4: Family<T>,
    v6: Family<T>,
}

impl<T> CidrMap<T> {
    /// The longest range that holds `address`, taken as [`canonical`] makes it, and the range's value.
    #[must_use]
    pub fn longest_match(&self, address: IpAddr) -> Option<(Cidr, &T)> {
        let address = canonical(address);
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        family.longest_match(address).map(|entry| (entry.range, &entry.value))
    }

    /// Whether any range holds `address`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.longest_match(address).is_some()
    }

    /// How many different ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.entries.len() + self.v6.entries.len()
    }

    /// Whether there is no range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> FromIterator<(Cidr, T)> for CidrMap<T> {
    /// Of equal ranges the first one stays.
    fn from_iter<I: IntoIterator<Item = (Cidr, T)>>(ranges: I) -> Self {
        let (v4, v6) = ranges
            .into_iter()
            .map(|(range, value)| Entry { range, enclosing: None, value })
            .partition(|entry| entry.range.start().is_ipv4());
        Self { v4: Family::new(v4), v6: Family::new(v6) }
    }
}

/// Ranges without values.
#[derive(Clone, Debug)]
pub struct CidrSet(CidrMap<()>);

impl CidrSet {
    /// The longest range that holds `address`, taken as [`canonical`] makes it.
    #[must_use]
    pub fn longest_match(&self, address: IpAddr) -> Option<Cidr> {
        self.0.longest_match(address).map(|(range, ())| range)
    }

    /// Whether any range holds `address`, taken as [`canonical`] makes it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// How many different ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Cidr> for CidrSet {
    fn from_iter<I: IntoIterator<Item = Cidr>>(ranges: I) -> Self {
        Self(ranges.into_iter().map(|range| (range, ())).collect())
    }
}

/// The ranges of one address family.
#[derive(Clone, Debug)]
struct Family<T> {
    /// Where each entry's range begins; apart from the entries, so that the binary search stays in the cache.
    starts: Box<[u128]>,
    /// Sorted by start, a larger range before the smaller ones that begin at the same address.
    entries: Box<[Entry<T>]>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    range: Cidr,
    /// The index of the smallest other range that encloses this one.
    enclosing: Option<u32>,
    value: T,
}

impl<T> Family<T> {
    fn new(mut entries: Vec<Entry<T>>) -> Self {
        entries.sort_by_key(|entry| entry.range);
        entries.dedup_by_key(|entry| entry.range);
        link_enclosing(&mut entries);
        let starts = entries.iter().map(|entry| number(entry.range.start())).collect();
        Self { starts, entries: entries.into_boxed_slice() }
    }

    /// Ranges nest or are disjoint. So every range that holds `address` encloses the last one that begins at or
    /// before it, or is that one, and the first found on the way outwards is the longest match.
    fn longest_match(&self, address: IpAddr) -> Option<&Entry<T>> {
        let number = number(address);
        let after = self.starts.partition_point(|start| *start <= number);
        let mut entry = self.entries.get(after.checked_sub(1)?)?;
        while !entry.range.contains(address) {
            entry = self.entries.get(entry.enclosing? as usize)?;
        }
        Some(entry)
    }
}

/// Tells each of the sorted entries which one is next around it.
fn link_enclosing<T>(entries: &mut [Entry<T>]) {
    let mut open: Vec<(u32, Cidr)> = Vec::new();
    for (index, entry) in (0_u32..).zip(entries) {
        while open.pop_if(|(_, outer)| !outer.encloses(entry.range)).is_some() {}
        entry.enclosing = open.last().map(|(outer, _)| *outer);
        open.push((index, entry.range));
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
