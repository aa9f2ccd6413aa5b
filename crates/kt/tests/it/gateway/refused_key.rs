//! A provider that refuses the gateway's key: whoever runs the gateway is told, and not by each request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use rustix::process::Signal;

use super::Http;
use super::process::Place;

/// A provider that refuses every key.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            // A small request comes in one piece; what it says does not matter here.
            let _ = client.read(&mut [0; 4096]).unwrap();
            client.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
        }
    });
    address
}

#[test]
fn a_key_that_is_refused_again_and_again_is_told_once() {
    let target = format!("{{id: primary, provider: openai, base_url: 'http://{}/v1'}}", provider());
    let config = format!("pack: {{name: test, version: 1.0.0}}\nproviders: {{targets: [{target}]}}\n");
    let place = Place::with(&config);
    let process = place.start(&[]);
    for _ in 0..3 {
        let answer = Http::connect(process.gateway()).unwrap().chat().unwrap();
        assert_eq!((answer.status, answer.code()), (502, "upstream_key_refused".to_owned()));
    }
    // What comes later in the log comes after all that the requests have left there.
    process.signal(Signal::HUP);
    process.complains_of("the configuration is as it was");
    let errors = process.errors();
    assert_eq!(errors.matches("refuses the gateway's key").count(), 1, "{errors}");
    assert!(errors.contains("target_id=primary"), "{errors}");
    process.terminate();
}
