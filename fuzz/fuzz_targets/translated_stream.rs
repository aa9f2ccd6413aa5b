//! Whatever a target streams, it becomes the same however it is cut on its way: events of JSON, the end of a whole stream
//! aside; and what is whole in Messages is whole when it is put back.
#![no_main]

use kt_gateway::fuzzing::{Way, translated_stream};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    for way in [Way::ToMessages, Way::ToChat] {
        let (events, is_whole) = translated_stream(way, bytes, bytes.len());
        assert_eq!(translated_stream(way, bytes, usize::from(size)), (events.clone(), is_whole));
        let text = String::from_utf8(events).expect("an event stream is UTF-8");
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            assert!(data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(), "{data}");
        }
        if is_whole && way == Way::ToChat {
            assert!(text.ends_with("data: [DONE]\n\n"));
        }
        if is_whole && way == Way::ToMessages {
            assert!(translated_stream(Way::ToChat, text.as_bytes(), text.len()).1);
        }
    }
});
