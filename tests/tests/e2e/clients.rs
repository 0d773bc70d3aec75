//! The protocols that clients bring, spoken by the clients that people have: curl, h2load, grpcio, websockets.

use mayfly_tests::{Folder, Platform, eventually, python, until};
use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const SAYS: &str = "const http = require('node:http');\n\
    http.createServer((q, r) => {\n  let size = 0;\n  q.on('data', (c) => { size += c.length; });\n  \
    q.on('end', () => r.end(JSON.stringify({ url: q.url, version: q.httpVersion, headers: q.headers, size })));\n}).listen(process.env.MAYFLY_SOCKET);\n";

const ECHO: &str = "import asyncio, os\nfrom websockets.asyncio.server import unix_serve\n\
    async def echo(socket):\n    async for message in socket:\n        await socket.send(message)\n\
    async def main():\n    async with unix_serve(echo, os.environ['MAYFLY_SOCKET'], subprotocols=['chat'], ping_interval=None):\n        \
    await asyncio.get_running_loop().create_future()\nasyncio.run(main())\n";

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

/// "HTTP/2 (… h2c)": by prior knowledge, with a body both ways, and many streams on few connections.
#[test]
fn http2_is_served_in_the_clear() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("two", "", SAYS));
    let url = format!("{}/two/a?b=1", platform.gateway_url());
    let wanted = "\n%{http_version} %{http_code} %header{mayfly-revision}";
    let said = run(
        "curl",
        &[
            "-sS",
            "--http2-prior-knowledge",
            "-w",
            wanted,
            "-H",
            "cookie: a=1",
            "-H",
            "cookie: b=2",
            "-d",
            "hello",
            &url,
        ],
    );
    let (body, line) = said.rsplit_once('\n').unwrap();
    assert_eq!(line, "2 200 two@1", "{said}");
    let seen: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((seen["url"].as_str(), seen["version"].as_str()), (Some("/a?b=1"), Some("1.1")), "{seen}");
    let host = platform.gateway_url().strip_prefix("http://").unwrap();
    assert_eq!((seen["headers"]["host"].as_str(), seen["size"].as_u64()), (Some(host), Some(5)), "{seen}");
    assert_eq!(seen["headers"]["cookie"], "a=1; b=2");
    // A fault is the same document as over HTTP/1.1.
    let missing = format!("{}/nobody-there", platform.gateway_url());
    let said = run("curl", &["-sS", "--http2-prior-knowledge", "-w", "\n%{http_code}", &missing]);
    assert!(said.contains("\"code\":\"route_not_found\"") && said.ends_with("404"), "{said}");

    let load = run("h2load", &["-n", "2000", "-c", "4", "-m", "20", &url]);
    assert!(load.contains("2000 succeeded, 0 failed, 0 errored"), "{load}");
    assert!(load.contains("status codes: 2000 2xx"), "{load}");
}

/// "gRPC end to end with trailers": the example, called by grpcio.
#[test]
fn grpc_goes_end_to_end() {
    let platform = Platform::shared();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web-grpc");
    platform.mayfly(&["deploy", example.to_str().unwrap()]).ok();
    let target = platform.gateway_url().strip_prefix("http://").unwrap();
    let said = python::run("grpc_client.py", &[target]);
    assert!(said.ends_with("twenty calls at once\n"), "{said}");
    // The deadline reached the function: it stopped by itself.
    eventually(Duration::from_secs(10), "the function saw that its caller is gone", || {
        platform.logs("web-grpc").iter().any(|line| line["text"].as_str().is_some_and(|text| text.contains("is gone")))
    });
}

/// "WebSocket (… counted as one call until it closes …)".
#[test]
fn websockets_pass_both_ways() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python_server("sockets", "", ECHO).file("requirements.txt", "websockets==17.4\n"));
    platform.deploy(&Folder::node_server("plain", "", SAYS));
    let base = platform.gateway_url().replace("http://", "ws://");
    let said = python::run("ws_client.py", &[&format!("{base}/sockets/chat"), &format!("{base}/plain")]);
    assert!(said.contains("echoed, closed 1000") && said.contains("refused 200"), "{said}");
    let last = until(Duration::from_secs(10), "the socket is one call that ended well", || {
        let list = platform.api().get("/v1/functions/sockets/invocations").ok().json();
        list["invocations"].as_array().filter(|all| all.len() == 1).cloned()
    });
    assert_eq!((last[0]["status"].as_u64(), last[0]["outcome"].as_str()), (Some(101), Some("ok")), "{last:?}");
}

/// "… or the timeout": an idle socket is cut then, and its instance goes on.
#[test]
fn a_websocket_ends_at_the_timeout() {
    let platform = Platform::shared();
    let folder = Folder::python_server("cut", "timeout = \"1500ms\"", ECHO);
    platform.deploy(&folder.file("requirements.txt", "websockets==17.4\n"));
    let before = platform.instances("cut");
    let mut stream = platform.gateway().connect().unwrap();
    let head = "GET /cut HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let begun = Instant::now();
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen);
    let answer = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    assert!((1.0..10.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert_eq!(platform.instances("cut")[0]["id"], before[0]["id"], "the instance did nothing wrong");
}

/// "100-continue (the function's refusal reaches the client before the body is sent …; never a client that hangs)".
#[test]
fn a_refusal_comes_before_the_body() {
    let platform = Platform::shared();
    let code = "const http = require('node:http');\nconst server = http.createServer((q, r) => { q.resume(); q.on('end', () => r.end('took')); });\n\
        server.on('checkContinue', (q, r) => {\n  if (q.url === '/no') { r.writeHead(403, { connection: 'close' }); r.end('no'); }\n  \
        else if (q.url === '/mute') { q.resume(); q.on('end', () => r.end('mute')); }\n  \
        else { r.writeContinue(); server.emit('request', q, r); }\n});\nserver.listen(process.env.MAYFLY_SOCKET);\n";
    platform.deploy(&Folder::node_server("careful", "", code));
    let begin = |path: &str| {
        let mut stream = platform.gateway().connect().unwrap();
        let head = format!(
            "POST /careful/{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).unwrap();
        (String::from_utf8_lossy(&buffer).into_owned(), stream)
    };
    let (first, _stream) = begin("no");
    assert_eq!(first, "HTTP/1.1 403", "no 100 was said, and no body was sent");
    for (path, word) in [("yes", "took"), ("mute", "mute")] {
        let (first, mut stream) = begin(path);
        assert_eq!(first, "HTTP/1.1 100", "{path}");
        stream.write_all(b"body").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(" 200 OK") && rest.ends_with(word), "{path}: {rest}");
    }
}

/// "trailers on HTTP/1.1", from the client to the function and back.
#[test]
fn trailers_pass_both_ways() {
    let platform = Platform::shared();
    let code = "const http = require('node:http');\nhttp.createServer((q, r) => {\n  q.resume();\n  q.on('end', () => {\n    \
        r.writeHead(200, { trailer: 'x-after' });\n    r.write('sent ' + q.trailers['x-sum']);\n    \
        r.addTrailers({ 'x-after': 'all' });\n    r.end();\n  });\n}).listen(process.env.MAYFLY_SOCKET);\n";
    platform.deploy(&Folder::node_server("trailing", "", code));
    let mut stream = platform.gateway().connect().unwrap();
    let request = "POST /trailing HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\ntrailer: x-sum\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("sent 42"), "{answer}");
    assert!(answer.ends_with("0\r\nx-after: all\r\n\r\n"), "{answer}");
}
