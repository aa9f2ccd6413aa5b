//! Which model of a target is left alone that asked for it.

use std::io::Write;

use crate::harness::{Request, TestGateway, Then, Upstream};

#[test]
fn a_model_that_is_to_be_left_alone_keeps_no_other_from_its_target() {
    let second = Upstream::start();
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: primary, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: openai, base_url: 'http://{}/v1', priority: 1}}\n",
        second.address()
    ));
    gateway.upstream.behave(|request, client| {
        let is_busy = request.body.windows(4).any(|word| word == b"busy");
        let begun = if is_busy { "429 Slow\r\nRetry-After: 30" } else { "200 OK" };
        write!(
            client,
            "HTTP/1.1 {begun}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )?;
        Ok(Then::KeepOpen)
    });
    for (model, first, other) in [("busy", 1, 1), ("idle", 2, 1), ("busy", 2, 2), ("idle", 3, 2)] {
        let request = Request::chat().json(format!(r#"{{"model":"{model}","messages":[]}}"#));
        assert_eq!(gateway.ask(&request).status, 200);
        let asked = (gateway.upstream.requests().len(), second.requests().len());
        assert_eq!(asked, (first, other), "{model}");
    }
}
