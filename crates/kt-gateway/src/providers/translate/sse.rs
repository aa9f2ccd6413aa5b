//! Reading an event stream (WHATWG HTML section 9.2) however it is cut into pieces.

/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// What may stand before the first line, and is no part of it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Collects the data of each event.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data of the event so far; `None` before its first line.
    data: Option<Vec<u8>>,
    /// Whether the last byte was a carriage return, so that a line feed after it ends no other line.
    after_return: bool,
    /// Whether a line has ended.
    has_begun: bool,
}

/// An event is longer than anybody would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Reads on, and hands each event's data over as soon as it is whole.
    pub(super) fn feed(&mut self, piece: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), TooLong> {
        for byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    self.end_line(&mut take);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(*byte);
                }
            }
            if self.line.len() + self.data.as_ref().map_or(0, Vec::len) > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, take: &mut impl FnMut(&[u8])) {
        if !std::mem::replace(&mut self.has_begun, true) && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        if self.line.is_empty() {
            if let Some(data) = self.data.take() {
                take(&data);
            }
            return;
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            }
        }
        self.line.clear();
    }
}
