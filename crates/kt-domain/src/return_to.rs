//! Where somebody goes on after signing in: a page of this console that they asked for, and nothing else.

use url::Url;

/// The pages that may be returned to; whatever lies below one belongs to it.
const PAGES: [&str; 16] = [
    "/overview",
    "/chat",
    "/tasks",
    "/request-setup",
    "/gateways",
    "/configurations",
    "/setup/provider",
    "/setup/gateway",
    "/events",
    "/usage",
    "/audit-log",
    "/settings",
    "/mfa/setup",
    "/device",
    "/help",
    "/design",
];

/// A page of this console, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Reads what a request asks for. `None` for everything but a path of a known page in its plain form: what a browser
    /// could read as another host, or a server as another path, is no path here (ATTACKS I57).
    #[must_use]
    pub fn parse(asked: &str) -> Option<Self> {
        let is_plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>' | b'`');
        let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
        let is_plain_path = path.split('/').all(is_plain_segment) && !path.contains("//");
        if asked.len() > 1024 || !is_plain_path || !query.bytes().all(is_plain) {
            return None;
        }
        let is_known = PAGES
            .iter()
            .any(|page| path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        is_known.then(|| Self(asked.to_owned()))
    }

    /// The path and query, to be put after the console's own origin.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of the sign-in page that leads back here.
    #[must_use]
    pub fn sign_in(&self, reason: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("returnTo", &self.0);
        if let Some(reason) = reason {
            query.append_pair("reason", reason);
        }
        format!("/login?{}", query.finish())
    }

    /// The same as a browser at `origin` would resolve it.
    #[must_use]
    pub fn resolved(&self, origin: &Url) -> Option<Url> {
        origin.join(&self.0).ok()
    }
}

/// Whether a part of a path means the same to everybody who reads it: the identifiers that this console knows, whose `+` and
/// `@` may be escaped, and no step to another folder, however it is written.
fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+@".contains(&byte);
    let read = segment.replace("%2B", "+").replace("%40", "@");
    read.bytes().all(is_plain) && !matches!(segment, "." | "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_pages_of_the_console_are_returned_to() {
        for good in [
            "/overview",
            "/chat",
            "/settings/security/sso",
            "/mfa/setup",
            "/usage?since=2026-03-01",
            "/setup/provider",
            "/configurations/main/versions/2",
            "/events?verdict=blocked&limit=5",
            "/audit-log?q=a%20b",
            "/help",
            "/help/getting-started",
            "/design",
            "/gateways/edge.dublin",
            "/gateways/edge+1@dublin",
            "/gateways/edge%2B1%40dublin",
        ] {
            assert_eq!(ReturnTo::parse(good).as_ref().map(ReturnTo::as_str), Some(good));
        }
        let bad = [
            "",
            "/",
            "chat",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "https://evil.example/chat",
            "%2f%2fevil.example",
            "/%09/evil.example",
            "/\tchat",
            "/chat\n",
            "javascript:alert(1)",
            "/chat/../login",
            "/chat/..;/login",
            "/gateways/..",
            "/gateways/./login",
            "/gateways/%2e%2e/login",
            "/gateways/..%2Flogin",
            "/gateways/%5Cevil.example",
            "/gateways/%2540",
            "/gateways/edge%2b1",
            "/helpful",
            "/chat//evil",
            "/chat%2e%2e",
            "/chatty",
            "/mfa",
            "/setup",
            "/login",
            "/logout",
            "/chat#x",
            "/chat@evil.example",
            "/chat?a=\\",
            "/overview?x=<script>",
        ];
        for text in bad {
            assert_eq!(ReturnTo::parse(text), None, "{text}");
        }
        assert_eq!(ReturnTo::parse(&format!("/chat?{}", "a".repeat(1024))), None, "too long");
    }

    #[test]
    fn the_sign_in_page_leads_back_with_the_whole_query() {
        let page = ReturnTo::parse("/events?verdict=blocked&limit=5").unwrap();
        assert_eq!(
            page.sign_in(Some("timeout")),
            "/login?returnTo=%2Fevents%3Fverdict%3Dblocked%26limit%3D5&reason=timeout"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_at_the_consoles_origin(text in "[/\\\\a-z:@.%?#&=;\\t\\n ]{0,40}", page in 0..PAGES.len(), glued in any::<bool>()) {
            let text = if glued { format!("{}{text}", PAGES[page]) } else { text };
            if let Some(page) = ReturnTo::parse(&text) {
                let origin = Url::parse("https://console.example").unwrap();
                let resolved = page.resolved(&origin).unwrap();
                prop_assert_eq!(resolved.origin(), origin.origin());
                prop_assert!(PAGES.iter().any(|known| resolved.path().starts_with(known)));
            }
        }
    }
}
