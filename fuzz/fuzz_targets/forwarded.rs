//! The elements of a `Forwarded` line, put together again, are the line; and an element that follows the grammar is
//! found whole whatever stands to the left of it.
#![no_main]

use kt_domain::network::forwarded::{client, elements_from_right};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let mut unread = line;
    for element in elements_from_right(line) {
        let blanks = |byte: &&u8| matches!(byte, b' ' | b'\t' | b',');
        let trailing = unread.iter().rev().take_while(blanks).count();
        unread = &unread[..unread.len() - trailing.min(unread.len())];
        if !element.is_empty() {
            unread = unread.strip_suffix(element).expect("elements come in the order of the line");
        }
        if client(element).is_some() {
            let behind_a_quote = [b"for=\",", element].concat();
            assert_eq!(elements_from_right(&behind_a_quote).next(), Some(element));
        }
    }
});
