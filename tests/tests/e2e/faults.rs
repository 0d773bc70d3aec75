//! "Bad input and faults: a clear error, and nothing lost": user code that misbehaves. After each fault the function
//! goes on, with the same instance or a new one.

use mayfly_tests::{Folder, Platform, eventually, none_left, processes};
use std::{
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(10);

const PYTHON: &str = r#"
import os, sys, time, signal, json
def handler(event, context):
    path = event.get('rawPath', '/')
    if path == '/pid': return os.getpid()
    if path == '/throw': return {}['no such key']
    if path == '/exit': sys.exit(7)
    if path == '/_exit': os._exit(9)
    if path == '/segv': os.kill(os.getpid(), signal.SIGSEGV)
    if path == '/nojson': return object()
    if path == '/nan': return float('nan')
    if path == '/sleep': time.sleep(30)
    if path == '/nap': print('napping', flush=True); time.sleep(1); return os.getpid()
    if path == '/size': return 'x' * int(event['queryStringParameters']['n'])
    if path == '/hog':
        blocks = []
        while True:
            blocks.append(b'x' * (8 << 20)); time.sleep(0.01)
    if path == '/length': return len(event['body'])
    if path == '/daemon':
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.environ.clear(); os.chdir('/')
                os.execv('/bin/sleep', ['sleep', 'MARK'])
            os._exit(0)
        os.wait()
        return 'left one behind'
"#;

const NODE: &str = r#"
exports.handler = async (event) => {
  switch (event.rawPath) {
    case '/throw': throw new TypeError('n is no number');
    case '/reject': return Promise.reject('a string');
    case '/exit': process.exit(7);
    case '/later': setTimeout(() => { throw new Error('too late'); }, 10); return new Promise((r) => setTimeout(r, 5000));
    case '/cycle': { const o = {}; o.self = o; return o; }
    default: return process.pid;
  }
};
"#;

/// The code and the detail of a call that fails.
#[track_caller]
fn failed(platform: &Platform, path: &str, status: u16, code: &str) -> String {
    let problem = platform.gateway().get(path).problem(status, code);
    problem.json()["detail"].as_str().unwrap().to_owned()
}

/// "a handler that throws, exits": the error is the caller's to read, the trace the owner's, and the next call works.
#[test]
fn handlers_that_throw_or_exit() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python("py-faults", "timeout = \"2s\"\nmemory = \"64MiB\"", PYTHON));
    platform.deploy(&Folder::node("js-faults", "timeout = \"2s\"", NODE));
    let pid = || platform.gateway().get("/py-faults/pid").ok().json().as_u64().unwrap();

    let first = pid();
    assert_eq!(failed(&platform, "/py-faults/throw", 502, "function_error"), "KeyError: 'no such key'");
    assert_eq!(pid(), first, "an error ends no instance");
    eventually(SOON, "the trace is in the log", || {
        platform.logs("py-faults").iter().any(|line| line["text"].as_str().unwrap().contains("in handler"))
    });
    for path in ["/nojson", "/nan"] {
        let detail = failed(&platform, &format!("/py-faults{path}"), 502, "function_error");
        assert!(detail.contains("JSON"), "{detail}");
    }
    for (path, part) in [("/exit", "status 7"), ("/_exit", "status 9"), ("/segv", "signal 11")] {
        let before = pid();
        let detail = failed(&platform, &format!("/py-faults{path}"), 502, "function_exited");
        assert!(detail.contains(part), "{path}: {detail}");
        assert_ne!(pid(), before, "{path}: a new instance answers");
    }
    let detail = failed(&platform, "/js-faults/throw", 502, "function_error");
    assert_eq!(detail, "TypeError: n is no number");
    assert!(failed(&platform, "/js-faults/reject", 502, "function_error").contains("a string"));
    assert!(failed(&platform, "/js-faults/cycle", 502, "function_error").contains("JSON"));
    failed(&platform, "/js-faults/exit", 502, "function_exited");
    failed(&platform, "/js-faults/later", 502, "function_exited");
    platform.gateway().get("/js-faults").ok();

    // By `invoke` the error is the function's, with its words and code 1.
    let event = r#"{"rawPath":"/throw"}"#;
    platform.mayfly(&["invoke", "js-faults", "--data", event]).fails(1, &["TypeError", "n is no number"]);
    let calls = platform.mayfly(&["--json", "invocations", "py-faults", "-n", "100"]).ok().json();
    let outcomes: Vec<_> = calls["invocations"].as_array().unwrap().iter().map(|c| c["outcome"].clone()).collect();
    assert!(outcomes.contains(&"crashed".into()) && outcomes.contains(&"function_error".into()), "{outcomes:?}");
}

/// "timeout (answer 504, the instance is killed and replaced)".
#[test]
fn a_call_that_takes_too_long_costs_its_instance() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python("overdue", "timeout = \"2s\"", PYTHON));
    let before = platform.gateway().get("/overdue/pid").ok().json();
    let begun = Instant::now();
    let detail = failed(&platform, "/overdue/sleep", 504, "function_timeout");
    let took = begun.elapsed().as_secs_f64();
    assert!((2.0..3.0).contains(&took), "504 after {took} s");
    assert!(detail.contains("2s"), "{detail}");
    let after = platform.gateway().get("/overdue/pid").ok().json();
    assert_ne!(before, after);
    let pid = before.as_u64().unwrap() as u32;
    eventually(SOON, "the overdue instance is dead", || !processes::is_alive(pid));
    let calls = platform.mayfly(&["--json", "invocations", "overdue"]).ok().json();
    assert_eq!(calls["invocations"][1]["outcome"], "timed_out", "{calls}");
}

/// "memory by watching the resident size for now".
#[test]
fn a_hog_is_stopped_and_replaced() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python("hog", "memory = \"96MiB\"", PYTHON));
    let detail = failed(&platform, "/hog/hog", 502, "memory_exceeded");
    assert!(detail.contains("96MiB"), "{detail}");
    platform.gateway().get("/hog/pid").ok();
    eventually(SOON, "its owner can read why", || {
        platform.logs("hog").iter().any(|l| l["stream"] == "platform" && l["text"].as_str().unwrap().contains("96 MiB"))
    });
}

/// "request and response size (default 6 MiB for `handler`, streaming unlimited for `http`)"; "a body larger than the
/// limit".
#[test]
fn bodies_have_limits() {
    let platform = Platform::shared();
    let limits = "request_max = \"100kB\"\nresponse_max = \"100kB\"";
    platform.deploy(&Folder::python("sizes", limits, PYTHON));
    platform.deploy(&Folder::python("usual", "", PYTHON));
    let gateway = platform.gateway();
    assert_eq!(gateway.post("/sizes/length", vec![b'x'; 100_000]).ok().json(), 100_000);
    gateway.post("/sizes/length", vec![b'x'; 100_001]).problem(413, "request_too_large");
    // Without a length that could be looked at beforehand.
    let chunked = |size: usize| {
        let mut exchange = gateway.begin("POST", "/sizes/length", None).unwrap();
        for part in vec![b'x'; size].chunks(10_000) {
            // Once refused, the rest may find the connection closed.
            if exchange.chunk(part).is_err() {
                break;
            }
        }
        let _ = exchange.chunk(b"");
        exchange.answer().and_then(mayfly_tests::http::Answer::whole).unwrap()
    };
    assert_eq!(chunked(100_000).ok().json(), 100_000);
    chunked(100_001).problem(413, "request_too_large");
    // The quotes are part of the answer.
    assert_eq!(gateway.get("/sizes/size?n=99998").ok().body.len(), 100_000);
    gateway.get("/sizes/size?n=99999").problem(502, "response_too_large");
    gateway.get("/sizes/size?n=5000000").problem(502, "response_too_large");
    gateway.get("/sizes/pid").ok();
    assert_eq!(gateway.post("/usual/length", vec![b'x'; 6 << 20]).ok().json(), 6 << 20);
    gateway.post("/usual/length", vec![b'x'; (6 << 20) + 1]).problem(413, "request_too_large");
    gateway.get(&format!("/usual/size?n={}", 6 << 20)).problem(502, "response_too_large");
    let long = gateway.with("x-long", &"x".repeat(300 << 10)).get("/usual/pid");
    assert_eq!(long.status, 431, "{long:?}");
}

/// "a client that goes away": an exclusive handler's slot is free when it ends, and no sooner; a server sees it.
#[test]
fn a_client_that_goes_away_costs_nothing() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python("left", "[scale]\nmax = 1", PYTHON));
    let gateway = platform.gateway();
    let pid = gateway.get("/left/pid").ok().json();
    let exchange = gateway.begin("GET", "/left/nap", Some(0)).unwrap();
    eventually(SOON, "the call runs", || platform.logs("left").iter().any(|line| line["text"] == "napping"));
    drop(exchange);
    let begun = Instant::now();
    assert_eq!(gateway.get("/left/pid").ok().json(), pid, "the same instance");
    assert!(begun.elapsed() > Duration::from_millis(300), "the handler was not let end: {:?}", begun.elapsed());
    let calls = platform.mayfly(&["--json", "invocations", "left"]).ok().json();
    assert!(calls["invocations"].as_array().unwrap().iter().any(|call| call["outcome"] == "cancelled"), "{calls}");

    let code = "const http = require('node:http');\nlet seen = 'nothing';\n\
        http.createServer((q, r) => {\n  if (q.url === '/seen') return r.end(seen);\n  seen = 'begun';\n  \
        r.on('close', () => { seen = r.writableFinished ? 'finished' : 'left'; });\n  r.write('.');\n}).listen(process.env.MAYFLY_SOCKET);\n";
    platform.deploy(&Folder::node_server("watches", "", code));
    let mut answer = gateway.open("GET", "/watches/endless", b"").unwrap();
    answer.read_until(".").unwrap();
    assert_eq!(gateway.get("/watches/seen").ok().text(), "begun");
    drop(answer);
    eventually(SOON, "the server sees the client leave", || gateway.get("/watches/seen").ok().text() == "left");
    // An upload that breaks off in the middle.
    let mut exchange = gateway.begin("POST", "/left/length", Some(1000)).unwrap();
    exchange.write(b"half").unwrap();
    drop(exchange);
    assert_eq!(gateway.get("/left/pid").ok().json(), pid);
}

const RAW: &str = r#"
import os, socket, time, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ['MAYFLY_SOCKET'])
listener.listen(64)
while True:
    connection, _ = listener.accept()
    request = b''
    while b'\r\n\r\n' not in request:
        piece = connection.recv(65536)
        if not piece: break
        request += piece
    if not request:
        connection.close()
        continue
    path = request.split(b' ')[1]
    if path == b'/half':
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this')
    elif path == b'/half-chunk':
        connection.sendall(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this')
    elif path == b'/garbage':
        connection.sendall(b'\x00\x01\x02 this is no HTTP\r\n\r\n')
    elif path == b'/nothing':
        pass
    elif path == b'/half-head':
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-le')
    elif path == b'/exit':
        os._exit(4)
    else:
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok')
    connection.close()
"#;

/// "prints garbage, answers half and hangs up".
#[test]
fn servers_that_answer_half_or_garbage() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python_server("raw", "timeout = \"5s\"", RAW));
    let gateway = platform.gateway();
    for path in ["/garbage", "/nothing", "/half-head"] {
        failed(&platform, &format!("/raw{path}"), 502, "response_invalid");
        assert_eq!(gateway.get("/raw").ok().text(), "ok");
    }
    // The head is out already: the client must see that the body is not whole.
    for path in ["/half", "/half-chunk"] {
        let answer = gateway.try_send("GET", &format!("/raw{path}"), b"");
        assert!(answer.as_ref().is_err() || answer.as_ref().is_ok_and(|a| a.status == 502), "{path}: {answer:?}");
        assert_eq!(gateway.get("/raw").ok().text(), "ok");
    }
    let detail = failed(&platform, "/raw/exit", 502, "function_exited");
    assert!(detail.contains("status 4"), "{detail}");
    assert_eq!(gateway.get("/raw").ok().text(), "ok");
    let calls = platform.mayfly(&["--json", "invocations", "raw", "-n", "50"]).ok().json();
    let crashed = calls["invocations"].as_array().unwrap().iter().filter(|call| call["outcome"] != "ok").count();
    assert_eq!(crashed, 6, "{calls}");

    // What a handler prints is its log and nothing else.
    let noise = "import os\nos.write(1, bytes(range(256)) * 40)\ndef handler(event, context):\n    \
                 os.write(1, b'R\\x02\\x00\\x00\\x00{}\\xff\\xfe\\n')\n    os.write(2, b'\\x00' * 70000)\n    return 'clean'\n";
    platform.deploy(&Folder::python("noisy", "", noise));
    for _ in 0..3 {
        assert_eq!(gateway.get("/noisy").ok().json(), "clean");
    }
    eventually(SOON, "garbage is in the log as text", || platform.logs("noisy").len() > 3);
}

/// An instance that died between two calls: who calls meanwhile has a new one, or is told that the process ended where
/// its request was taken already; never that the platform does not answer.
#[test]
fn a_dead_instance_gets_no_call() {
    let platform = Platform::shared();
    let server = "require('http').createServer((q, r) => r.end('ok')).listen(process.env.MAYFLY_SOCKET);";
    platform.deploy(&Folder::node_server("dies-http", "", server));
    platform.deploy(&Folder::python("dies", "", "def handler(event, context):\n    return 'ok'\n"));
    for name in ["dies-http", "dies"] {
        let path = format!("/{name}");
        for _ in 0..10 {
            platform.gateway().get(&path).ok();
            let pid = platform.instances(name)[0]["pid"].as_u64().unwrap();
            // SAFETY: a signal to a process that the API names as an instance of this test's function.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            for _ in 0..3 {
                let answer = platform.gateway().get(&path);
                assert!(answer.status == 200 || answer.code() == "function_exited", "{answer:?}");
            }
        }
    }
}

/// "never listens, listens late".
#[test]
fn servers_that_listen_late_or_never() {
    let platform = Platform::shared();
    let late = "import time, http.server, socketserver, os\ntime.sleep(2)\n\
        class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.send_header('content-length', '4')\n        self.end_headers()\n        self.wfile.write(b'late')\n\
        http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    let folder = Folder::python_server("late", "[scale]\nidle = \"1s\"", late);
    platform.deploy(&folder);
    assert_eq!(platform.gateway().get("/late").ok().text(), "late");
    // The first call after it scaled to zero waits for all of it.
    platform.kill_instances("late");
    let begun = Instant::now();
    assert_eq!(platform.gateway().get("/late").ok().text(), "late");
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());

    let manifest = "start_timeout = \"2s\"";
    let never =
        Folder::python_server("never", manifest, "import time\nprint('thinking', flush=True)\ntime.sleep(600)\n");
    let begun = Instant::now();
    let failed = platform.mayfly(&["deploy", &never.arg()]).fails(1, &["2s", "$PORT"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "{failed:?}");
    assert_eq!(platform.mayfly(&["--json", "deploy", &never.arg()]).json()["code"], "start_timeout");
    platform.gateway().get("/never").problem(404, "route_not_found");
    // What it said before is told.
    let logs = platform.mayfly(&["logs", "never"]).ok().stdout;
    assert!(logs.contains("thinking"), "{logs}");

    // A server that goes on listening but is not ready by its path.
    let unready = "import http.server, os\n\
        class H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(503)\n        self.send_header('content-length', '0')\n        self.end_headers()\n    def log_message(self, *_): pass\n\
        http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    let manifest = "start_timeout = \"2s\"\nready_path = \"/healthz\"";
    let folder = Folder::python_server("unready", manifest, unready);
    platform.mayfly(&["deploy", &folder.arg()]).fails(1, &["/healthz"]);
}

/// "starts one instance and probes it before the alias moves": a syntax error never takes a request, its last line is
/// told, and the old revision goes on.
#[test]
fn code_that_does_not_load_takes_no_traffic() {
    let platform = Platform::shared();
    let folder = Folder::python("loads", "", "def handler(event, context):\n    return 'old'\n");
    platform.deploy(&folder);
    let load = crate::load::Load::start(&platform.gateway(), "/loads");
    for (code, part) in [
        ("def handler(event, context:\n    return 'new'\n", "SyntaxError"),
        ("import no_such_module\ndef handler(e, c): pass\n", "no_such_module"),
        ("raise RuntimeError('not on mondays')\n", "not on mondays"),
        ("def other(e, c): pass\n", "handler"),
        ("import os\nos._exit(5)\n", "status 5"),
    ] {
        folder.write("app.py", code);
        platform.mayfly(&["deploy", &folder.arg()]).fails(1, &[part]);
        let document = platform.mayfly(&["--json", "deploy", &folder.arg()]).json();
        assert_eq!(document["code"], "start_failed", "{document}");
        assert_eq!(platform.gateway().get("/loads").ok().json(), "old");
    }
    load.none_failed();
    let node = Folder::node("loads-js", "", "exports.handler = async () => { return 1 }}\n");
    platform.mayfly(&["deploy", &node.arg()]).fails(1, &["SyntaxError"]);
    platform.api().get("/v1/functions/loads-js").problem(404, "function_not_found");
}

/// "no orphan process stays behind": what a function leaves behind dies with its instance, daemons too.
#[test]
fn daemons_die_with_their_instance() {
    let platform = Platform::start();
    let mark = processes::sleep_mark(4);
    let daemons = || processes::sleepers(&mark);
    platform.deploy(&Folder::python("daemon", "", &PYTHON.replace("MARK", &mark)));
    assert_eq!(platform.gateway().get("/daemon/daemon").ok().json(), "left one behind");
    eventually(SOON, "the daemon runs beside its instance", || daemons().len() == 1);
    platform.mayfly(&["delete", "daemon", "--yes"]).ok();
    eventually(Duration::from_secs(20), "the daemon is gone", || daemons().is_empty());
    none_left(SOON, "nor anything else of it", || platform.children());
}

const STOPS: &str = r#"
import http.server, os, signal, sys, threading
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
def stop(*_):
    print('asked to stop', flush=True)
    if os.environ['HOW'] == 'politely':
        os._exit(0)
signal.signal(signal.SIGTERM, stop)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
"#;

/// "stop with SIGTERM → grace → SIGKILL".
#[test]
fn instances_are_asked_before_they_are_killed() {
    let platform = Platform::start();
    for (how, least, most) in [("politely", 0.0, 1.9), ("never", 1.8, 4.0)] {
        let name = format!("stops-{how}");
        let manifest = format!("stop_grace = \"2s\"\n[scale]\nmin = 1\n[env]\nHOW = \"{how}\"");
        platform.deploy(&Folder::python_server(&name, &manifest, STOPS));
        let pid: u32 = platform.gateway().get(&format!("/{name}")).ok().text().parse().unwrap();
        let mut follower = platform.cli().start(&["logs", &name, "-f"]);
        let deleted = Instant::now();
        platform.mayfly(&["delete", &name, "--yes"]).ok();
        follower.line(SOON, "it is asked", |line| line.contains("asked to stop"));
        let asked = Instant::now();
        eventually(SOON, "it is gone", || !processes::is_alive(pid));
        let took = asked.elapsed().as_secs_f64();
        assert!((least..most).contains(&took), "{how}: gone {took} s after SIGTERM, {:?} in all", deleted.elapsed());
    }
}

const FORKS: &str = r#"
import os, signal
def handler(event, context):
    children = []
    try:
        while len(children) < 5000:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    return len(children)
"#;

/// "rlimits for files and processes": a fork bomb is held to its own limit, and all of it goes with its instance.
#[test]
fn a_fork_bomb_is_held() {
    let platform = Platform::start();
    platform.deploy(&Folder::python("forks", "timeout = \"60s\"\nmemory = \"4GiB\"", FORKS));
    platform.deploy(&Folder::python("bystander", "", "def handler(event, context):\n    return 'fine'\n"));
    let forked = platform.gateway().get("/forks").ok().json().as_u64().unwrap();
    assert!((100..=1024).contains(&forked), "{forked} processes");
    assert_eq!(platform.gateway().get("/bystander").ok().json(), "fine");
    platform.deploy(&Folder::python("newcomer", "", "def handler(event, context):\n    return 'fine'\n"));
    for name in ["forks", "bystander", "newcomer"] {
        platform.mayfly(&["delete", name, "--yes"]).ok();
    }
    none_left(Duration::from_secs(30), "all are gone", || platform.children());
}

/// "stdout/stderr captured per line …, kept on disk with rotation and a byte limit": a flood neither fills the disk
/// nor the platform's memory, and the calls go on.
#[test]
fn a_flood_of_output_is_bounded() {
    let platform = Platform::start();
    let code = "import sys\ndef handler(event, context):\n    n = int(event['queryStringParameters']['n'])\n    \
        for i in range(n):\n        sys.stdout.write('%07d %s\\n' % (i, 'x' * 250))\n    return n\n";
    platform.deploy(&Folder::python("flood", "timeout = \"60s\"", code));
    platform.gateway().get("/flood?n=1").ok();
    let before = processes::resident_mib(platform.pid());
    let mut most = 0;
    thread::scope(|scope| {
        let flood = scope.spawn(|| platform.gateway().get("/flood?n=200000").ok());
        while !flood.is_finished() {
            most = most.max(processes::resident_mib(platform.pid()));
            thread::sleep(Duration::from_millis(20));
        }
        flood.join().unwrap();
    });
    let folder = platform.data_dir().join("logs/flood");
    let size = || -> u64 {
        let files = std::fs::read_dir(&folder).unwrap().flatten();
        files.map(|file| file.metadata().map_or(0, |meta| meta.len())).sum()
    };
    // 8 MiB a file, 4 files: what `agent::LogOptions` promises, and a line over.
    assert!(size() <= ((4 * 8) << 20) + (64 << 10), "{} bytes of log", size());
    println!("200,000 lines: the platform grew from {before} to {most} MiB, the log has {} KiB", size() >> 10);
    assert!(most < before + 64, "the platform grew from {before} to {most} MiB");
    eventually(SOON, "the last line is there", || {
        platform.logs("flood").last().is_some_and(|line| line["text"].as_str().unwrap().starts_with("0199999 "))
    });
}
