//! What a request has to keep to, and how its breach is told: a document of ours, whoever found it.

use mayfly_tests::{Folder, Platform, Start};
use std::{
    io::{Read, Write},
    process::Command,
};

const TAKES: &str = "const http = require('node:http');\n\
    http.createServer((q, r) => { q.resume(); q.on('end', () => r.end('took')); }).listen(process.env.MAYFLY_SOCKET);\n";

/// Sends bytes and reads to the end: status, and the code of the document.
fn refused(platform: &Platform, request: &str) -> (u16, String) {
    let mut stream = platform.gateway().connect().unwrap();
    // The answer may come before all is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split("\r\n\r\n").nth(1).unwrap_or("");
    let document: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    assert!(status == 200 || text.contains("application/problem+json"), "{text}");
    (status, document["code"].as_str().unwrap_or("").to_owned())
}

/// "body, header and URL limits (431/414/413 as problem documents of ours, not hyper's silent ones)".
#[test]
fn limits_are_told_as_problems() {
    let args = ["--url-max", "1KiB", "--head-max", "16KiB", "--body-max", "1MiB"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Start { args, ..Start::default() });
    platform.deploy(&Folder::node_server("takes", "", TAKES));
    let get = |path: &str, headers: &str| {
        format!("GET /takes{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
    };
    let long = |size: usize| "a".repeat(size);
    let many: String = (0..150).map(|n| format!("x{n}: 1\r\n")).collect();
    let chunks = format!("{:x}\r\n{}\r\n", 600 << 10, long(600 << 10)).repeat(3);
    for (what, request, status, code) in [
        ("within all limits", get("?q=1", "x: 1\r\n"), 200, ""),
        ("a long URL", get(&format!("?q={}", long(1100)), ""), 414, "uri_too_long"),
        ("a very long URL", get(&format!("?q={}", long(70_000)), ""), 431, "headers_too_large"),
        ("a long head", get("", &format!("x: {}\r\n", long(17_000))), 431, "headers_too_large"),
        ("a very long head", get("", &format!("x: {}\r\n", long(3 << 20))), 431, "headers_too_large"),
        ("many headers", get("", &many), 431, "headers_too_large"),
        ("no HTTP", "nonsense\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            "a long body",
            format!("POST /takes HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}", 2 << 20, long(2 << 20)),
            413,
            "request_too_large",
        ),
        (
            "a long stream",
            format!("POST /takes HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
            413,
            "request_too_large",
        ),
    ] {
        let got = refused(&platform, &request);
        let fits = got == (status, code.to_owned()) || (what == "a very long URL" && got.0 == 414);
        assert!(fits, "{what}: {got:?}");
    }
    // The same over HTTP/2, and the platform goes on.
    let url = platform.gateway_url();
    for (path, header, want) in [
        (format!("/takes?q={}", long(1100)), "x: 1".to_owned(), "uri_too_long"),
        ("/takes".to_owned(), format!("x: {}", long(17_000)), "headers_too_large"),
        ("/takes".to_owned(), "x: 1".to_owned(), "took"),
    ] {
        let args = ["-sS", "--http2-prior-knowledge", "-H", &header, &format!("{url}{path}")];
        let output = Command::new("curl").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(want), "{want}: {text} {}", String::from_utf8_lossy(&output.stderr));
    }
}
