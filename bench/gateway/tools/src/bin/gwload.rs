//! Load client: HTTP/1.1 over loopback, one thread, epoll.
//!   gwload --addr 127.0.0.1:8080 [--src 127.0.0.1] [--conns 32] [--secs 3]
//!          [--rate R] [--method POST] [--path /v1/chat/completions]
//!          [--header 'K: V']... [--body FILE] [--expect 200] [--sse] [--max N]
//! Without --rate: closed loop, each connection sends its next request when the
//! last answer has ended. With --rate: requests fall due at a constant rate and
//! latency counts from when each fell due, not from when it was sent.
//! Prints one JSON object. A request counts as `ok` only when the answer was
//! whole, had the expected status and, with --sse, had 50 events and ended in
//! [DONE] (--no-done: for a gateway that swallows [DONE]).
use gwbench::*;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::raw::c_int;

struct Conn {
    fd: c_int, // -1: not connected
    busy: bool,
    connecting: bool,
    want_out: bool,
    opos: usize,
    t0: u64,
    first: u64,
    inb: Vec<u8>,
    head: Option<(u16, bool)>, // status, close
    body: Option<Body>,
    sink: Vec<u8>,
    gaps: u64, // largest gap between reads of one answer
    last_read: u64,
}

fn pct(v: &[u32], p: f64) -> f64 {
    if v.is_empty() {
        return -1.0;
    }
    let i = ((v.len() as f64 * p).ceil() as usize).clamp(1, v.len()) - 1;
    v[i] as f64
}

fn main() {
    let mut addr: Option<SocketAddrV4> = None;
    let mut src: Option<SocketAddrV4> = None;
    let (mut nconn, mut secs, mut rate, mut expect, mut sse, mut max) =
        (32usize, 3.0f64, 0.0f64, 200u16, false, u64::MAX);
    let (mut method, mut path, mut headers, mut body) =
        ("POST".to_string(), "/v1/chat/completions".to_string(), Vec::<String>::new(), Vec::new());
    let mut need_done = true;
    let mut it = std::env::args().skip(1);
    while let Some(k) = it.next() {
        if k == "--sse" || k == "--no-done" {
            sse = true;
            need_done &= k != "--no-done";
            continue;
        }
        let v = it.next().unwrap_or_else(|| panic!("{k} needs a value"));
        match k.as_str() {
            "--addr" => addr = Some(v.parse().expect("--addr")),
            "--src" => src = Some(SocketAddrV4::new(v.parse::<Ipv4Addr>().expect("--src"), 0)),
            "--conns" => nconn = v.parse().unwrap(),
            "--secs" => secs = v.parse().unwrap(),
            "--rate" => rate = v.parse().unwrap(),
            "--method" => method = v,
            "--path" => path = v,
            "--header" => headers.push(v),
            "--body" => body = std::fs::read(v).expect("--body"),
            "--expect" => expect = v.parse().unwrap(),
            "--max" => max = v.parse().unwrap(),
            o => panic!("unknown option {o}"),
        }
    }
    let addr = addr.expect("--addr");
    assert!(addr.ip().is_loopback(), "loopback only");
    let mut req = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n");
    for h in &headers {
        req.push_str(h);
        req.push_str("\r\n");
    }
    if method == "POST" {
        req.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    req.push_str("\r\n");
    let mut req = req.into_bytes();
    req.extend_from_slice(&body);

    let ep = Epoll::open();
    let mut cs: Vec<Conn> = (0..nconn)
        .map(|_| Conn {
            fd: -1,
            busy: false,
            connecting: false,
            want_out: false,
            opos: 0,
            t0: 0,
            first: 0,
            inb: Vec::new(),
            head: None,
            body: None,
            sink: Vec::new(),
            gaps: 0,
            last_read: 0,
        })
        .collect();
    let mut idle: Vec<usize> = (0..nconn).rev().collect();
    let mut queue: VecDeque<u64> = VecDeque::new();
    let (mut lat, mut ttfb, mut gaps) = (Vec::<u32>::new(), Vec::<u32>::new(), Vec::<u32>::new());
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    let (mut ok, mut bad, mut resets, mut reconnects, mut bytes, mut events, mut issued) =
        (0u64, 0u64, 0u64, 0u64, 0u64, 0u64, 0u64);
    let mut sample: Option<String> = None;
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    let mut buf = vec![0u8; 256 * 1024];
    let t_start = now_ns();
    let t_end = t_start + (secs * 1e9) as u64;
    let hard = t_end + 5_000_000_000;
    let step = if rate > 0.0 { 1e9 / rate } else { 0.0 };
    let mut k_due = 0u64;
    let mut t_last = t_start;
    let mut consecutive_fail = 0u64;

    macro_rules! drop_conn {
        ($i:expr) => {{
            let c = &mut cs[$i];
            if c.fd >= 0 {
                unsafe { libc::close(c.fd) };
            }
            c.fd = -1;
            c.want_out = false;
        }};
    }
    'main: loop {
        let now = now_ns();
        if now > hard {
            break;
        }
        if rate > 0.0 {
            loop {
                let due = t_start + (k_due as f64 * step) as u64;
                if due > now || due >= t_end || issued + queue.len() as u64 >= max {
                    break;
                }
                queue.push_back(due);
                k_due += 1;
            }
        }
        // hand work to idle connections
        while !idle.is_empty() {
            let t0 = if rate > 0.0 {
                match queue.pop_front() {
                    Some(t) => t,
                    None => break,
                }
            } else {
                if now >= t_end || issued >= max {
                    break;
                }
                now_ns()
            };
            let i = idle.pop().unwrap();
            issued += 1;
            if cs[i].fd < 0 {
                match connect(&addr, src) {
                    Ok(fd) => {
                        cs[i].fd = fd;
                        cs[i].connecting = true;
                        cs[i].want_out = true;
                        ep.add(fd, IN | OUT, i as u64);
                        reconnects += 1;
                    }
                    Err(e) => {
                        eprintln!("connect: {e}");
                        bad += 1;
                        idle.push(i);
                        break 'main;
                    }
                }
            }
            let c = &mut cs[i];
            c.busy = true;
            c.opos = 0;
            c.t0 = t0;
            c.first = 0;
            c.gaps = 0;
            c.last_read = 0;
            c.head = None;
            c.body = None;
            c.sink.clear();
            c.inb.clear();
            if !c.connecting {
                if let Io::Data(n) = write(c.fd, &req[c.opos..]) {
                    c.opos += n;
                }
                if c.opos < req.len() && !c.want_out {
                    c.want_out = true;
                    ep.modify(c.fd, IN | OUT, i as u64);
                }
            }
        }
        let busy = idle.len() < nconn;
        let finished = if rate > 0.0 {
            (now >= t_end || issued >= max) && queue.is_empty()
        } else {
            now >= t_end || issued >= max
        };
        if finished && !busy {
            break;
        }
        let wait = if rate > 0.0 && !finished {
            let due = t_start + (k_due as f64 * step) as u64;
            due.min(t_end).saturating_sub(now_ns())
        } else {
            50_000_000
        };
        let n = ep.wait(&mut evs, Some(wait));
        for event in &evs[..n] {
            let (flags, i) = (event.events, event.u64 as usize);
            if cs[i].fd < 0 {
                continue;
            }
            let mut done: Option<bool> = None; // Some(keep)
            let mut fail = false;
            if flags & OUT != 0 && cs[i].busy {
                let c = &mut cs[i];
                c.connecting = false;
                while c.opos < req.len() {
                    match write(c.fd, &req[c.opos..]) {
                        Io::Data(n) => c.opos += n,
                        Io::Block => break,
                        _ => {
                            c.opos = req.len(); // the answer, if any, is still to be read
                            break;
                        }
                    }
                }
                if c.opos >= req.len() && c.want_out {
                    c.want_out = false;
                    ep.modify(c.fd, IN, i as u64);
                }
            }
            if flags & !OUT != 0 {
                loop {
                    let r = read(cs[i].fd, &mut buf);
                    let c = &mut cs[i];
                    match r {
                        Io::Data(n) => {
                            let t = now_ns();
                            bytes += n as u64;
                            if !c.busy {
                                fail = true;
                                break;
                            }
                            if c.last_read > 0 {
                                c.gaps = c.gaps.max(t - c.last_read);
                            }
                            c.last_read = t;
                            let data: &[u8];
                            let tmp;
                            if c.body.is_none() {
                                c.inb.extend_from_slice(&buf[..n]);
                                while let Some(h) = parse_head(&c.inb) {
                                    if h.status == 100 {
                                        c.inb.drain(..h.len);
                                        continue;
                                    }
                                    let nobody = h.status == 204 || h.status == 304;
                                    let f = if nobody {
                                        Framing::Length(0)
                                    } else {
                                        h.framing.unwrap_or(Framing::Eof)
                                    };
                                    c.head = Some((h.status, h.close || f == Framing::Eof));
                                    c.body = Some(Body::new(f));
                                    c.inb.drain(..h.len);
                                    break;
                                }
                                if c.body.is_none() {
                                    continue;
                                }
                                tmp = std::mem::take(&mut c.inb);
                                data = &tmp;
                            } else {
                                data = &buf[..n];
                            }
                            let before = c.sink.len();
                            let b = c.body.as_mut().unwrap();
                            if b.feed(data, &mut c.sink).is_err() {
                                fail = true;
                                break;
                            }
                            if c.first == 0 && (c.sink.len() > before || b.done) {
                                c.first = t;
                            }
                            if b.done {
                                done = Some(!c.head.unwrap().1 && c.opos >= req.len());
                                break;
                            }
                            if n < buf.len() {
                                break;
                            }
                        }
                        Io::Block => break,
                        Io::Eof | Io::Err => {
                            let eof_framed = matches!(&c.body, Some(b) if !b.done)
                                && c.head.map(|h| h.1).unwrap_or(false)
                                && matches!(r, Io::Eof);
                            if c.busy && eof_framed {
                                done = Some(false);
                            } else {
                                fail = true;
                            }
                            break;
                        }
                    }
                }
            }
            if let Some(keep) = done {
                consecutive_fail = 0;
                let c = &mut cs[i];
                let t = now_ns();
                t_last = t;
                let st = c.head.unwrap().0;
                *statuses.entry(st).or_default() += 1;
                let mut good = st == expect;
                if good && sse {
                    let ev = memchr::memmem::find_iter(&c.sink, b"data:").count() as u64;
                    events += ev;
                    let tail = &c.sink[c.sink.len().saturating_sub(64)..];
                    good = (!need_done || memchr::memmem::find(tail, b"[DONE]").is_some()) && ev >= 50;
                }
                if sample.is_none() {
                    sample = Some(String::from_utf8_lossy(&c.sink[..c.sink.len().min(160)]).into_owned());
                }
                if good {
                    ok += 1;
                    lat.push(((t - c.t0) / 1000) as u32);
                    ttfb.push((c.first.saturating_sub(c.t0) / 1000) as u32);
                    gaps.push((c.gaps / 1000) as u32);
                } else {
                    bad += 1;
                }
                c.busy = false;
                idle.push(i);
                if !keep {
                    drop_conn!(i);
                }
            } else if fail {
                if cs[i].busy {
                    resets += 1;
                    consecutive_fail += 1;
                    cs[i].busy = false;
                    idle.push(i);
                }
                drop_conn!(i);
                if consecutive_fail > 20_000 {
                    break 'main;
                }
            }
        }
    }
    let unfinished = (nconn - idle.len()) as u64;
    lat.sort_unstable();
    ttfb.sort_unstable();
    gaps.sort_unstable();
    let dur = (t_last.max(t_start + 1) - t_start) as f64 / 1e9;
    let mut ru: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut ru) };
    let cpu = ru.ru_utime.tv_sec as f64
        + ru.ru_utime.tv_usec as f64 / 1e6
        + ru.ru_stime.tv_sec as f64
        + ru.ru_stime.tv_usec as f64 / 1e6;
    let st: Vec<String> = statuses.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    let done_n = ok + bad;
    println!(
        "{{\"ok\":{ok},\"bad\":{bad},\"resets\":{resets},\"unfinished\":{unfinished},\"connects\":{reconnects},\"secs\":{dur:.4},\"rps\":{:.1},\"status\":{{{}}},\"lat_us\":{{\"p50\":{},\"p90\":{},\"p99\":{},\"max\":{}}},\"ttfb_us\":{{\"p50\":{},\"p99\":{}}},\"gap_us\":{{\"p50\":{},\"p99\":{}}},\"events_per_ok\":{:.2},\"bytes\":{bytes},\"client_cpu_us_per_req\":{:.2},\"sample\":{:?}}}",
        done_n as f64 / dur, st.join(","),
        pct(&lat, 0.5), pct(&lat, 0.9), pct(&lat, 0.99), pct(&lat, 1.0), pct(&ttfb, 0.5), pct(&ttfb, 0.99), pct(&gaps, 0.5), pct(&gaps, 0.99),
        if sse && done_n > 0 { events as f64 / done_n as f64 } else { 0.0 },
        if done_n > 0 { cpu * 1e6 / done_n as f64 } else { 0.0 },
        sample.unwrap_or_default().chars().filter(|c| c.is_ascii() && !c.is_control()).collect::<String>()
    );
}
