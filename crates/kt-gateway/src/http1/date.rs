//! When an answer was made (RFC 9110 section 6.6.1), put into words once a second.

use std::cell::RefCell;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// What stands for one second.
struct Line {
    second: i64,
    text: Vec<u8>,
}

thread_local! {
    /// The line that was written last; each worker is a thread.
    static LAST: RefCell<Line> = const { RefCell::new(Line { second: i64::MIN, text: Vec::new() }) };
}

/// Appends the header field `Date` for a moment in microseconds since 1970, its line's end included.
pub(super) fn write(out: &mut Vec<u8>, micros: i64) {
    let second = micros.div_euclid(1_000_000);
    LAST.with_borrow_mut(|line| {
        if line.second != second {
            line.turn_to(second);
        }
        out.extend_from_slice(&line.text);
    });
}

impl Line {
    fn turn_to(&mut self, second: i64) {
        self.second = second;
        self.text.clear();
        self.text.extend_from_slice(b"Date: ");
        let moment = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        match DateTimePrinter::new().print_timestamp_rfc9110(&moment, &mut self.text) {
            Ok(()) => self.text.extend_from_slice(b"\r\n"),
            // A year before the first has no such form.
            Err(_) => self.text.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(micros: i64) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_second_has_one_date_and_the_next_another() {
        let first = "before Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let next = "before Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n";
        for (micros, date) in [
            (784_111_777_000_000, first),
            (784_111_777_999_999, first),
            (784_111_778_000_000, next),
            (784_111_777_000_000, first),
            (-1, "before Date: Wed, 31 Dec 1969 23:59:59 GMT\r\n"),
        ] {
            assert_eq!(written(micros), date);
        }
    }

    #[test]
    fn a_year_that_has_no_such_form_has_no_date() {
        assert_eq!(written(-100_000_000_000_000_000), "before ");
    }
}
