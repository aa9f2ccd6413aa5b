//! The vendors that are known by name: where each is, how it takes its key, and which API it speaks.

/// What is known of a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Its name in `provider`.
    pub name: &'static str,
    /// Where its API is, with the version segment; `None` when every deployment has its own.
    pub base_url: Option<&'static str>,
    /// How it takes its key.
    pub key: KeyStyle,
    /// Which API it speaks.
    pub wire: Wire,
}

/// How a vendor takes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStyle {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `x-api-key: …`.
    XApiKey,
    /// `api-key: …`.
    ApiKey,
}

/// Which API a vendor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// None: the gateway answers by itself.
    Echo,
}

/// Every vendor that is known by name.
pub const VENDORS: [Vendor; 11] = [
    openai("openai", Some("https://api.openai.com/v1")),
    Vendor {
        name: "anthropic",
        base_url: Some("https://api.anthropic.com/v1"),
        key: KeyStyle::XApiKey,
        wire: Wire::Anthropic,
    },
    Vendor { name: "azure", base_url: None, key: KeyStyle::ApiKey, wire: Wire::OpenAi },
    openai("groq", Some("https://api.groq.com/openai/v1")),
    openai("mistral", Some("https://api.mistral.ai/v1")),
    openai("deepseek", Some("https://api.deepseek.com/v1")),
    openai("together", Some("https://api.together.xyz/v1")),
    openai("openrouter", Some("https://openrouter.ai/api/v1")),
    openai("ollama", Some("http://localhost:11434/v1")),
    openai("vllm", None),
    Vendor { name: "echo", base_url: None, key: KeyStyle::Bearer, wire: Wire::Echo },
];

const fn openai(name: &'static str, base_url: Option<&'static str>) -> Vendor {
    Vendor { name, base_url, key: KeyStyle::Bearer, wire: Wire::OpenAi }
}

/// What is known of the vendor called `name`. One that is not known is taken to speak OpenAI's API at the `base_url`
/// that its target must then give.
#[must_use]
pub fn find(name: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.name == name)
}

/// The parts of a target's `provider`: `vendor` or `vendor:surface:model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderName<'a> {
    /// The vendor.
    pub vendor: &'a str,
    /// The API shape, such as `chat`.
    pub surface: Option<&'a str>,
    /// The model; it may itself hold colons.
    pub model: Option<&'a str>,
}

impl<'a> ProviderName<'a> {
    /// Reads `vendor` or `vendor:surface:model`; `None` when it is neither.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        match text.splitn(3, ':').collect::<Vec<_>>()[..] {
            [vendor] if is_name(vendor) => Some(Self { vendor, surface: None, model: None }),
            [vendor, surface, model] if is_name(vendor) && is_name(surface) && !model.trim().is_empty() => {
                Some(Self { vendor, surface: Some(surface), model: Some(model) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_a_vendor_or_a_vendor_with_surface_and_model() {
        let full = ProviderName { vendor: "openai", surface: Some("chat"), model: Some("gpt-4o") };
        assert_eq!(ProviderName::parse("openai:chat:gpt-4o"), Some(full));
        let bare = ProviderName { vendor: "echo", surface: None, model: None };
        assert_eq!(ProviderName::parse("echo"), Some(bare));
        assert_eq!(
            ProviderName::parse("ollama:chat:llama3:8b").and_then(|name| name.model),
            Some("llama3:8b")
        );
        for wrong in ["", "openai:", "openai:chat", "openai:chat:", ":chat:m", "open ai", "openai::m"] {
            assert_eq!(ProviderName::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_vendor_is_found_by_its_name() {
        for vendor in &VENDORS {
            assert_eq!(find(vendor.name), Some(vendor));
        }
        assert_eq!(find("nobody"), None);
    }
}
