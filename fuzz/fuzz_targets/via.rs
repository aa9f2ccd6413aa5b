//! Whatever stands in `Via`, in one line or several, a gateway finds its own name wherever its hop is joined to it, and
//! nowhere else than where its name stands.
#![no_main]

use kt_gateway::fuzzing::has_passed;
use libfuzzer_sys::fuzz_target;

const NAME: &str = "gw_fuzz";
const HOP: &[u8] = b"1.1 gw_fuzz (Keeptrusts)";

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let Some(found) = has_passed(&lines, NAME) else { return };
    let stands_there = |line: &&[u8]| line.windows(NAME.len()).any(|word| word == NAME.as_bytes());
    assert!(!found || lines.iter().any(stands_there));
    assert_eq!(has_passed(&[&lines[..], &[HOP]].concat(), NAME), Some(true));
    for line in lines {
        for joined in [[line, HOP].join(&b','), [HOP, line].join(&b',')] {
            assert_eq!(has_passed(&[&joined], NAME), Some(true), "{}", String::from_utf8_lossy(&joined));
        }
    }
});
