//! The trace that a request belongs to (W3C Trace Context).

use std::fmt::Write as _;

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(super) id: [u8; 16],
    /// The request's own span.
    pub(super) span_id: [u8; 8],
    /// The span of whoever made the request.
    pub(super) parent_id: Option<[u8; 8]>,
    pub(crate) is_sampled: bool,
}

impl Trace {
    /// A trace that begins here, sampled so many times in a hundred.
    pub(crate) fn begin(random: [u64; 3], sample_percent: u32) -> Self {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&random[0].to_be_bytes());
        trace_id[8..].copy_from_slice(&random[1].to_be_bytes());
        let is_sampled = random[1] % 100 < u64::from(sample_percent);
        Self { id: trace_id, span_id: span_id(random[2]), parent_id: None, is_sampled }
    }

    /// The trace that a `traceparent` names, if it does (section 3.2: version, trace id, parent id, flags).
    pub(crate) fn join(traceparent: &[u8], random: u64) -> Option<Self> {
        let text = std::str::from_utf8(traceparent).ok()?;
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_known = version == "00" && parts.next().is_none();
        let is_later = version != "00" && version != "ff" && unhex::<1>(version).is_some();
        let trace_id = unhex::<16>(trace).filter(|id| *id != [0; 16])?;
        let parent_id = unhex::<8>(parent).filter(|id| *id != [0; 8])?;
        let [flags] = unhex::<1>(flags)?;
        (is_known || is_later).then_some(Self {
            id: trace_id,
            span_id: span_id(random),
            parent_id: Some(parent_id),
            is_sampled: flags & 1 == 1,
        })
    }

    /// The `traceparent` of a request that is made within this one.
    pub(crate) fn traceparent(&self, span_id: [u8; 8]) -> String {
        let flags = if self.is_sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", hex(&self.id), hex(&span_id))
    }
}

/// The id of a new span; none is all zeros.
pub(crate) fn span_id(random: u64) -> [u8; 8] {
    random.max(1).to_be_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Lower-case hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_joined_and_passed_on() {
        let trace = Trace::join(PARENT.as_bytes(), 0x0123_4567_89ab_cdef).unwrap();
        assert!(trace.is_sampled);
        assert_eq!(trace.parent_id, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert_eq!(
            trace.traceparent(trace.span_id),
            "00-0af7651916cd43dd8448eb211c80319c-0123456789abcdef-01"
        );
        let unsampled = Trace::join(PARENT.replace("-01", "-00").as_bytes(), 1).unwrap();
        assert!(!unsampled.is_sampled);
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        for wrong in [
            "",
            "00",
            &PARENT.replace("00-0af", "ff-0af"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.to_uppercase(),
            &format!("{PARENT}-more"),
            &PARENT.replace("-01", "-1"),
        ] {
            assert_eq!(Trace::join(wrong.as_bytes(), 1), None, "{wrong}");
        }
        assert!(Trace::join(format!("cc{}-more", &PARENT[2..]).as_bytes(), 1).is_some(), "a later version");
    }

    #[test]
    fn as_many_traces_are_sampled_as_are_asked_for() {
        let sampled = |percent| (0..1000).filter(|n| Trace::begin([1, *n, 1], percent).is_sampled).count();
        assert_eq!([sampled(0), sampled(25), sampled(100)], [0, 250, 1000]);
    }
}
