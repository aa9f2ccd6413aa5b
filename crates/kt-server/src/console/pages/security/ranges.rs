//! Lists of address ranges as people write them: one in each line, and behind it what they call it.

use std::fmt::Write;

use kt_domain::error::Error;
use kt_domain::network::console_rules::LabelledRange;

/// The ranges of a text, in its order; empty lines count for nothing. Refused with the line that is no range.
pub(super) fn read(field: &'static str, text: &str) -> Result<Vec<LabelledRange>, Error> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| range_of(line).map_err(|why| bad_line(field, index, &why))).collect()
}

/// One range and its label.
pub(super) fn range(cidr: &str, label: &str) -> Result<LabelledRange, Error> {
    let cidr = cidr.trim().parse().map_err(|why| Error::invalid("cidr", format!("{why}")))?;
    Ok(LabelledRange { cidr, label: label.trim().to_owned() })
}

/// The text of these ranges, which [`read`] reads back.
pub(super) fn write(ranges: &[LabelledRange]) -> String {
    let mut text = String::new();
    for LabelledRange { cidr, label } in ranges {
        let line = format!("{cidr} {label}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn range_of(line: &str) -> Result<LabelledRange, String> {
    let line = line.trim();
    let (cidr, label) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let cidr = cidr.parse().map_err(|why| format!("{why}"))?;
    Ok(LabelledRange { cidr, label: label.trim().to_owned() })
}

fn bad_line(field: &'static str, index: usize, why: &str) -> Error {
    Error::invalid(field, format!("Line {}: {why}", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let text = "10.0.0.0/8 Corporate VPN\n2001:db8::/32\n203.0.113.50/32 Office  London\n";
        let ranges = read("allow", text).unwrap();
        let labels: Vec<_> = ranges.iter().map(|range| range.label.as_str()).collect();
        assert_eq!(labels, ["Corporate VPN", "", "Office  London"]);
        assert_eq!(write(&ranges), text);
        assert_eq!(read("allow", "\r\n \t10.0.0.0/8\tCorporate VPN \r\n\r\n").unwrap(), ranges[..1]);
        assert_eq!(read("allow", "").unwrap(), []);
    }

    #[test]
    fn what_is_no_range_is_named_by_its_line() {
        for bad in ["10.0.0.1/8 Office", "10.0.0.256", "Office 10.0.0.0/8", "10.0.0.0/8,Office"] {
            let refused = read("deny", &format!("192.0.2.0/24\n\n{bad}\n")).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("deny"), "{bad}");
            assert!(refused.message.starts_with("Line 3: "), "{}", refused.message);
        }
        let refused = range("10.0.0.1/8", "Office").unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("cidr"));
        assert_eq!(
            range(" 10.0.0.0/8 ", " Office ").unwrap(),
            read("allow", "10.0.0.0/8 Office").unwrap()[0]
        );
    }
}
