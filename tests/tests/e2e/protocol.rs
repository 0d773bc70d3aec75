//! Requests as only a hand writes them: legal but rare ones are served, ambiguous and broken ones refused.

use mayfly_tests::{Folder, Platform};
use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

const SAYS: &str = "const http = require('node:http');\n\
    http.createServer((q, r) => {\n  let body = '';\n  q.on('data', (c) => { body += c; });\n  \
    q.on('end', () => r.end(JSON.stringify({ method: q.method, url: q.url, headers: q.headers, body })));\n}).listen(process.env.MAYFLY_SOCKET);\n";

/// Sends bytes as they are and reads until the peer hangs up.
fn raw(platform: &Platform, bytes: &[u8]) -> String {
    let mut stream = platform.gateway().connect().unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// "gateway: hyper 1; … bodies streamed": HEAD, HTTP/1.0, `Expect: 100-continue`, the absolute form, pipelines.
#[test]
fn rare_requests_are_served() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("rare", "", SAYS));
    platform.deploy(&Folder::python("rare-py", "", "def handler(event, context):\n    return 'x' * 100\n"));
    for path in ["/rare", "/rare-py"] {
        let head = raw(&platform, format!("HEAD {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    }
    let old = raw(&platform, b"GET /rare/old HTTP/1.0\r\n\r\n");
    assert!(old.contains(" 200 OK\r\n") && old.contains("\"url\":\"/old\""), "{old}");
    assert!(!old.to_ascii_lowercase().contains("transfer-encoding"), "HTTP/1.0 knows no chunks: {old}");
    let absolute = raw(&platform, b"GET http://a.example/rare/abs?x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(absolute.contains("\"url\":\"/abs?x\""), "{absolute}");
    let two = b"GET /rare/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /rare/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let pipelined = raw(&platform, two);
    let (first, second) = (pipelined.find("\"url\":\"/1\""), pipelined.find("\"url\":\"/2\""));
    assert!(first.is_some() && first < second, "{pipelined}");

    let mut stream = platform.gateway().connect().unwrap();
    let head =
        "POST /rare HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 25];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"body\":\"body\""), "{answer}");

    // What belongs to the connection stays with it; who called is told.
    let answer = platform.gateway().with("keep-alive", "x").with("te", "trailers").with("x-forwarded-for", "10.9.9.9");
    let seen = answer.get("/rare").ok().json();
    assert!(seen["headers"].get("keep-alive").is_none(), "{seen}");
    // Trailers are passed on, so a client that takes them is told of (RFC 9110 §10.1.4); a stranger's claim is not.
    assert_eq!(seen["headers"]["te"], "trailers");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-prefix"], "/rare");
    // Encoded slashes and dots reach the function as they were sent.
    assert_eq!(platform.gateway().get("/rare/a%2Fb/..%2f?q=%00").ok().json()["url"], "/a%2Fb/..%2f?q=%00");
}

/// A request that two readers could read in two ways is refused, before a function could be one of them.
#[test]
fn broken_requests_are_refused() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("strict", "", SAYS));
    for (what, request) in [
        ("no request line", &b"nonsense\r\n\r\n"[..]),
        ("binary", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("two lengths", b"POST /strict HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde"),
        ("no length", b"POST /strict HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n"),
        ("a space before the colon", b"GET /strict HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("a zero byte", b"GET /strict HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n"),
        ("no chunk", b"POST /strict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"),
    ] {
        let answer = raw(&platform, request);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 502 ");
        assert!(refused, "{what}: {answer}");
        // Whoever finds the fault, it is told as every other one.
        let told = !answer.starts_with("HTTP/1.1 400 ") || answer.contains("\"code\":\"bad_request\"");
        assert!(told, "{what}: {answer}");
    }
    // Length and chunks: chunks win, the length does not reach the function (RFC 9112 §6.3), and the connection ends,
    // though nobody asked for it (§6.1).
    let (length, chunked) = ("content-length: 40\r\n", "transfer-encoding: chunked\r\n");
    for framing in [[length, chunked].concat(), [chunked, length].concat()] {
        let both = format!(
            "POST /strict HTTP/1.1\r\nhost: a\r\n{framing}\r\n3\r\nabc\r\n0\r\n\r\n\
             GET /strict/smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let answer = raw(&platform, both.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200"), "{framing}: {answer}");
        assert!(
            answer.contains("\"body\":\"abc\"") && !answer.contains("content-length\":\"40"),
            "{framing}: {answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n") && !answer.contains("smuggled"), "{framing}: {answer}");
    }
    platform.gateway().get("/strict").ok();
}

/// "bounded waiting while an instance starts": two hundred calls meet a function that sleeps; one instance is started,
/// and all are served.
#[test]
fn a_stampede_on_a_sleeping_function_is_served() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("woken", "concurrency = 500\n[scale]\nmax = 1", SAYS));
    platform.gateway().get("/woken").ok();
    platform.kill_instances("woken");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let call = || platform.gateway().try_send("GET", "/woken", b"").map_or(0, |answer| answer.status);
        let calls: Vec<_> = (0..200).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(platform.instances("woken").len(), 1);
}

/// Clients that say nothing hold nothing up, and are sent away in time.
#[test]
fn silent_connections_hold_nothing_up() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("patient", "", SAYS));
    let silent: Vec<_> = (0..300)
        .map(|turn| {
            let mut stream = platform.gateway().connect().unwrap();
            if turn % 2 == 0 {
                stream.write_all(b"GET /patient HTTP/1.1\r\nhost: ").unwrap();
            }
            stream
        })
        .collect();
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        platform.gateway().get("/patient").ok();
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(silent);
}
