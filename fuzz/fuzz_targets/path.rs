//! A path that is accepted is in its one form: bringing it there again changes nothing, and nothing in it leads elsewhere.
#![no_main]

use kt_gateway::fuzzing::normal_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let Some(normal) = normal_path(path) else { return };
    assert_eq!(normal_path(&normal).as_deref(), Some(&*normal));
    let lower = normal.to_ascii_lowercase();
    for hidden in ["\\", "//", "%2f", "%5c", "%2e", "%00"] {
        assert!(!lower.contains(hidden), "{hidden} in {normal}");
    }
    assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
});
