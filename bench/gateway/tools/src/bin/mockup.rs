//! Mock OpenAI-compatible upstream. One thread, epoll, precomputed answers.
//!   mockup --listen 127.0.0.1:9000 [--interval-us 0]
//! POST any path: ~600-byte chat.completion, or with `"stream": true` in the
//! body 50 SSE events and `data: [DONE]`, one every interval-us microseconds
//! (0: all in one write).
//! Control (direct, never through a gateway): GET /__set?interval_us=N,
//! GET /__set?big=N (non-streamed answers get N bytes of content; 0: normal),
//! GET /__set?endless=1 (streams that begin from now on never end; with interval
//! 0 they send as fast as they are read; 0: normal),
//! GET /__stats (requests served and what the last request looked like).
use gwbench::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddrV4;
use std::os::raw::c_int;

const EVENTS: usize = 50;
/// The index of the event that ends a choice; those before it, but for the first, carry a word each.
const LAST_WORD: usize = EVENTS - 1;
const WORDS: [&str; 10] =
    [" the", " gateway", " forwards", " each", " token", " as", " it", " arrives", " from", " upstream"];

fn chunk(b: &[u8]) -> Vec<u8> {
    let mut v = format!("{:x}\r\n", b.len()).into_bytes();
    v.extend_from_slice(b);
    v.extend_from_slice(b"\r\n");
    v
}

struct Conn {
    fd: c_int,
    gen: u32,
    inb: Vec<u8>,
    body: Vec<u8>,
    cur: Option<(Body, Vec<u8>, bool)>, // framing, head bytes, close
    out: Vec<u8>,
    opos: usize,
    stream_next: usize, // 0: none; else index of the next event, 1-based
    endless: bool,
    eager: bool, // endless and unpaced: refilled whenever it has all been taken
    due: u64,
    close_after: bool,
    want_out: bool,
}

struct Srv {
    ep: Epoll,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    gen: u32,
    timers: BinaryHeap<Reverse<(u64, usize, u32)>>,
    json: Vec<u8>,
    sse_head: Vec<u8>,
    events: Vec<Vec<u8>>, // EVENTS events, then [DONE] + last chunk
    sse_all: Vec<u8>,
    interval_ns: u64,
    endless: bool,
    served: u64,
    streams: u64,
    conns_total: u64,
    last: String,
}

fn json_answer(content_len: usize) -> Vec<u8> {
    let base = "The gateway received your request and forwarded it upstream. This is a fixed answer used for measurement, long enough to look like a short chat completion.";
    let content = if content_len > 0 { "x".repeat(content_len) } else { base.to_string() };
    let body = format!(
        "{{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion\",\"created\":1741569952,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{content}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":312,\"completion_tokens\":28,\"total_tokens\":340,\"prompt_tokens_details\":{{\"cached_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}},\"system_fingerprint\":\"fp_06737a9306\"}}"
    );
    let mut v = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n\r\n",
        body.len()
    )
    .into_bytes();
    v.extend_from_slice(body.as_bytes());
    v
}

impl Srv {
    fn set_interest(&mut self, i: usize, out: bool) {
        let c = self.conns[i].as_mut().unwrap();
        if c.want_out != out {
            c.want_out = out;
            self.ep.modify(c.fd, if out { IN | OUT } else { IN }, i as u64);
        }
    }
    fn close(&mut self, i: usize) {
        if let Some(c) = self.conns[i].take() {
            unsafe { libc::close(c.fd) };
            self.free.push(i);
        }
    }
    /// Writes what is pending; false when the connection is gone.
    fn flush(&mut self, i: usize) -> bool {
        loop {
            let c = self.conns[i].as_mut().unwrap();
            if c.opos >= c.out.len() {
                c.out.clear();
                c.opos = 0;
                if c.eager {
                    // one refill a turn, so that one fast reader does not hold up the others
                    self.events[1..LAST_WORD].iter().for_each(|e| c.out.extend_from_slice(e));
                    self.set_interest(i, true);
                    return true;
                }
                let fin = c.close_after && c.stream_next == 0;
                self.set_interest(i, false);
                if fin {
                    self.close(i);
                    return false;
                }
                return true;
            }
            match write(c.fd, &c.out[c.opos..]) {
                Io::Data(n) => c.opos += n,
                Io::Block => {
                    self.set_interest(i, true);
                    return true;
                }
                _ => {
                    self.close(i);
                    return false;
                }
            }
        }
    }
    fn control(&mut self, head: &str) -> Vec<u8> {
        let line = head.lines().next().unwrap_or("");
        let path = line.split(' ').nth(1).unwrap_or("");
        if let Some(q) = path.strip_prefix("/__set?") {
            for kv in q.split('&') {
                let (k, v) = kv.split_once('=').unwrap_or((kv, ""));
                let n: u64 = v.parse().unwrap_or(0);
                match k {
                    "interval_us" => self.interval_ns = n * 1000,
                    "big" => self.json = json_answer(n as usize),
                    "endless" => self.endless = n == 1,
                    _ => {}
                }
            }
        }
        let b = if path.starts_with("/__") {
            format!(
                "{{\"served\":{},\"streams\":{},\"connections\":{},\"interval_us\":{},\"last\":{:?}}}\n",
                self.served,
                self.streams,
                self.conns_total,
                self.interval_ns / 1000,
                self.last
            )
        } else {
            "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\"}]}\n".to_string()
        };
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{b}", b.len())
            .into_bytes()
    }
    fn respond(&mut self, i: usize) -> bool {
        let (head, close, len) = {
            let c = self.conns[i].as_mut().unwrap();
            let (_, head, close) = c.cur.take().unwrap();
            (head, close, c.body.len())
        };
        if head.starts_with(b"GET ") {
            let s = String::from_utf8_lossy(&head).into_owned();
            let r = self.control(&s);
            let c = self.conns[i].as_mut().unwrap();
            c.close_after |= close;
            c.out.extend_from_slice(&r);
            return self.flush(i);
        }
        self.served += 1;
        if self.served % 1000 == 1 || self.served < 1000 {
            self.last = format!(
                "{} | body {} bytes",
                String::from_utf8_lossy(&head).trim_end().replace("\r\n", " ; "),
                len
            );
        }
        let now = now_ns();
        let iv = self.interval_ns;
        let c = self.conns[i].as_mut().unwrap();
        c.close_after |= close;
        let stream = memchr::memmem::find_iter(&c.body, b"\"stream\"").any(|p| {
            let t = c.body[p + 8..(p + 20).min(c.body.len())].trim_ascii_start();
            t.first() == Some(&b':') && t[1..].trim_ascii_start().starts_with(b"true")
        });
        if !stream {
            c.out.extend_from_slice(&self.json);
        } else if iv == 0 && !self.endless {
            self.streams += 1;
            c.out.extend_from_slice(&self.sse_all);
        } else {
            self.streams += 1;
            c.out.extend_from_slice(&self.sse_head);
            c.out.extend_from_slice(&self.events[0]);
            c.stream_next = 1;
            c.endless = self.endless;
            c.eager = iv == 0;
            if !c.eager {
                c.due = now + iv;
                self.timers.push(Reverse((c.due, i, c.gen)));
            }
        }
        self.flush(i)
    }
    fn input(&mut self, i: usize) -> bool {
        loop {
            let c = self.conns[i].as_mut().unwrap();
            if c.stream_next > 0 {
                return true; // pipelined input waits until the stream has ended
            }
            if c.cur.is_none() {
                let Some(h) = parse_head(&c.inb) else { return true };
                let head = c.inb[..h.len].to_vec();
                c.inb.drain(..h.len);
                c.body.clear();
                if h.expect {
                    c.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                c.cur = Some((Body::new(h.framing.unwrap_or(Framing::Length(0))), head, h.close));
                if h.expect && !self.flush(i) {
                    return false;
                }
            }
            let c = self.conns[i].as_mut().unwrap();
            let (b, _, _) = c.cur.as_mut().unwrap();
            if !b.done {
                if c.inb.is_empty() {
                    return true;
                }
                match b.feed(&c.inb, &mut c.body) {
                    Ok(n) => {
                        c.inb.drain(..n);
                    }
                    Err(BadFraming) => {
                        self.close(i);
                        return false;
                    }
                }
            }
            let c = self.conns[i].as_ref().unwrap();
            if !c.cur.as_ref().unwrap().0.done {
                return true;
            }
            if !self.respond(i) {
                return false;
            }
        }
    }
    fn tick(&mut self) {
        let now = now_ns();
        while let Some(Reverse((due, i, gen))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            let Some(c) = self.conns[i].as_mut() else { continue };
            if c.gen != gen || c.stream_next == 0 {
                continue;
            }
            c.out.extend_from_slice(&self.events[c.stream_next]);
            c.stream_next += 1;
            if c.endless && c.stream_next >= LAST_WORD {
                c.stream_next = 1;
            }
            if c.stream_next > EVENTS {
                c.stream_next = 0;
            } else {
                c.due += self.interval_ns.max(1000);
                self.timers.push(Reverse((c.due, i, gen)));
            }
            let ended = c.stream_next == 0;
            if self.flush(i) && ended {
                self.input(i);
            }
        }
    }
}

fn main() {
    let mut addr: SocketAddrV4 = "127.0.0.1:9000".parse().unwrap();
    let mut iv = 0u64;
    let a: Vec<String> = std::env::args().skip(1).collect();
    let mut k = 0;
    while k + 1 < a.len() {
        match a[k].as_str() {
            "--listen" => addr = a[k + 1].parse().expect("--listen IP:PORT"),
            "--interval-us" => iv = a[k + 1].parse().expect("--interval-us N"),
            o => panic!("unknown option {o}"),
        }
        k += 2;
    }
    let mut events = Vec::new();
    for n in 0..EVENTS {
        let delta = if n == 0 {
            "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}".to_string()
        } else if n == EVENTS - 1 {
            "{}".to_string()
        } else {
            format!("{{\"content\":\"{}\"}}", WORDS[n % WORDS.len()])
        };
        let fin = if n == EVENTS - 1 { "\"stop\"" } else { "null" };
        let e = format!("data: {{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,\"model\":\"gpt-4o-mini-2024-07-18\",\"system_fingerprint\":\"fp_06737a9306\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{fin}}}]}}\n\n");
        events.push(chunk(e.as_bytes()));
    }
    let mut fin = chunk(b"data: [DONE]\n\n");
    fin.extend_from_slice(b"0\r\n\r\n");
    events.push(fin);
    let sse_head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\nopenai-processing-ms: 12\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n\r\n".to_vec();
    let mut sse_all = sse_head.clone();
    events.iter().for_each(|e| sse_all.extend_from_slice(e));

    let lfd = listen(&addr);
    let ep = Epoll::open();
    ep.add(lfd, IN, u64::MAX);
    eprintln!(
        "mockup on {addr}; JSON answer {} bytes with head; SSE answer {} bytes",
        json_answer(0).len(),
        sse_all.len()
    );
    let mut s = Srv {
        ep,
        conns: Vec::new(),
        free: Vec::new(),
        gen: 0,
        timers: BinaryHeap::new(),
        json: json_answer(0),
        sse_head,
        events,
        sse_all,
        interval_ns: iv * 1000,
        endless: false,
        served: 0,
        streams: 0,
        conns_total: 0,
        last: String::new(),
    };
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    let mut buf = vec![0u8; 256 * 1024];
    loop {
        let wait = s.timers.peek().map(|Reverse((d, _, _))| d.saturating_sub(now_ns()));
        let n = s.ep.wait(&mut evs, wait);
        for event in &evs[..n] {
            let (flags, tok) = (event.events, event.u64);
            if tok == u64::MAX {
                loop {
                    let fd = unsafe {
                        libc::accept4(
                            lfd,
                            std::ptr::null_mut(),
                            std::ptr::null_mut(),
                            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                        )
                    };
                    if fd < 0 {
                        break;
                    }
                    nodelay(fd);
                    s.conns_total += 1;
                    s.gen = s.gen.wrapping_add(1);
                    let c = Conn {
                        fd,
                        gen: s.gen,
                        inb: Vec::new(),
                        body: Vec::new(),
                        cur: None,
                        out: Vec::new(),
                        opos: 0,
                        stream_next: 0,
                        endless: false,
                        eager: false,
                        due: 0,
                        close_after: false,
                        want_out: false,
                    };
                    let i = s.free.pop().unwrap_or_else(|| {
                        s.conns.push(None);
                        s.conns.len() - 1
                    });
                    s.conns[i] = Some(c);
                    s.ep.add(fd, IN, i as u64);
                }
                continue;
            }
            let i = tok as usize;
            if s.conns[i].is_none() {
                continue;
            }
            if flags & OUT != 0 && !s.flush(i) {
                continue;
            }
            if flags & !OUT != 0 {
                let fd = s.conns[i].as_ref().unwrap().fd;
                match read(fd, &mut buf) {
                    Io::Data(n) => {
                        let c = s.conns[i].as_mut().unwrap();
                        let mut at = 0; // a body in progress is read without a detour through `inb`
                        if c.inb.is_empty() && c.stream_next == 0 {
                            if let Some((b, _, _)) = c.cur.as_mut() {
                                if !b.done {
                                    match b.feed(&buf[..n], &mut c.body) {
                                        Ok(k) => at = k,
                                        Err(BadFraming) => {
                                            s.close(i);
                                            continue;
                                        }
                                    }
                                }
                            }
                        }
                        let c = s.conns[i].as_mut().unwrap();
                        c.inb.extend_from_slice(&buf[at..n]);
                        s.input(i);
                    }
                    Io::Block => {}
                    _ => s.close(i),
                }
            }
        }
        s.tick();
    }
}
