//! Shared bits of the mock upstream and the load client: a thin epoll wrapper
//! and incremental HTTP/1.1 message framing (Content-Length, chunked, EOF).
use std::io;
use std::net::SocketAddrV4;
use std::os::raw::c_int;

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;

pub struct Epoll(pub c_int);
impl Epoll {
    pub fn open() -> Self {
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll_create1");
        Epoll(fd)
    }
    fn ctl(&self, op: c_int, fd: c_int, ev: u32, tok: u64) {
        let mut e = libc::epoll_event { events: ev, u64: tok };
        unsafe { libc::epoll_ctl(self.0, op, fd, &mut e) };
    }
    pub fn add(&self, fd: c_int, ev: u32, tok: u64) {
        self.ctl(libc::EPOLL_CTL_ADD, fd, ev, tok)
    }
    pub fn modify(&self, fd: c_int, ev: u32, tok: u64) {
        self.ctl(libc::EPOLL_CTL_MOD, fd, ev, tok)
    }
    /// Waits at most `ns` nanoseconds (None: for ever).
    pub fn wait(&self, evs: &mut [libc::epoll_event], ns: Option<u64>) -> usize {
        let ts;
        let p = match ns {
            None => std::ptr::null(),
            Some(n) => {
                ts = libc::timespec {
                    tv_sec: (n / 1_000_000_000) as i64,
                    tv_nsec: (n % 1_000_000_000) as i64,
                };
                &ts as *const libc::timespec
            }
        };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0,
                evs.as_mut_ptr(),
                evs.len() as c_int,
                p,
                std::ptr::null::<libc::c_void>(),
                0usize,
            )
        };
        if n < 0 {
            0
        } else {
            n as usize
        }
    }
}

pub fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn sockaddr(a: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: a.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
        sin_zero: [0; 8],
    }
}

pub fn nodelay(fd: c_int) {
    let one: c_int = 1;
    unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &one as *const _ as _, 4);
    }
}

fn tcp_socket() -> c_int {
    unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) }
}

pub fn listen(addr: &SocketAddrV4) -> c_int {
    unsafe {
        let fd = tcp_socket();
        let one: c_int = 1;
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one as *const _ as _, 4);
        let sa = sockaddr(addr);
        let r = libc::bind(fd, &sa as *const _ as _, 16);
        if r != 0 {
            panic!("bind {addr}: {}", io::Error::last_os_error());
        }
        assert!(libc::listen(fd, 1024) == 0);
        fd
    }
}

/// Non-blocking connect, from `src` (port 0: any).
pub fn connect(addr: &SocketAddrV4, src: Option<SocketAddrV4>) -> io::Result<c_int> {
    unsafe {
        let fd = tcp_socket();
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        nodelay(fd);
        if let Some(s) = src {
            let one: c_int = 1;
            libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &one as *const _ as _, 4);
            let sa = sockaddr(&s);
            if libc::bind(fd, &sa as *const _ as _, 16) != 0 {
                let e = io::Error::last_os_error();
                libc::close(fd);
                return Err(e);
            }
        }
        let sa = sockaddr(addr);
        let r = libc::connect(fd, &sa as *const _ as _, 16);
        if r != 0 {
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(libc::EINPROGRESS) {
                libc::close(fd);
                return Err(e);
            }
        }
        Ok(fd)
    }
}

pub enum Io {
    Data(usize),
    Block,
    Eof,
    Err,
}
pub fn read(fd: c_int, buf: &mut [u8]) -> Io {
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr() as _, buf.len(), 0) };
    match n {
        0 => Io::Eof,
        n if n > 0 => Io::Data(n as usize),
        _ => match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) | Some(libc::EINTR) => Io::Block,
            _ => Io::Err,
        },
    }
}
pub fn write(fd: c_int, buf: &[u8]) -> Io {
    let n = unsafe { libc::send(fd, buf.as_ptr() as _, buf.len(), libc::MSG_NOSIGNAL) };
    if n >= 0 {
        return Io::Data(n as usize);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) | Some(libc::EINTR) => Io::Block,
        _ => Io::Err,
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Framing {
    Length(usize),
    Chunked,
    Eof,
}

/// Head fields that framing needs. `start` is the request or status line.
pub struct Head {
    pub len: usize,
    pub status: u16,
    pub framing: Option<Framing>,
    pub close: bool,
    pub expect: bool,
}

fn trim(b: &[u8]) -> &[u8] {
    b.trim_ascii()
}

pub fn parse_head(buf: &[u8]) -> Option<Head> {
    let end = memchr::memmem::find(buf, b"\r\n\r\n")? + 4;
    let mut lines = buf[..end - 4].split(|b| *b == b'\n');
    let first = lines.next().unwrap_or(b"");
    let status = if first.starts_with(b"HTTP/1.") && first.len() >= 12 {
        std::str::from_utf8(&first[9..12]).ok().and_then(|s| s.parse().ok()).unwrap_or(0)
    } else {
        0
    };
    let mut h =
        Head { len: end, status, framing: None, close: first.starts_with(b"HTTP/1.0"), expect: false };
    for l in lines {
        let Some(c) = memchr::memchr(b':', l) else { continue };
        let (k, v) = (&l[..c], trim(&l[c + 1..]));
        if k.eq_ignore_ascii_case(b"content-length") {
            if h.framing.is_none() {
                h.framing = std::str::from_utf8(v).ok().and_then(|s| s.parse().ok()).map(Framing::Length);
            }
        } else if k.eq_ignore_ascii_case(b"transfer-encoding") {
            if v.to_ascii_lowercase().ends_with(b"chunked") {
                h.framing = Some(Framing::Chunked);
            }
        } else if k.eq_ignore_ascii_case(b"connection") {
            let v = v.to_ascii_lowercase();
            if v == b"close" {
                h.close = true
            } else if v == b"keep-alive" {
                h.close = false
            }
        } else if k.eq_ignore_ascii_case(b"expect") {
            h.expect = true;
        }
    }
    Some(h)
}

/// The bytes are no body of the announced framing.
pub struct BadFraming;

/// Incremental body reader. Feed it wire bytes; decoded bytes go to `sink`.
#[derive(Clone)]
pub struct Body {
    framing: Framing,
    left: usize,
    st: u8, // chunked: 0 size line, 1 data, 2 CRLF after data, 3 trailer
    line: Vec<u8>,
    pub done: bool,
}
impl Body {
    pub fn new(f: Framing) -> Self {
        let left = if let Framing::Length(n) = f { n } else { 0 };
        Body { framing: f, left, st: 0, line: Vec::new(), done: f == Framing::Length(0) }
    }
    /// Returns how many bytes of `b` belong to this message.
    pub fn feed(&mut self, b: &[u8], sink: &mut Vec<u8>) -> Result<usize, BadFraming> {
        let mut i = 0;
        match self.framing {
            Framing::Length(_) => {
                let n = self.left.min(b.len());
                sink.extend_from_slice(&b[..n]);
                self.left -= n;
                self.done = self.left == 0;
                Ok(n)
            }
            Framing::Eof => {
                sink.extend_from_slice(b);
                Ok(b.len())
            }
            Framing::Chunked => {
                while i < b.len() && !self.done {
                    match self.st {
                        1 => {
                            let n = self.left.min(b.len() - i);
                            sink.extend_from_slice(&b[i..i + n]);
                            i += n;
                            self.left -= n;
                            if self.left == 0 {
                                self.st = 2
                            }
                        }
                        _ => {
                            let c = b[i];
                            i += 1;
                            if c != b'\n' {
                                self.line.push(c);
                                if self.line.len() > 4096 {
                                    return Err(BadFraming);
                                }
                                continue;
                            }
                            let l = std::mem::take(&mut self.line);
                            let l = trim(&l);
                            match self.st {
                                0 => {
                                    let h = l.split(|c| *c == b';').next().unwrap_or(b"");
                                    let s = std::str::from_utf8(trim(h)).map_err(|_| BadFraming)?;
                                    let n = usize::from_str_radix(s, 16).map_err(|_| BadFraming)?;
                                    if n == 0 {
                                        self.st = 3
                                    } else {
                                        self.left = n;
                                        self.st = 1
                                    }
                                }
                                2 => self.st = 0,
                                _ => {
                                    if l.is_empty() {
                                        self.done = true
                                    }
                                }
                            }
                        }
                    }
                }
                Ok(i)
            }
        }
    }
}
