use std::net::Ipv4Addr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Later than anything on this machine takes.
fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    let of = |url: &str| Origin::of(&url.parse().unwrap()).map(|origin| origin.to_string());
    assert_eq!(of("https://api.example.com/v1").as_deref(), Some("https://api.example.com"));
    assert_eq!(of("http://Localhost:11434/v1").as_deref(), Some("http://localhost:11434"));
    assert_eq!(of("http://[::1]:80").as_deref(), Some("http://[::1]"));
    assert_eq!(of("ftp://example.com"), None);
    assert_eq!(of("/v1"), None);
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_followed_there() {
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = provider.local_addr().unwrap();
    let forbidden =
        ["169.254.169.254:80", "[fd00:ec2::254]:80", "0.0.0.0:80"].map(|text| text.parse().unwrap());
    let fault = async |addresses: &[SocketAddr]| {
        connect_to_first(addresses, soon()).await.err().map(|unconnected| unconnected.fault)
    };
    assert_eq!(fault(&forbidden).await, Some(UpstreamFault::ForbiddenAddress));
    // The port is open on this machine, so that it is the address alone that keeps it from being connected to.
    let open = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), good.port());
    assert_eq!(fault(&[open]).await, Some(UpstreamFault::ForbiddenAddress));

    let both = [forbidden[0], good];
    let connected = connect_to_first(&both, soon()).await.expect("the control: the other address is good");
    assert_eq!(connected.peer_addr().unwrap(), good);
}

/// A socket at which connections neither succeed nor fail: the only place in its queue is taken.
fn black_hole() -> (Socket, std::net::TcpStream, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let taken = std::net::TcpStream::connect(address).unwrap();
    (socket, taken, address)
}

#[tokio::test]
async fn an_address_that_gives_no_answer_keeps_no_other_from_being_tried() {
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = provider.local_addr().unwrap();
    let (_socket, _taken, hole) = black_hole();
    let within = |limit| Instant::now() + Duration::from_millis(limit);
    let alone = connect_to_first(&[hole], within(50)).await.expect_err("the control: nobody answers");
    assert_eq!(alone.fault, UpstreamFault::ConnectTimedOut);
    assert!(alone.why.contains(&hole.to_string()), "{}", alone.why);
    // Forty names for one address: each share of the time is small, and there are many for the one that answers.
    let mut addresses = vec![hole];
    addresses.resize(40, good);
    let connected = connect_to_first(&addresses, within(10_000)).await.expect("the other is tried");
    assert_eq!(connected.peer_addr().unwrap(), good);
}

#[tokio::test]
async fn why_nobody_can_be_connected_to_is_put_into_words() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = connect_to_first(&[gone], soon()).await.unwrap_err();
    assert_eq!(refused.fault, UpstreamFault::Unreachable);
    assert!(refused.why.contains("refused") && refused.why.contains(&gone.to_string()), "{}", refused.why);
    let origin = Origin::of(&"http://169.254.169.254/v1".parse().unwrap()).unwrap();
    let forbidden = connect(&origin, Duration::from_mins(1)).await.unwrap_err();
    assert!(forbidden.why.contains("may not be connected to"), "{}", forbidden.why);
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_from_who_speaks_another_one() {
    // A refusal in plain HTTP, and the alert `handshake_failure` of TLS 1.2.
    let answers: [(&[u8], bool); 2] =
        [(b"HTTP/1.1 400 Bad Request\r\n\r\n", true), (b"\x15\x03\x03\x00\x02\x02\x28", false)];
    for (answer, is_plain) in answers {
        let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", provider.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let (mut client, _) = provider.accept().await.unwrap();
            client.write_all(answer).await.unwrap();
            // Closed now, the connection could be reset before the answer is read.
            client
        });
        let origin = Origin::of(&url.parse().unwrap()).unwrap();
        let untold = connect(&origin, Duration::from_mins(1)).await.unwrap_err();
        assert_eq!(untold.fault, UpstreamFault::Tls);
        assert!(untold.why.starts_with("no trusted TLS: received "), "{}", untold.why);
        assert_eq!(untold.why.contains("plain HTTP"), is_plain, "{}", untold.why);
        answering.await.unwrap();
    }
}

#[test]
fn each_outage_is_news_once_and_so_is_its_end() {
    let outages = Outages::default();
    let [one, other] = ["http://one.test", "http://other.test"]
        .map(|url| Arc::new(Origin::of(&url.parse().unwrap()).unwrap()));
    assert!(!outages.note(&one, None), "nothing was wrong");
    let (refused, slow) = (Some(UpstreamFault::Unreachable), Some(UpstreamFault::ConnectTimedOut));
    assert!(outages.note(&one, refused) && !outages.note(&one, refused));
    assert!(outages.note(&one, slow) && !outages.note(&one, slow), "it is another one now");
    assert!(outages.note(&other, slow), "nor is one about the other");
    assert!(outages.note(&one, None) && !outages.note(&one, None));
    assert!(outages.note(&one, slow), "the next outage");
}

#[test]
fn what_this_machine_lacks_does_not_speak_against_the_target() {
    for (errno, is_targets) in
        [(Errno::MFILE, false), (Errno::NFILE, false), (Errno::NOBUFS, false), (Errno::CONNREFUSED, true)]
    {
        let fault = unconnected(&errno.into());
        assert_eq!((fault.code(), fault.is_targets()), ("upstream_unreachable", is_targets), "{errno}");
    }
}
