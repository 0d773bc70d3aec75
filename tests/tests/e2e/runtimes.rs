//! Runtimes that are neither Node nor Python by our own bootstraps: a custom one on the Runtime API, and components.

use mayfly_tests::{Folder, Platform, eventually, processes};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// What a custom runtime is: it polls, it answers, it does what the event's path says.
const CUSTOM: &str = r#"
import http.client, json, os, socket, sys, time
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
root = '/2018-06-01/runtime'
def ask(method, path, body=None):
    connection = http.client.HTTPConnection(host, int(port))
    connection.request(method, root + path, body, {'lambda-runtime-function-error-type': 'Mine'} if path.endswith('error') else {})
    answer = connection.getresponse()
    return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()
if os.environ.get('FAIL') == 'init':
    ask('POST', '/init/error', json.dumps({'errorMessage': 'no coffee', 'errorType': 'Init'}))
    sys.exit(1)
served = 0
while True:
    status, headers, event = ask('GET', '/invocation/next')
    id = headers['lambda-runtime-aws-request-id']
    path = json.loads(event).get('rawPath', '/')
    served += 1
    if path == '/error':
        ask('POST', f'/invocation/{id}/error', json.dumps({'errorType': 'Tea', 'errorMessage': 'there is none'}))
    elif path == '/garbage':
        ask('POST', f'/invocation/{id}/response', b'{"statusCode": 200, "bo')
    elif path == '/exit':
        os._exit(6)
    elif path == '/half':
        raw = socket.create_connection((host, int(port)))
        raw.sendall(f'POST {root}/invocation/{id}/response HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{"half":'.encode())
        time.sleep(0.1)
        os._exit(6)
    elif path == '/silent':
        time.sleep(30)
    elif path == '/forget':
        continue
    elif path == '/twice':
        first = ask('POST', f'/invocation/{id}/response', json.dumps('first'))[0]
        second = ask('POST', f'/invocation/{id}/response', json.dumps('second'))[0]
        print(f'answered with {first} and {second}', flush=True)
    elif path == '/stranger':
        code = ask('POST', '/invocation/00000000-0000-4000-8000-000000000000/response', '1')[0]
        ask('POST', f'/invocation/{id}/response', json.dumps(code))
    else:
        left = int(headers['lambda-runtime-deadline-ms']) - time.time() * 1000
        ask('POST', f'/invocation/{id}/response', json.dumps({
            'pid': os.getpid(), 'served': served, 'left_ms': left, 'arn': headers['lambda-runtime-invoked-function-arn']}))
"#;

fn custom(name: &str, manifest: &str) -> Folder {
    let head = "runtime = \"python\"\nentry = \"app.handler\"\ncommand = [\"python3\", \"runtime.py\"]";
    Folder::new(name, &format!("{head}\n{manifest}")).file("runtime.py", CUSTOM)
}

/// "contracts `handler` (the Lambda Runtime API 2018-06-01 served per instance)", by a runtime that misbehaves in every
/// way the protocol leaves it.
#[test]
fn a_custom_runtime_speaks_the_runtime_api() {
    let platform = Platform::shared();
    platform.deploy(&custom("custom", "timeout = \"2s\""));
    let gateway = platform.gateway();
    let fine = || gateway.get("/custom").ok().json();
    let first = fine();
    assert!(first["left_ms"].as_f64().is_some_and(|left| left > 500.0 && left <= 2100.0), "{first}");
    assert!(first["arn"].as_str().is_some_and(|arn| arn.ends_with(":function:custom:1")), "{first}");

    let refused = gateway.get("/custom/error").problem(502, "function_error");
    assert_eq!(refused.json()["detail"], "Tea: there is none");
    gateway.get("/custom/garbage").problem(502, "response_invalid");
    assert_eq!(gateway.get("/custom/twice").ok().json(), "first");
    assert_eq!(gateway.get("/custom/stranger").ok().json(), 400);
    assert_eq!(fine()["pid"], first["pid"], "none of these costs the instance");
    eventually(Duration::from_secs(5), "the second answer was refused", || {
        platform.logs("custom").iter().any(|line| line["text"] == "answered with 202 and 400")
    });

    let gone = gateway.get("/custom/exit").problem(502, "function_exited");
    assert!(gone.json()["detail"].as_str().unwrap().contains("status 6"), "{gone:?}");
    let second = fine();
    assert_eq!(second["served"], 1, "a new instance: {second}");
    let half = gateway.get("/custom/half");
    assert!(["function_exited", "response_invalid"].contains(&half.code().as_str()), "{half:?}");
    for path in ["/custom/silent", "/custom/forget"] {
        let before = fine()["pid"].as_u64().unwrap() as u32;
        let begun = Instant::now();
        gateway.get(path).problem(504, "function_timeout");
        assert!(begun.elapsed() < Duration::from_secs(3), "{path}: {:?}", begun.elapsed());
        eventually(Duration::from_secs(5), "the instance is killed", || !processes::is_alive(before));
    }
    fine();

    let folder = custom("custom-init", "[env]\nFAIL = \"init\"");
    platform.mayfly(&["deploy", &folder.arg()]).fails(1, &["no coffee"]);
}

/// Issue 4 §2, "a circuit … per outbound dependency of a binding": nobody listens on loopback's port 1.
#[test]
fn a_component_calls_whom_its_binding_names() {
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/node/sandbox-wasm/tests/guests/probe.wasm");
    let platform = Platform::shared();
    let deploy = |name: &str, bindings: &str| {
        let folder = Folder::new(name, &format!("runtime = \"wasm\"\nentry = \"probe.wasm\"\n{bindings}"));
        folder.write("probe.wasm", fs::read(&probe).expect("the probe of sandbox-wasm"));
        platform.deploy(&folder);
    };
    let call = |name: &str| platform.gateway().get(&format!("/{name}/outbound")).ok().text();
    let binding = "[bindings.api]\ntype = \"http\"\nhosts = [\"127.0.0.1:1\"]\n";
    deploy("unbound", "");
    deploy("public", binding);
    deploy("bound", &format!("{binding}private = true\ncircuit = {{ calls_min = 3, open = \"15m\" }}"));
    assert!(call("unbound").contains("HttpRequestDenied"));
    assert!(call("public").contains("DestinationIpProhibited"));
    for _ in 0..3 {
        assert!(call("bound").contains("ConnectionRefused"));
    }
    assert!(call("bound").contains("DestinationUnavailable"));
    eventually(Duration::from_secs(5), "the circuit's change is in the log", || {
        let lines = platform.logs("bound");
        lines.iter().any(|line| {
            line["text"].as_str().is_some_and(|text| text.starts_with("circuit opened: outbound http://127.0.0.1:1"))
        })
    });
}

/// "`component` (wasi:http/proxy by wasmtime 48)": a component that traps, spins, eats memory, answers half or nothing.
#[test]
fn components_that_misbehave_cost_their_call_only() {
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/node/sandbox-wasm/tests/guests/probe.wasm");
    let platform = Platform::shared();
    let manifest = "runtime = \"wasm\"\nentry = \"probe.wasm\"\nmemory = \"64MiB\"\ntimeout = \"2s\"";
    let folder = Folder::new("probe", &format!("{manifest}\nrequest_max = \"1MiB\"\n[env]\nSTAGE = \"test\""));
    folder.write("probe.wasm", fs::read(probe).expect("the probe of sandbox-wasm"));
    platform.deploy(&folder);
    let gateway = platform.gateway();
    let hello = || assert_eq!(gateway.get("/probe/hello").ok().text(), "hello");
    hello();
    for (path, status, code) in [
        ("/trap", 502, "function_error"),
        ("/recurse", 502, "function_error"),
        ("/none", 502, "response_invalid"),
        ("/bomb", 502, "memory_exceeded"),
    ] {
        let begun = Instant::now();
        let answer = gateway.get(&format!("/probe{path}"));
        answer.problem(status, code);
        assert!(begun.elapsed() < Duration::from_secs(2), "{path}: {:?}", begun.elapsed());
        hello();
    }
    for path in ["/spin", "/sleep?60000"] {
        let begun = Instant::now();
        gateway.get(&format!("/probe{path}")).problem(504, "function_timeout");
        let took = begun.elapsed().as_secs_f64();
        assert!((2.0..3.0).contains(&took), "{path}: {took} s");
        hello();
    }
    // While one spins, the others are served.
    std::thread::scope(|scope| {
        let spinning: Vec<_> = (0..4).map(|_| scope.spawn(|| gateway.get("/probe/spin"))).collect();
        let begun = Instant::now();
        for _ in 0..20 {
            hello();
        }
        assert!(begun.elapsed() < Duration::from_millis(1900), "20 calls beside 4 that spin: {:?}", begun.elapsed());
        for call in spinning {
            call.join().unwrap().problem(504, "function_timeout");
        }
    });
    let half = gateway.try_send("GET", "/probe/half", b"");
    assert!(half.as_ref().is_err() || half.as_ref().is_ok_and(|answer| answer.status == 502), "{half:?}");
    for _ in 0..2 {
        assert_eq!(gateway.get("/probe/count").ok().text(), "1", "an instance for each call");
    }
    assert!(gateway.get("/probe/env").ok().text().lines().any(|line| line == "STAGE=test"));
    assert_eq!(gateway.post("/probe/echo", vec![b'e'; 1 << 20]).ok().body.len(), 1 << 20);
    gateway.post("/probe/echo", vec![b'e'; (1 << 20) + 1]).problem(413, "request_too_large");
    assert!(gateway.get("/probe/reach").ok().text().starts_with("dirs=0 "), "no binding, no access");
    assert!(!gateway.get("/probe/outbound").ok().text().contains("went through"));
    gateway.get("/probe/print").ok();
    eventually(Duration::from_secs(5), "what it prints is its log", || {
        let lines = platform.logs("probe");
        ["first line", "second line", "an error"].iter().all(|text| lines.iter().any(|line| line["text"] == *text))
    });
    // What is no component, or exports nothing to call, does not go live.
    for file in ["absent.wasm", "mute.wasm"] {
        let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/node/sandbox-wasm/tests/guests");
        let folder = Folder::new("no-probe", &format!("runtime = \"wasm\"\nentry = \"{file}\""));
        folder.write(file, fs::read(guests.join(file)).unwrap());
        let failed = platform.mayfly(&["--json", "deploy", &folder.arg()]);
        assert!(matches!(failed.json()["code"].as_str(), Some("start_failed" | "build_failed")), "{failed:?}");
    }
    let folder = Folder::new("no-probe", "runtime = \"wasm\"\nentry = \"x.wasm\"").file("x.wasm", "no wasm at all");
    platform.mayfly(&["deploy", &folder.arg()]).fails(1, &["x.wasm"]);
    platform.api().get("/v1/functions/no-probe").problem(404, "function_not_found");
}
