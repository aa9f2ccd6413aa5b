//! Where a request comes from, and in whose name.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use kt_control::Bearer;
use kt_domain::actor::Actor;
use kt_domain::ctx::{Client, Ctx};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::network::cidr::{CidrSet, canonical};
use kt_domain::network::client_addr::{ClientAddress, ForwardingHeader};
use kt_domain::network::console_rules::Surface;

use crate::Doors;
use crate::allowance::AllowanceNote;
use crate::failure::Failure;
use crate::layers::RequestId;
use crate::refusals::CallerNote;

/// How the API and the console tell a client's address: the TCP peer, unless that is one of `trusted_proxies`; then the
/// right-most entry of `X-Forwarded-For` that is not itself one of them.
#[must_use]
pub fn client_address(trusted_proxies: CidrSet) -> ClientAddress {
    let header = (!trusted_proxies.is_empty()).then(ForwardingHeader::x_forwarded_for);
    ClientAddress::new(header, trusted_proxies, NonZeroU32::MIN)
}

/// The resolved address of the client; put there where it is resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

/// Resolves the address of the client of a request; an error where a trusted proxy did not tell it. A program on this machine
/// that forwards for nobody is itself the client.
pub(crate) fn resolve(addresses: &ClientAddress, parts: &Parts) -> Result<ClientIp, Error> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = canonical(peer.ok_or_else(|| Error::internal("a connection without a peer"))?.0.ip());
    if peer.is_loopback() && addresses.trusts_proxy(peer) && !parts.headers.keys().any(tells_of_forwarding) {
        return Ok(ClientIp(peer));
    }
    let lines = addresses.header_name().map(|name| parts.headers.get_all(name));
    let lines = lines.into_iter().flatten().map(axum::http::HeaderValue::as_bytes);
    addresses.resolve(peer, lines).map(ClientIp).map_err(|why| {
        let message = "Your address cannot be told. The proxy in front of this server must send it.";
        Error::new(ErrorKind::Forbidden, "unresolved_source", message).with_private(why)
    })
}

/// Whether proxies send a header of this name, in whichever spelling, with what they forward.
fn tells_of_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name.starts_with("x-forwarded") || matches!(&*name, "forwarded" | "via" | "x-real-ip")
}

/// The context of a request in the name of a person or program. One without a bearer is refused before its body or its
/// parameters are looked at.
pub(crate) struct Caller(pub(crate) Ctx);

impl FromRequestParts<Doors> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        let ctx = match parts.extensions.remove() {
            Some(Identified(ctx)) => ctx,
            None => identify(parts, doors).await?,
        };
        parts.extensions.insert(Known);
        Ok(Self(ctx))
    }
}

/// Whoever sends the request is known: as much is read of them as the address takes.
#[derive(Clone, Copy)]
pub(crate) struct Known;

/// The context of a request whose caller was identified before its handler: a use of a key counts once.
#[derive(Clone)]
pub(crate) struct Identified(pub(crate) Ctx);

/// Tells in whose name a request comes, and notes what is left of the uses of their key.
pub(crate) async fn identify(parts: &Parts, doors: &Doors) -> Result<Ctx, Error> {
    let mut ctx = anonymous(doors, parts);
    let bearer = bearer(&parts.headers)?.ok_or_else(Error::missing_credentials)?;
    let outcome = doors.control.authenticate(&ctx, Bearer(bearer)).await;
    let allowance = match &outcome {
        Ok(authenticated) => authenticated.allowance,
        Err(error) => error.allowance,
    };
    if let Some((note, allowance)) = parts.extensions.get::<AllowanceNote>().zip(allowance) {
        note.write(allowance);
    }
    ctx.actor = outcome?.actor;
    if let Some(note) = parts.extensions.get::<CallerNote>() {
        note.write(&ctx);
    }
    doors.control.require_address(&ctx, Surface::Api).await?;
    Ok(ctx)
}

/// The context of a request to a route that is open to everybody: in nobody's name, whatever credentials come along.
pub(crate) struct Visitor(pub(crate) Ctx);

impl FromRequestParts<Doors> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Failure> {
        // Whoever proves here who they are gets tokens, which are signed with what the deployment signs with now.
        doors.control.catch_up().await?;
        Ok(Self(anonymous(doors, parts)))
    }
}

/// The context of a request before anybody has said who they are.
pub(crate) fn anonymous(doors: &Doors, parts: &Parts) -> Ctx {
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default();
    let ip = parts.extensions.get::<ClientIp>().map(|ip| ip.0);
    let client = Client { ip, user_agent: user_agent(&parts.headers) };
    Ctx { actor: Actor::Anonymous, client, request_id, now: doors.control.clock().now() }
}

/// The bearer of the one `Authorization` header; `None` where there is no such header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let bearer = text
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match bearer {
        Some((_, token)) if !token.is_empty() => Ok(Some(token)),
        _ => Err(Error::new(
            ErrorKind::Unauthenticated,
            "invalid_authorization",
            "Send one header `Authorization: Bearer …` with an access token or an API key.",
        )),
    }
}

/// What the client calls itself, cut to 512 characters.
fn user_agent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::USER_AGENT)?;
    Some(String::from_utf8_lossy(value.as_bytes()).chars().take(512).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_trusted_program_of_this_machine_is_itself_the_client_where_it_forwards_nobody() {
        let trusted = ["127.0.0.0/8", "::1/128", "203.0.113.9/32"];
        let addresses = client_address(trusted.into_iter().map(|range| range.parse().unwrap()).collect());
        // the peer, a header that it sends, and the client; none where that cannot be told
        let table = [
            ("127.0.0.1", None, Some("127.0.0.1")),
            ("127.9.9.9", None, Some("127.9.9.9")),
            ("::1", None, Some("::1")),
            ("::ffff:127.0.0.1", None, Some("127.0.0.1")),
            ("127.0.0.1", Some(("x-forwarded-for", "192.0.2.7")), Some("192.0.2.7")),
            ("127.0.0.1", Some(("x-forwarded-for", "")), None),
            ("127.0.0.1", Some(("x-forwarded-for", "unknown")), None),
            ("127.0.0.1", Some(("x_forwarded_for", "192.0.2.7")), None),
            ("127.0.0.1", Some(("x-forwarded-proto", "https")), None),
            ("127.0.0.1", Some(("x-real-ip", "192.0.2.7")), None),
            ("127.0.0.1", Some(("forwarded", "for=192.0.2.7")), None),
            ("127.0.0.1", Some(("via", "1.1 proxy")), None),
            ("203.0.113.9", None, None),
            ("198.51.100.7", None, Some("198.51.100.7")),
        ];
        for (peer, header, client) in table {
            let peer: IpAddr = peer.parse().unwrap();
            let mut request = Request::new(()).into_parts().0;
            request.extensions.insert(ConnectInfo(SocketAddr::new(peer, 4000)));
            if let Some((name, value)) = header {
                request.headers.insert(name, value.parse().unwrap());
            }
            let resolved = resolve(&addresses, &request).ok().map(|ip| ip.0.to_string());
            assert_eq!(resolved.as_deref(), client, "{peer} {header:?}");
        }
        let mut request = Request::new(()).into_parts().0;
        request.extensions.insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4000))));
        let of_another = client_address(["203.0.113.9/32".parse().unwrap()].into_iter().collect());
        assert_eq!(resolve(&of_another, &request).unwrap().0.to_string(), "127.0.0.1", "no proxy, as ever");
    }
}
