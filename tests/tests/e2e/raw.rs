//! Requests and answers as no honest peer writes them: what is refused, and what the other side sees of the rest.

use mayfly_tests::{Folder, Platform, eventually};
use serde_json::Value;
use std::{
    io::{Read, Write},
    time::Duration,
};

/// Answers with what it was asked, and remembers every URL.
const SEES: &str = r#"
const urls = [];
const server = require('node:http').createServer((q, r) => {
  if (q.url === '/urls') return r.end(JSON.stringify(urls));
  urls.push(q.url);
  let body = '';
  q.on('data', (piece) => { body += piece; });
  q.on('end', () => r.end(JSON.stringify({ url: q.url, method: q.method, headers: q.headers, raw: q.rawHeaders, body })));
});
server.listen(process.env.MAYFLY_SOCKET);
"#;

/// Sends bytes and reads to the end.
fn exchange(platform: &Platform, request: &[u8]) -> String {
    let mut stream = platform.gateway().connect().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(request);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
}

/// What the function saw, as it told it in the first answer.
fn seen(text: &str) -> Value {
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let end = body.rfind('}').map_or(0, |end| end + 1);
    serde_json::from_str(&body[..end]).unwrap_or(Value::Null)
}

/// Request smuggling and its kin (RFC 9112 §3.2, §5, §6): refused, or read in one way only and passed on in that.
#[test]
fn a_request_is_read_in_one_way_only() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("sees", "", SEES));
    let post = |headers: &str, body: &str| {
        format!("POST /sees/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n{body}")
    };
    let get = |headers: &str| format!("GET /sees/x HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    let smuggled = "GET /sees/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunk = "3\r\nabc\r\n0\r\n\r\n";
    for (what, request, want) in [
        // Lengths.
        ("a length", post("Content-Length: 3\r\n", "abc"), 200),
        ("the same length twice", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 200),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 44\r\n", smuggled), 400),
        ("a list of lengths", post("Content-Length: 0, 44\r\n", smuggled), 400),
        ("a signed length", post("Content-Length: +3\r\n", "abc"), 400),
        ("a negative length", post("Content-Length: -3\r\n", "abc"), 400),
        ("a length in hex", post("Content-Length: 0x3\r\n", "abc"), 400),
        ("an empty length", post("Content-Length: \r\n", "abc"), 400),
        ("a length of words", post("Content-Length: 3 3\r\n", "abc"), 400),
        ("a length that is too long", post("Content-Length: 99999999999999999999999\r\n", "abc"), 400),
        // Encodings.
        ("chunks", post("Transfer-Encoding: chunked\r\n", chunk), 200),
        ("chunks in capitals", post("Transfer-Encoding: CHUNKED\r\n", chunk), 200),
        ("an unknown encoding", post("Transfer-Encoding: xchunked\r\n", chunk), 400),
        ("chunks that are not last", post("Transfer-Encoding: chunked, identity\r\n", chunk), 400),
        ("no encoding", post("Transfer-Encoding: identity\r\n", chunk), 400),
        ("chunks twice, once unknown", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", chunk), 400),
        ("a control character in front", post("Transfer-Encoding: \x0bchunked\r\n", chunk), 400),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", chunk), 400),
        ("a folded encoding", post("Transfer-Encoding:\r\n chunked\r\n", chunk), 400),
        ("a folded header", post("X: 1\r\n 2\r\nContent-Length: 0\r\n", ""), 400),
        ("chunks of HTTP/1.0", post("Transfer-Encoding: chunked\r\n", chunk).replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("a size that is none", post("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n0\r\n\r\n"), 400),
        ("a negative size", post("Transfer-Encoding: chunked\r\n", "-1\r\nabc\r\n0\r\n\r\n"), 400),
        (
            "a size that is too long",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            400,
        ),
        ("a chunk that is longer than its size", post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"), 400),
        // Heads.
        ("a line without a colon", get("Host: a\r\nnonsense\r\n"), 400),
        ("a name with a space", get("Host: a\r\nx y: 1\r\n"), 400),
        ("a NUL", get("Host: a\r\nx: a\0b\r\n"), 400),
        ("a bare CR", get("Host: a\r\nx: a\rb\r\n"), 400),
        ("no name", get("Host: a\r\n: 1\r\n"), 400),
        ("another version", "GET /sees/x HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("two spaces", "GET  /sees/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("no host", get(""), 400),
        ("two hosts", get("Host: a\r\nHost: b\r\n"), 400),
        ("a host with a path", get("Host: a/b\r\n"), 400),
        ("a host with a user", get("Host: me@a\r\n"), 400),
        ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("the server itself", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), 404),
    ] {
        let text = exchange(&platform, request.as_bytes());
        let got = statuses(&text);
        assert_eq!(got.first(), Some(&want), "{what}: {text}");
        if want == 200 {
            let (seen, chunked) = (seen(&text), request.to_ascii_lowercase().contains("transfer-encoding"));
            assert_eq!(seen["body"], "abc", "{what}: {seen}");
            let lengths = seen["raw"].as_array().unwrap().iter().filter(|name| *name == "content-length").count();
            assert_eq!(lengths, usize::from(!chunked), "{what}: {seen}");
        } else {
            assert_eq!(got.len(), 1, "{what}: nothing behind it is read: {text}");
            assert!(text.contains("application/problem+json"), "{what}: {text}");
        }
    }
    // An expectation that nobody has is the function's to refuse, and this one does.
    let text = exchange(&platform, post("Expect: cake\r\nContent-Length: 3\r\n", "abc").as_bytes());
    assert_eq!(statuses(&text), [417], "{text}");
    let urls: Vec<String> = serde_json::from_str(&platform.gateway().get("/sees/urls").ok().text()).unwrap();
    assert!(!urls.iter().any(|url| url == "/smuggled"), "{urls:?}");
}

/// RFC 9110 §7.6.1, §7.4 and RFC 9112 §3.2.2: what is the connection's stays behind, the target's host counts.
#[test]
fn a_function_sees_the_request_and_not_its_connection() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("sees", "", SEES));
    let head = "GET http://b.example:81/sees/x HTTP/1.1\r\nHost: a\r\nConnection: close, X-One\r\nConnection: x-two, host\r\n\
        X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nTE: gzip, trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
        Proxy-Authorization: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";
    let text = exchange(&platform, head.as_bytes());
    let seen = seen(&text);
    let has = |name: &str| seen["headers"][name].as_str();
    for gone in ["x-one", "x-two", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert_eq!(has(gone), None, "{gone}: {seen}");
    }
    assert_eq!((has("host"), has("x-three"), has("te")), (Some("b.example:81"), Some("3"), Some("trailers")), "{seen}");
    assert_eq!((has("x-forwarded-for"), has("x-forwarded-host")), (Some("127.0.0.1"), Some("b.example:81")));
}

/// Answers each path with its bytes, as they are.
const RUDE: &str = r#"
const answers = {
  '/fine': 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine',
  '/hints': 'HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter',
  '/many-hints': 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(50) + 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter',
  '/empty': 'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nHELLO',
  '/unchanged': 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: "x"\r\n\r\n',
  '/head': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n',
  '/both': 'HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  '/two': 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd',
  '/more': 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil',
  '/hop': 'HTTP/1.1 200 OK\r\nconnection: x-mine\r\nconnection: x-other\r\nx-mine: 1\r\nx-other: 1\r\nkeep-alive: 5\r\ncontent-length: 2\r\n\r\nok',
  '/switch': 'HTTP/1.1 101 Switching Protocols\r\nupgrade: cake\r\nconnection: upgrade\r\n\r\n',
  '/less': 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc',
};
require('node:net').createServer((socket) => {
  let head = '';
  socket.on('error', () => {});
  socket.on('data', (data) => {
    head += data;
    if (!head.includes('\r\n\r\n')) return;
    const path = head.split(' ')[1];
    head = '';
    socket.write(answers[path] ?? answers['/fine']);
    if (path === '/less') socket.end();
  });
}).listen(process.env.MAYFLY_SOCKET);
"#;

/// A function's answer is read in one way only as well, and what is wrong with one spoils no other.
#[test]
fn an_answer_is_read_in_one_way_only() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("rude", "", RUDE));
    let ask = |method: &str, path: &str| {
        let request = format!("{method} /rude{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        exchange(&platform, request.as_bytes())
    };
    for (method, path, status, body) in [
        ("GET", "/fine", 200, "fine"),
        // 1xx other than 100 is not passed on (hyper writes none); the answer behind it is.
        ("GET", "/hints", 200, "after"),
        ("GET", "/many-hints", 200, "after"),
        ("GET", "/empty", 204, ""),
        ("GET", "/unchanged", 304, ""),
        ("HEAD", "/head", 200, ""),
        ("GET", "/both", 200, "3\r\nabc\r\n0\r\n\r\n"),
        ("GET", "/two", 502, ""),
        ("GET", "/more", 200, "abc"),
        ("GET", "/hop", 200, "ok"),
        ("GET", "/switch", 502, ""),
    ] {
        let text = ask(method, path);
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        assert_eq!(statuses(&text), [status], "{path}: {text}");
        assert!(status == 502 || rest == body, "{path}: {text}");
        let head = head.to_ascii_lowercase();
        assert!(!(head.contains("transfer-encoding") && head.contains("content-length")), "{path}: {text}");
        assert!(!["x-mine", "x-other", "keep-alive"].iter().any(|name| head.contains(name)), "{path}: {text}");
        if status == 502 {
            assert!(rest.contains("response_invalid"), "{path}: {text}");
        }
        eventually(Duration::from_secs(10), "the next call has its own answer", || {
            let text = ask("GET", "/fine");
            assert!(!text.contains("evil") && !text.contains("HELLO"), "behind {path}: {text}");
            text.ends_with("\r\n\r\nfine")
        });
    }
    // Cut short: the client sees that it is, with or without what there was of it.
    let text = ask("GET", "/less");
    assert!(text.is_empty() || (text.contains("content-length: 9") && text.ends_with("abc")), "{text}");
    assert!(ask("GET", "/fine").ends_with("\r\n\r\nfine"));
}
