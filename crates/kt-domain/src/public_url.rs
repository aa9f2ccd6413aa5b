//! The address under which people reach a deployment. Every link that leaves it is built from this one, never from what
//! a request claims in `Host`.

use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

use crate::network::cidr::canonical;

/// A configured base address: https, or http on this machine alone unless somebody has said that it is right elsewhere too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

/// Why a text cannot be a deployment's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublicUrlError {
    /// Not an address of the web.
    #[error("write the whole address, such as `https://keeptrusts.example.org`")]
    NotWeb,
    /// Cookies and links would travel in the clear.
    #[error("use https; http is for a loopback address alone, such as `http://localhost:8080`")]
    NotHttps,
    /// User name, password, query or fragment.
    #[error("write scheme, host, port and path alone, without user name, `?` or `#`")]
    Extra,
}

impl PublicUrl {
    /// Reads a configured address; a slash at its end does not count.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let address = Self::parse_also_plain(text)?;
        if address.is_plain_to_others() { Err(PublicUrlError::NotHttps) } else { Ok(address) }
    }

    /// The same where http may lead to other machines too.
    pub fn parse_also_plain(text: &str) -> Result<Self, PublicUrlError> {
        let mut url = Url::parse(text).map_err(|_| PublicUrlError::NotWeb)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PublicUrlError::NotWeb);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(PublicUrlError::Extra);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Whether what is sent there can be read on its way to another machine.
    #[must_use]
    pub fn is_plain_to_others(&self) -> bool {
        self.0.scheme() == "http" && !self.0.host().as_ref().is_some_and(is_loopback)
    }

    /// The address of the page at `path`, which begins with a slash. Only the program's own text can be a path.
    #[must_use]
    pub fn page(&self, path: &'static str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }

    /// The same, with `?token=…`. The page has to move the token out of the address at once, and to use it up on POST
    /// only: mail scanners follow links.
    #[must_use]
    pub fn page_with_token(&self, path: &'static str, token: &str) -> Url {
        let mut url = self.page(path);
        url.query_pairs_mut().append_pair("token", token);
        url
    }

    /// The host's name or address, as browsers write it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it leads to whoever follows it, or to what hangs on the same link: on another machine it is another place. So
    /// do `localhost` and all names below it (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_of_its_own_machine(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(address)) => is_local(address.into()),
            Some(Host::Ipv6(address)) => is_local(address.into()),
            None => false,
        }
    }

    /// The address itself.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn is_local(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stand_below_the_configured_address() {
        let cases = [
            ("https://kt.example.org", "https://kt.example.org/login"),
            ("https://kt.example.org/", "https://kt.example.org/login"),
            ("https://KT.example.org:443", "https://kt.example.org/login"),
            ("https://kt.example.org:8443/trusts/", "https://kt.example.org:8443/trusts/login"),
            ("https://bücher.example", "https://xn--bcher-kva.example/login"),
            ("http://localhost:8080", "http://localhost:8080/login"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/login"),
            ("http://[::1]:8080", "http://[::1]:8080/login"),
        ];
        for (text, page) in cases {
            assert_eq!(PublicUrl::parse(text).unwrap().page("/login").as_str(), page);
        }
    }

    #[test]
    fn what_is_no_safe_base_is_refused() {
        let cases = [
            ("", PublicUrlError::NotWeb),
            ("kt.example.org", PublicUrlError::NotWeb),
            ("https://", PublicUrlError::NotWeb),
            ("ftp://kt.example.org", PublicUrlError::NotWeb),
            ("javascript:alert(1)", PublicUrlError::NotWeb),
            ("http://kt.example.org", PublicUrlError::NotHttps),
            ("http://localhost.example.org", PublicUrlError::NotHttps),
            ("http://10.0.0.1", PublicUrlError::NotHttps),
            ("http://0.0.0.0:8080", PublicUrlError::NotHttps),
            ("https://ada@kt.example.org", PublicUrlError::Extra),
            ("https://:secret@kt.example.org", PublicUrlError::Extra),
            ("https://kt.example.org/?next=/", PublicUrlError::Extra),
            ("https://kt.example.org/#top", PublicUrlError::Extra),
        ];
        for (text, expected) in cases {
            assert_eq!(PublicUrl::parse(text), Err(expected), "{text}");
            let also_plain = PublicUrl::parse_also_plain(text);
            assert_eq!(also_plain.is_ok(), expected == PublicUrlError::NotHttps, "{text}");
            assert!(
                also_plain.is_ok_and(|url| url.is_plain_to_others())
                    == (expected == PublicUrlError::NotHttps)
            );
        }
    }

    #[test]
    fn what_leads_to_its_own_machine_is_told() {
        for (text, expected) in [
            ("http://127.0.0.1:41002", true),
            ("http://127.8.9.1:41002", true),
            ("http://localhost:41002", true),
            ("http://[::1]:41002", true),
            ("https://[::ffff:127.0.0.1]", true),
            ("https://localhost./", true),
            ("https://db.localhost", true),
            ("https://169.254.7.7", true),
            ("https://[fe80::1]", true),
            ("https://0.0.0.0", true),
            ("https://[::]", true),
            ("https://10.0.0.7:41002", false),
            ("https://[fd00::7]", false),
            ("https://gateway.example", false),
            ("https://localhost.example", false),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().is_of_its_own_machine(), expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_one_parameter_whatever_it_holds() {
        let base = PublicUrl::parse("https://kt.example.org").unwrap();
        let link = base.page_with_token("/reset-password", "Zm9v-_9");
        assert_eq!(link.as_str(), "https://kt.example.org/reset-password?token=Zm9v-_9");
        let hostile = "a&b=c#d\r\n /\"<";
        let link = base.page_with_token("/reset-password", hostile);
        let pairs: Vec<_> = link.query_pairs().into_owned().collect();
        assert_eq!(pairs, [("token".to_owned(), hostile.to_owned())]);
        assert_eq!((link.host_str(), link.fragment()), (Some("kt.example.org"), None));
    }
}
