//! What user code is promised: the handler's event, the server's streams, the command's variables, and its isolation.

use base64::{Engine, prelude::BASE64_STANDARD};
use mayfly_tests::{Folder, Platform, processes};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Answers with the event that it got.
const ECHO: &str = "exports.handler = async (event) => event;\n";

/// "HTTP requests reach a `handler` function as the API Gateway payload format 2.0 event".
#[test]
fn a_handler_sees_payload_format_2() {
    let platform = Platform::shared();
    // The event is the result, so what names a status must not be in it: `requestContext.http` does not.
    platform.deploy(&Folder::node("event", "", ECHO));
    let client = platform.gateway().with("cookie", "a=1; b=2").with("x-twice", "1").with("x-twice", "2");
    let event = client.with("content-type", "application/json").post("/event/p%20q/r?x=1&x=2&y=%C3%A4", "{\"n\":1}");
    let event = event.ok().json();
    assert_eq!(event["version"], "2.0");
    assert_eq!(
        (event["rawPath"].as_str(), event["rawQueryString"].as_str()),
        (Some("/p%20q/r"), Some("x=1&x=2&y=%C3%A4"))
    );
    assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": "ä"}));
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    assert_eq!(event["headers"]["x-twice"], "1,2");
    assert_eq!(event["headers"]["x-forwarded-prefix"], "/event");
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"n\":1}"), &json!(false)));

    let bytes = [0_u8, 159, 146, 150, 255];
    let event = platform.gateway().with("content-type", "application/octet-stream").post("/event", bytes).ok().json();
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!(BASE64_STANDARD.encode(bytes)), &json!(true)));

    // "`mayfly invoke` passes raw JSON."
    assert_eq!(
        platform.mayfly(&["invoke", "event", "--data", "[1,{\"a\":null}]"]).ok().json(),
        json!([1, {"a": null}])
    );
    platform.mayfly(&["invoke", "event", "--data", "no json"]).fails(2, &["no JSON"]);
}

/// "its answer is read by the same rules (string or object, cookies, isBase64Encoded)".
#[test]
fn a_handlers_answer_is_read_by_the_rules() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node("answers", "", "exports.handler = async (event) => JSON.parse(event.body);\n"));
    let said = |answer: Value| {
        platform.gateway().with("content-type", "application/json").post("/answers", answer.to_string())
    };
    let plain = said(json!("text"));
    assert_eq!((plain.status, plain.text().as_str()), (200, "\"text\""));
    assert_eq!(said(json!({"a": 1})).ok().json(), json!({"a": 1}));
    assert_eq!(said(json!(null)).ok().text(), "null");

    let whole = said(json!({
        "statusCode": 418, "headers": {"content-type": "text/plain", "x-mine": "yes"}, "cookies": ["a=1", "b=2; Path=/"],
        "body": "short and stout",
    }));
    assert_eq!((whole.status, whole.text().as_str(), whole.header("x-mine")), (418, "short and stout", Some("yes")));
    let cookies: Vec<_> =
        whole.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2; Path=/"]);
    let bytes = [0_u8, 255, 7];
    let binary = said(json!({"statusCode": 200, "isBase64Encoded": true, "body": BASE64_STANDARD.encode(bytes)}));
    assert_eq!(binary.ok().body, bytes);
    said(json!({"statusCode": 99999})).problem(502, "response_invalid");
    said(json!({"statusCode": 200, "headers": {"bad name": "x"}})).problem(502, "response_invalid");
}

const STREAMS: &str = r#"
const http = require('node:http');
http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/sse') {
    response.setHeader('content-type', 'text/event-stream');
    response.write('data: first\n\n');
    // The second follows when another request says so.
    waiting = () => response.end('data: second\n\n');
  } else if (url.pathname === '/go') {
    waiting(); response.end('gone on');
  } else if (url.pathname === '/echo') {
    request.pipe(response);
  } else if (url.pathname === '/count') {
    let bytes = 0;
    request.on('data', (chunk) => { bytes += chunk.length; });
    request.on('end', () => response.end(String(bytes)));
  } else if (url.pathname === '/slow') {
    // Takes the upload without reading it until told.
    waiting = () => { let n = 0; request.on('data', (c) => { n += c.length; }).on('end', () => response.end(String(n))); };
  } else if (url.pathname === '/large') {
    let left = Number(url.searchParams.get('mib'));
    const more = () => { while (left-- > 0) if (!response.write(Buffer.alloc(1 << 20))) return response.once('drain', more); response.end(); };
    more();
  } else {
    response.setHeader('x-method', request.method);
    response.statusCode = 201;
    response.end(request.url);
  }
}).listen(process.env.MAYFLY_SOCKET);
let waiting = () => {};
"#;

/// "`http` (any server on $PORT or on the UNIX socket in $MAYFLY_SOCKET; the proxy streams both ways)".
#[test]
fn a_server_streams_both_ways() {
    let platform = Platform::shared();
    platform.deploy(&Folder::node_server("streams", "", STREAMS));
    let gateway = platform.gateway();
    let plain = gateway.send("PURGE", "/streams/a?b=c", "");
    assert_eq!((plain.status, plain.header("x-method"), plain.text().as_str()), (201, Some("PURGE"), "/a?b=c"));

    // Down: the first event is here while the answer has no end.
    let mut events = gateway.open("GET", "/streams/sse", b"").unwrap();
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.read_until("first\n\n").unwrap(), "data: first\n\n");
    gateway.get("/streams/go").ok();
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "data: second\n\n");

    // Both at once: each piece comes back before the next is sent.
    let mut exchange = gateway.begin("POST", "/streams/echo", None).unwrap();
    let mut writer = exchange.writer().unwrap();
    exchange.chunk(b"ping 0").unwrap();
    let mut answer = exchange.answer().unwrap();
    assert_eq!(answer.read_until("ping 0").unwrap(), "ping 0");
    for turn in 1..5 {
        let text = format!("ping {turn}");
        write!(writer, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        assert_eq!(answer.read_until(&text).unwrap(), text);
    }
    writer.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(answer.read(&mut [0; 8]).unwrap(), 0);
}

/// The same on $PORT, for servers that know nothing of sockets in files.
#[test]
fn a_server_may_listen_on_a_port() {
    let platform = Platform::shared();
    let code = "import http.server, os\n\
        class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        body = os.environ['K_SERVICE'].encode()\n        \
        self.send_response(200)\n        self.send_header('content-length', str(len(body)))\n        self.end_headers()\n        self.wfile.write(body)\n\
        http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    platform.deploy(&Folder::python_server("ports", "", code));
    assert_eq!(platform.gateway().get("/ports").ok().text(), "ports");
}

/// "bodies streamed": 64 MiB up and down leave the platform's memory where it was; so does an upload that nobody reads.
#[test]
fn large_bodies_take_no_memory() {
    const SIZE: u64 = 64 << 20;
    const GROWTH_MAX_MIB: u64 = 24;
    // Of its own: the other tests' traffic would count, too.
    let platform = Platform::start();
    platform.deploy(&Folder::node_server("large", "", STREAMS));
    let gateway = platform.gateway();
    gateway.get("/large/warm").ok();
    let before = processes::resident_mib(platform.pid());
    let grown = || processes::resident_mib(platform.pid()).saturating_sub(before);

    let block = vec![7_u8; 1 << 20];
    let mut exchange = gateway.begin("POST", "/large/count", Some(SIZE)).unwrap();
    let mut most = 0;
    for _ in 0..SIZE >> 20 {
        exchange.write(&block).unwrap();
        most = most.max(grown());
    }
    assert_eq!(exchange.answer().unwrap().whole().unwrap().text(), SIZE.to_string());

    // Down, read slowly.
    let mut answer = gateway.open("GET", "/large/large?mib=64", b"").unwrap();
    let (mut read, mut buffer) = (0_u64, vec![0; 256 << 10]);
    loop {
        let count = answer.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        read += count as u64;
        most = most.max(grown());
    }
    assert_eq!(read, SIZE);

    // Nobody reads: the sender is held back instead of a buffer growing.
    let exchange = gateway.begin("POST", "/large/slow", Some(SIZE)).unwrap();
    let mut writer = exchange.writer().unwrap();
    let (sent, progress) = mpsc::channel();
    let sender = thread::spawn(move || {
        for _ in 0..SIZE >> 20 {
            writer.write_all(&block).unwrap();
            let _ = sent.send(());
        }
    });
    // Until no more goes through: the channel is silent for a while.
    let mut taken = 0;
    while progress.recv_timeout(Duration::from_millis(500)).is_ok() {
        taken += 1;
    }
    most = most.max(grown());
    assert!(taken < 40, "{taken} MiB of an upload that nobody reads went somewhere");
    gateway.get("/large/go").ok();
    assert_eq!(exchange.answer().unwrap().whole().unwrap().text(), SIZE.to_string());
    sender.join().unwrap();
    println!("the platform grew by {most} MiB over {before} MiB for bodies of 64 MiB");
    assert!(most < GROWTH_MAX_MIB, "the platform grew by {most} MiB");
}

const COMMAND: &str = r#"
case "$Http_Path" in
  /env) env; pwd ;;
  /exit) echo "it broke" >&2; exit 3 ;;
  /kill) kill -SEGV $$ ;;
  /big) head -c 3000000 /dev/zero | tr '\0' 'x' ;;
  /ignore) echo "ignored the input" ;;
  /binary) printf '\000\377' ;;
  /sleep) sleep 30 & wait ;;
  *) cat ;;
esac
"#;

/// "`command` (a process per call, body on stdin, stdout back, headers as HTTP_* variables as classic watchdog does)".
#[test]
fn a_command_is_a_process_for_each_call() {
    let platform = Platform::shared();
    platform.deploy(&Folder::command("cmd", "timeout = \"5s\"\n[env]\nSTAGE = \"test\"", COMMAND));
    let gateway = platform.gateway();
    assert_eq!(gateway.post("/cmd", "to and fro").ok().text(), "to and fro");
    let env = gateway.with("x-name", "ada").with("proxy", "evil:1").post("/cmd/env?q=1", "").ok();
    let env = env.text();
    for line in ["HTTP_X_NAME=ada", "Http_X_Name=ada", "Http_Method=POST", "Http_Query=q=1", "STAGE=test"] {
        assert!(env.lines().any(|seen| seen == line), "{line}: {env}");
    }
    assert!(!env.contains("HTTP_PROXY"), "httpoxy: {env}");

    let failed = gateway.get("/cmd/exit").problem(502, "function_error");
    let detail = failed.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("status 3") && detail.contains("it broke"), "{detail}");
    let killed = gateway.get("/cmd/kill").problem(502, "function_error");
    assert!(killed.json()["detail"].as_str().unwrap().contains("signal 11"), "{killed:?}");
    let big = gateway.get("/cmd/big").ok().body;
    assert!(big.len() == 3_000_000 && big.iter().all(|byte| *byte == b'x'), "{} bytes", big.len());
    assert_eq!(gateway.post("/cmd/ignore", vec![b'y'; 2 << 20]).ok().text(), "ignored the input\n");
    let binary = gateway.get("/cmd/binary").ok();
    assert_eq!(
        (binary.body.as_slice(), binary.header("content-type")),
        (&[0, 255][..], Some("application/octet-stream"))
    );

    // Too long, and gone with what it started.
    let begun = Instant::now();
    gateway.get("/cmd/sleep").problem(504, "function_timeout");
    assert!((5.0..6.5).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    assert_eq!(gateway.post("/cmd", "still here").ok().text(), "still here");
    mayfly_tests::eventually(Duration::from_secs(5), "the sleeping child is gone", || {
        let all = processes::descendants(platform.pid());
        !all.iter().any(|process| process.describe().contains("sleep 30"))
    });
}

const SHOWS: &str = r#"
import os, resource, json
def handler(event, context):
    status = dict(line.split(':\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\t' in line)
    try:
        open('written-beside-the-code', 'w').write('x')
        code_is_writable = True
    except OSError:
        code_is_writable = False
    open(os.path.join(os.environ['TMPDIR'], 'mine'), 'w').write('x')
    return {
        'uid': os.getuid(), 'groups': os.getgroups(), 'pgid_is_pid': os.getpgid(0) == os.getpid(),
        'no_new_privs': status['NoNewPrivs'].strip(), 'env': dict(os.environ), 'tmp': os.environ['TMPDIR'],
        'files': resource.getrlimit(resource.RLIMIT_NOFILE), 'processes': resource.getrlimit(resource.RLIMIT_NPROC),
        'code_is_writable': code_is_writable, 'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd')),
        'data': try_list(os.path.join(event['data'], 'blobs')), 'token': try_read(os.path.join(event['data'], 'token')),
    }
def try_list(path):
    try: return os.listdir(path)
    except OSError as error: return error.strerror
def try_read(path):
    try: return open(path).read()
    except OSError as error: return error.strerror
"#;

/// "Isolation in this issue: own process group, own temporary folder, cleared environment, rlimits for files and
/// processes, `no_new_privs`, unprivileged uid when root".
#[test]
fn user_code_is_held_apart() {
    let mut start = mayfly_tests::Start::default();
    start.env.push(("PLATFORM_SECRET".to_owned(), "not for functions".to_owned()));
    let platform = Platform::start_with(start);
    for name in ["apart", "other"] {
        platform.deploy(&Folder::python(name, "", SHOWS));
    }
    let event = json!({"data": platform.data_dir()}).to_string();
    let seen = platform.mayfly(&["invoke", "apart", "--data", &event]).ok().json();
    assert_eq!((&seen["pgid_is_pid"], &seen["no_new_privs"]), (&json!(true), &json!("1")), "{seen}");
    assert!(seen["env"].get("PLATFORM_SECRET").is_none(), "{seen}");
    assert!(seen["files"][1].as_u64() <= Some(1024) && seen["processes"][0].as_u64() <= Some(65_536), "{seen}");
    assert!(seen["fds"].as_array().unwrap().len() < 16, "descriptors of the platform leak: {seen}");
    let other = platform.mayfly(&["invoke", "other", "--data", &event]).ok().json();
    assert_ne!(seen["tmp"], other["tmp"]);
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        assert_ne!(seen["uid"], 0);
        assert_ne!(seen["uid"], other["uid"], "each instance has a user of its own");
        assert_eq!(seen["code_is_writable"], false);
        assert_eq!((&seen["data"], &seen["token"]), (&json!("Permission denied"), &json!("Permission denied")));
        assert!(!seen["groups"].as_array().unwrap().contains(&json!(0)), "{seen}");
    }
    // Its folder goes with it.
    let tmp = std::path::PathBuf::from(seen["tmp"].as_str().unwrap());
    assert!(tmp.join("mine").is_file());
    platform.mayfly(&["delete", "apart", "--yes"]).ok();
    mayfly_tests::eventually(Duration::from_secs(10), "the instance's folder is gone", || !tmp.exists());
}
