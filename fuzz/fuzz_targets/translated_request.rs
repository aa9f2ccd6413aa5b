//! Whatever a conversation holds, it is refused or becomes one in the other API's words that names the target's model; and
//! that one can be put back.
#![no_main]

use kt_gateway::fuzzing::{Way, translated_request};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    for (there, back) in [(Way::ToMessages, Way::ToChat), (Way::ToChat, Way::ToMessages)] {
        let Some(translated) = translated_request(there, body, "target") else { continue };
        let read: Value = serde_json::from_slice(&translated).expect("what is sent to a target is JSON");
        assert_eq!(read["model"], "target");
        assert!(read["messages"].is_array());
        // What one API can say may be too much for the other.
        let _ = translated_request(back, &translated, "target");
    }
});
