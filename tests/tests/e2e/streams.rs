//! HTTP/2 and long answers end to end: gRPC's faults, events, and peers that take or give nothing.

use mayfly_tests::{Folder, Platform, eventually, processes, python};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(30);

const WORDS: &str = r#"
import os, time
from concurrent import futures
import grpc

def shout(words, context):
    context.add_callback(lambda: print("over, active:", context.is_active(), flush=True))
    for word in words:
        yield word.upper()

def wait(_, context):
    while context.is_active():
        time.sleep(0.01)
    print("nobody waits", flush=True)
    return b""

HANDLERS = {
    "Shout": grpc.stream_stream_rpc_method_handler(shout),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Take": grpc.unary_unary_rpc_method_handler(lambda word, _: str(len(word)).encode()),
    "Die": grpc.unary_unary_rpc_method_handler(lambda word, _: os._exit(3)),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Words", HANDLERS),))
server.add_insecure_port("unix:" + os.environ["MAYFLY_SOCKET"])
server.start()
server.wait_for_termination()
"#;

/// gRPC: "deadline honoured, and platform's timeouts, refusals and faults appear as trailers-only answers with
/// grpc-status …, cancellation reaching the function".
#[test]
fn grpc_is_told_what_went_wrong() {
    let platform = Platform::shared();
    let route = |name: &str| format!("[[trigger]]\nhttp = {{ path = \"/t.{name}/*\" }}");
    let manifest = format!("protocol = \"h2c\"\ntimeout = \"2s\"\nrequest_max = \"64KiB\"\n{}", route("Words"));
    platform.deploy(&Folder::python_server("words", &manifest, WORDS).file("requirements.txt", "grpcio==1.85.3\n"));
    let fine = "require('node:http').createServer((q, r) => r.end('ok')).listen(process.env.MAYFLY_SOCKET);";
    let hash = "1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032";
    let access = format!("{}\n[access]\nauth = \"token\"\ntoken_sha256 = \"{hash}\"", route("Guarded"));
    platform.deploy(&Folder::node_server("guarded", &access, fine));
    platform.deploy(&Folder::node_server("limited", &format!("{}\n[rate]\nlimit = \"1/h\"", route("Limited")), fine));
    let target = platform.gateway_url().strip_prefix("http://").unwrap();
    let said = python::run("grpc_faults.py", &[target]);
    assert!(said.ends_with("six hundred at once\n"), "{said}");
    let logged = |text: &str| {
        platform.logs("words").iter().any(|line| line["text"].as_str().is_some_and(|line| line.contains(text)))
    };
    // A client that says how long it waits, and waits longer: the platform ends the call.
    let url = format!("{}/t.Words/Wait", platform.gateway_url());
    let args =
        ["-sS", "-D", "-", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-H", "te: trailers"];
    let mut curl = Command::new("curl");
    curl.args(args).args(["-H", "grpc-timeout: 300m", "--data-binary", "@-", &url]);
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    curl.stdin.take().unwrap().write_all(&[0; 5]).unwrap();
    let mut text = String::new();
    curl.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    curl.wait().unwrap();
    assert!(text.contains("grpc-status: 4") && text.contains("mayfly-error: deadline_exceeded"), "{text}");
    for heard in ["nobody waits", "over, active: False"] {
        eventually(LIMIT, "the function heard that its callers left", || logged(heard));
    }
}

/// GOAWAY at a take-over: streams in flight end well, and a client goes on elsewhere without noticing.
#[test]
fn grpc_outlives_a_take_over() {
    let mut platform = Platform::start();
    let manifest = "protocol = \"h2c\"\ntimeout = \"100s\"\n[[trigger]]\nhttp = { path = \"/t.Words/*\" }";
    platform.deploy(&Folder::python_server("words", manifest, WORDS).file("requirements.txt", "grpcio==1.85.3\n"));
    let target = platform.gateway_url().strip_prefix("http://").unwrap().to_owned();
    let mut client = python::Talk::start("grpc_talk.py", &[&target]);
    assert_eq!(client.ask("say a"), "A");
    let count = |client: &mut python::Talk| {
        let told = client.ask("count");
        let (ok, failed) = told.split_once(' ').unwrap();
        assert!(failed.starts_with("0 "), "{told}");
        ok.parse::<u64>().unwrap()
    };
    let admin = platform.admin();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually(LIMIT, "the heir serves its calls", || {
                let metrics = admin.get("/metrics").ok().text();
                client.ask("say b") == "B" && metrics.contains("mayfly_connections 1\n")
            });
            let before = count(&mut client);
            eventually(LIMIT, "it goes on", || count(&mut client) > before + 20);
            assert_eq!(client.ask("say c"), "C");
            assert_eq!(client.ask("close"), "0 OK");
        });
        platform.take_over(Duration::from_secs(60));
    });
    count(&mut client);
}

/// SSE over HTTP/2: each event comes when it is sent.
#[test]
fn events_pass_at_once() {
    let code = "let last;\nrequire('node:http').createServer((q, r) => {\n  \
        if (q.url === '/go') { last.end('data: two\\n\\n'); return r.end('gone'); }\n  \
        last = r; r.writeHead(200, { 'content-type': 'text/event-stream' }); r.write('data: one\\n\\n');\n\
        }).listen(process.env.MAYFLY_SOCKET);\n";
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("events", "", code));
    let url = format!("{}/events", platform.gateway_url());
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "--max-time", "30", "--http2-prior-knowledge", &url]).stdout(Stdio::piped());
    let mut curl = curl.spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("data: one"));
    assert_eq!(platform.gateway().get("/events/go").text(), "gone");
    assert_eq!(lines.find(|line| !line.is_empty()).as_deref(), Some("data: two"));
    assert!(curl.wait().unwrap().success());
}

const HOARD: &str = r#"
const http = require('node:http');
let taken = 0;
http.createServer((q, r) => {
  if (q.url === '/taken') return r.end(String(taken));
  if (q.url === '/mute') return void q.pause();
  const piece = Buffer.alloc(64 << 10);
  const more = () => r.write(piece, (error) => { if (!error) { taken += piece.length; more(); } });
  more();
}).listen(process.env.MAYFLY_SOCKET);
"#;
const PEERS: usize = 20;

/// Back-pressure in both directions: whoever takes nothing, the other side waits, and nothing piles up in between.
#[test]
fn held_peers_fill_nothing() {
    let platform = Platform::start();
    platform.deploy(&Folder::node_server("hoard", "timeout = \"60s\"", HOARD));
    let taken = || -> u64 { platform.gateway().get("/hoard/taken").ok().text().parse().unwrap() };
    taken();
    let before = processes::resident_mib(platform.pid());
    // Clients that ask and don't read.
    let held: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let mut stream = platform.gateway().connect().unwrap();
            stream.write_all(b"GET /hoard/endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let mut last = (0, 0);
    eventually(LIMIT, "the function cannot send any more", || {
        let now = taken();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        now > 0 && last.1 == 30
    });
    // The sockets of both hops are the kernel's; a few MiB each at most.
    assert!(last.0 < PEERS as u64 * (12 << 20), "{} bytes were taken for {PEERS} clients", last.0);
    let growth = processes::resident_mib(platform.pid()).saturating_sub(before);
    assert!(growth < 40, "{growth} MiB for {PEERS} clients that read nothing");
    // A function that doesn't read.
    let mut sent = 0;
    let mut uploads = Vec::new();
    for _ in 0..PEERS {
        let mut stream = platform.gateway().connect().unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        stream.write_all(b"POST /hoard/mute HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
        while let Ok(count) = stream.write(&[0; 64 << 10]) {
            sent += count;
        }
        uploads.push(stream);
    }
    assert!(sent < PEERS * (12 << 20), "{sent} bytes were taken from {PEERS} clients");
    let growth = processes::resident_mib(platform.pid()).saturating_sub(before);
    assert!(growth < 60, "{growth} MiB for {PEERS} clients that nobody reads, and {PEERS} that don't read");
    drop((held, uploads));
    // Of an upload that nobody reads, the end is not seen before its data: it ends with the call's time.
    eventually(LIMIT, "the slots of who left are free again", || {
        let metrics = platform.admin().get("/metrics").ok().text();
        let line = "mayfly_calls_total{function=\"hoard\",outcome=\"cancelled\"} ";
        metrics.lines().any(|found| found.strip_prefix(line) == Some(&PEERS.to_string()))
    });
}
