//! `size_limits`: how large bodies may be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;

/// How large bodies may be, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SizeLimits {
    /// The largest request body, also after decompression; a larger one is answered 413.
    #[schemars(range(min = 1))]
    pub max_request_body_bytes: u64,
    /// The largest response body that is held in memory; a larger one is answered 502. Streams have no such limit.
    #[schemars(range(min = 1))]
    pub max_response_body_bytes: u64,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { max_request_body_bytes: 10_485_760, max_response_body_bytes: 33_554_432 }
    }
}

/// Above this a request limit is unusual: 100 MB.
const LARGE_REQUEST: u64 = 100 * 1024 * 1024;

impl SizeLimits {
    pub(super) fn review(&self, review: &mut Review) {
        if self.max_request_body_bytes > LARGE_REQUEST {
            let message = format!(
                "requests of up to {} bytes are taken, which is above 100 MB",
                self.max_request_body_bytes
            );
            let suggestion = "most LLM requests fit into 5 MB: write `5242880`";
            review.say(&codes::LARGE_REQUESTS, "size_limits.max_request_body_bytes", message, suggestion);
        }
    }
}
