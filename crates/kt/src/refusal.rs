//! What the body of a refusal says, of a control plane and of a gateway alike.

use serde::Deserialize;

/// Why something was refused.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The case, for programs.
    pub(crate) code: String,
    /// What to do next, for people.
    pub(crate) message: String,
}

impl Refusal {
    /// The refusal of this body; none where what has answered is none of ours.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Refusal,
        }
        serde_json::from_slice(body).ok().map(|Body { error }| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_whatever_else_it_says_and_the_page_of_a_proxy_is_none() {
        let body =
            br#"{"error":{"type":"conflict","code":"chain_gap","message":"Send it again.","entries":3}}"#;
        let refusal = Refusal { code: "chain_gap".into(), message: "Send it again.".into() };
        assert_eq!(Refusal::read(body), Some(refusal));
        for other in ["", "<html>", "{}", r#"{"error":"overloaded"}"#, r#"{"error":{"message":"Why."}}"#] {
            assert_eq!(Refusal::read(other.as_bytes()), None, "{other}");
        }
    }
}
