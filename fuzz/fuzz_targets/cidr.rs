//! A text that is accepted as a range is shown in a form that reads back as the same range, and the range holds its
//! own first address.
#![no_main]

use kt_domain::network::cidr::{Cidr, CidrSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(range) = text.parse::<Cidr>() else { return };
    let shown = range.to_string();
    assert_eq!(shown.parse(), Ok(range));
    let (first, _) = shown.split_once('/').expect("a range is shown with its prefix");
    let first = first.parse().expect("a range is shown with its first address");
    assert_eq!(CidrSet::from_iter([range]).longest_match(first), Some(range));
});
