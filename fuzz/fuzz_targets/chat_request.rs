//! Whatever a body holds, it is refused or it is JSON, and the model and the stream that were read are those that another
//! reader finds.
#![no_main]

use kt_gateway::fuzzing::chat_request;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Some((model, stream)) = chat_request(body) else { return };
    let Ok(read) = serde_json::from_slice::<Value>(body) else {
        // That reader takes no number beyond a double's range, and no half of a surrogate pair.
        return;
    };
    assert_eq!(read["model"].as_str(), model.as_deref());
    assert_eq!(read["stream"].as_bool().unwrap_or_default(), stream);
    assert!(read["messages"].is_array());
});
