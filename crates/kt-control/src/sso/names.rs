//! Looking up the TXT records that prove a domain: one question to the name servers that this machine asks anyway
//! (RFC 1035 section 4). What they answer is believed as far as this machine believes them for everything else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use kt_domain::random::Random;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where the system says which name servers it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many of them are asked.
const MOST_SERVERS: usize = 3;

/// Why there is no answer.
#[derive(Debug, Error)]
#[error("the name servers did not answer: {0}")]
pub struct NameError(pub String);

/// What comes of looking up a name, in time.
pub type Texts<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, NameError>> + Send + 'a>>;

/// Something that looks up TXT records.
pub trait Names: Send + Sync {
    /// The texts of all TXT records of a name; none where there is no such name.
    fn texts<'a>(&'a self, name: &'a str) -> Texts<'a>;
}

/// The name servers that this machine asks.
pub struct NameServers(Vec<SocketAddr>);

impl NameServers {
    /// Those of the system's configuration; the one on this machine where it names none (resolv.conf(5)).
    #[must_use]
    pub fn of_the_system() -> Self {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let mut servers = servers_in(&text);
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        Self(servers)
    }

    /// These.
    #[must_use]
    pub fn at(servers: Vec<SocketAddr>) -> Self {
        Self(servers)
    }
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = named.filter_map(|address| address.trim().parse::<IpAddr>().ok());
    addresses.take(MOST_SERVERS).map(|address| (address, 53).into()).collect()
}

impl Names for NameServers {
    fn texts<'a>(&'a self, name: &'a str) -> Texts<'a> {
        Box::pin(async move {
            let id = u16::from_be_bytes(Random::from_os().bytes::<2>());
            let question = question(id, name).ok_or_else(|| NameError(format!("`{name}` is no name")))?;
            let mut why = "none is configured".to_owned();
            for server in &self.0 {
                match ask(*server, &question).await {
                    Ok(texts) => return Ok(texts),
                    Err(error) => why = format!("{server}: {error}"),
                }
            }
            Err(NameError(why))
        })
    }
}

/// Why one server gave no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error("it did not answer in time")]
    Late,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("its answer cannot be read")]
    Unreadable,
    #[error("it refused with code {0}")]
    Refused(u8),
}

/// Asks over UDP, and again over TCP where the answer does not fit (RFC 7766 section 5).
async fn ask(server: SocketAddr, question: &[u8]) -> Result<Vec<String>, AskError> {
    let answer = timeout(PATIENCE, over_udp(server, question)).await.map_err(|_| AskError::Late)??;
    if let Some(texts) = read_answer(question, &answer)? {
        return Ok(texts);
    }
    let answer = timeout(PATIENCE, over_tcp(server, question)).await.map_err(|_| AskError::Late)??;
    read_answer(question, &answer)?.ok_or(AskError::Unreadable)
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, AskError> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap_or(server.ip()) };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Only what this server sends is heard.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // An answer to something else is somebody's guess.
        if buffer[..length].starts_with(&question[..2]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| AskError::Unreadable)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

const TXT: u16 = 16;
const INTERNET: u16 = 1;

/// How many bytes stand before the question.
const HEADER: usize = 12;

/// The question for the TXT records of a name; `None` where it is too long to be one.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // One question, to be followed to its end by whoever is asked.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(TXT.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    (bytes.len() <= HEADER + 255 + 4).then_some(bytes)
}

/// The texts of an answer to this very question; `None` where it says that it did not fit.
fn read_answer(question: &[u8], answer: &[u8]) -> Result<Option<Vec<String>>, AskError> {
    const NO_SUCH_NAME: u8 = 3;
    let header = answer.get(..HEADER).ok_or(AskError::Unreadable)?;
    let is_answer = header[..2] == question[..2] && header[2] & 0x80 != 0;
    if !is_answer || answer.get(HEADER..question.len()) != question.get(HEADER..) {
        return Err(AskError::Unreadable);
    }
    if header[2] & 0x02 != 0 {
        return Ok(None);
    }
    match header[3] & 0x0f {
        0 => {}
        NO_SUCH_NAME => return Ok(Some(Vec::new())),
        code => return Err(AskError::Refused(code)),
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = answer.get(question.len()..).ok_or(AskError::Unreadable)?;
    let mut texts = Vec::new();
    for _ in 0..count {
        let (record, after) = read_record(rest).ok_or(AskError::Unreadable)?;
        texts.extend(record);
        rest = after;
    }
    Ok(Some(texts))
}

/// The text of a record, if it is a TXT record, and what stands behind it. Whose name it is does not matter: what a server
/// gives for a question is an answer to it, by whatever other names it got there.
fn read_record(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    let fixed = behind_name(bytes)?;
    let kind = u16::from_be_bytes([*fixed.first()?, *fixed.get(1)?]);
    let class = u16::from_be_bytes([*fixed.get(2)?, *fixed.get(3)?]);
    let length = usize::from(u16::from_be_bytes([*fixed.get(8)?, *fixed.get(9)?]));
    let data = fixed.get(10..10 + length)?;
    let text = if (kind, class) == (TXT, INTERNET) { joined(data) } else { None };
    Some((text, fixed.get(10 + length..)?))
}

/// What stands behind a name: its labels end with an empty one, or with a pointer to others (RFC 1035 section 4.1.4).
fn behind_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        match bytes.first()? {
            0 => return bytes.get(1..),
            length if length & 0xc0 == 0xc0 => return bytes.get(2..),
            length => bytes = bytes.get(1 + usize::from(*length)..)?,
        }
    }
}

/// The parts of a text belong together (RFC 7208 section 3.3).
fn joined(mut data: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let length = usize::from(*length);
        text.extend_from_slice(rest.get(..length)?);
        data = &rest[length..];
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question` with these flags and records.
    fn answer(question: &[u8], flags: [u8; 2], records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&flags);
        bytes[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (kind, data) in records {
            // A pointer to the name of the question.
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    #[test]
    fn texts_are_read_whole_and_other_records_are_passed_by() {
        let question = question(7, "_keeptrusts-challenge.acme.example").unwrap();
        let records: [(u16, &[u8]); 4] =
            [(5, &[0]), (16, b"\x03one"), (16, b"\x02tw\x01o"), (16, b"\x02\xff\xfe")];
        let good = answer(&question, [0x81, 0x80], &records);
        assert_eq!(read_answer(&question, &good).unwrap(), Some(vec!["one".to_owned(), "two".to_owned()]));
        let nobody = answer(&question, [0x81, 0x83], &[]);
        assert_eq!(read_answer(&question, &nobody).unwrap(), Some(Vec::new()), "no such name");
        let cut = answer(&question, [0x83, 0x80], &[]);
        assert_eq!(read_answer(&question, &cut).unwrap(), None, "it did not fit");
        let other = super::question(8, "_keeptrusts-challenge.acme.example").unwrap();
        assert!(read_answer(&other, &good).is_err(), "an answer to another question");
        let elsewhere = super::question(7, "_keeptrusts-challenge.evil.example").unwrap();
        assert!(read_answer(&elsewhere, &good).is_err(), "about another name");
        assert!(
            read_answer(&question, &answer(&question, [0x81, 0x82], &[])).is_err(),
            "a server that failed"
        );
        for end in 0..good.len() {
            assert!(read_answer(&question, &good[..end]).is_err(), "cut off after {end} bytes");
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_asked_for() {
        for name in ["", "a..b", &"x".repeat(64), &["x"; 200].join(".")] {
            assert_eq!(question(1, name), None, "{name}");
        }
    }

    #[test]
    fn the_servers_of_the_system_are_read_from_its_file() {
        let text = "# x\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::1\nnameserver fe80::1%eth0\n";
        let servers: [SocketAddr; 2] = ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(servers_in(text), servers);
    }

    #[tokio::test]
    async fn a_server_is_asked_and_heard() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let names = NameServers::at(vec![server.local_addr().unwrap()]);
        let answering = async {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let asked = &buffer[..length];
            server.send_to(&answer(asked, [0x81, 0x80], &[(16, b"\x05hello")]), from).await.unwrap();
        };
        let (found, ()) = tokio::join!(names.texts("acme.example"), answering);
        assert_eq!(found.unwrap(), ["hello"]);
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..200), flags: [u8; 2], count: [u8; 2]) {
            let question = question(7, "acme.example").unwrap();
            let mut bytes = question.clone();
            bytes[2..4].copy_from_slice(&flags);
            bytes[6..8].copy_from_slice(&count);
            bytes.extend(tail);
            let _ = read_answer(&question, &bytes);
        }
    }
}
