//! Looking for a byte that is rare, many at once.

/// How many bytes are asked at once whether one of them is looked for: what every machine compares at once. More would be
/// slower where such bytes are not that rare.
const BLOCK: usize = 16;

/// Where the first byte stands that is looked for. Blocks without one are passed over as a whole: each byte of a block is
/// looked at without a branch that would keep the compiler from comparing many at once.
#[inline]
pub(crate) fn first(bytes: &[u8], is_looked_for: impl Fn(u8) -> bool) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_without =
        |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | is_looked_for(*byte));
    let without = blocks.iter().take_while(is_without).count() * BLOCK;
    let at = bytes[without..].iter().position(|byte| is_looked_for(*byte))?;
    Some(without + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for length in 0..3 * BLOCK {
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[at..].fill(b'b');
                assert_eq!(first(&bytes, |byte| byte == b'b'), Some(at), "of {length}");
            }
            assert_eq!(first(&vec![b'a'; length], |byte| byte == b'b'), None, "of {length}");
        }
    }
}
