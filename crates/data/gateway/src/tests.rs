//! The gateway on a real socket, with a fake dispatcher behind it.

mod access;
mod frames;
mod http2;
mod places;

use crate::{Gateway, Listener, Options};
use bytes::Bytes;
use chassis::{Lanes, Shutdown, metrics::Metrics};
use http::{Request, Response};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use types::{AliasName, Code, Fault, FunctionName};
use wire::{Body, BoxFuture, Call, FunctionView, Invoke, Snapshot, Target};

type Answer = Box<dyn Fn(Call) -> BoxFuture<'static, Result<Response<Body>, Fault>> + Send + Sync>;

struct Fake(Answer);

impl Invoke for Fake {
    fn invoke<'a>(&'a self, _: &'a Target, call: Call) -> BoxFuture<'a, Result<Response<Body>, Fault>> {
        (self.0)(call)
    }
}

struct House {
    addr: SocketAddr,
    snapshots: watch::Sender<Arc<Snapshot>>,
    shutdown: Shutdown,
    metrics: Metrics,
    runtime: tokio::runtime::Runtime,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl House {
    fn new<F, R>(answer: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
    {
        Self::with(Options { grace: Duration::from_secs(5), ..Options::default() }, answer)
    }

    fn with<F, R>(options: Options, answer: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Response<Body>, Fault>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot(&["hello"])));
        let invoke = Arc::new(Fake(Box::new(move |call| Box::pin(answer(call)))));
        let metrics = Metrics::default();
        let gateway = Gateway::new(options, receiver, invoke, &metrics).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let done = runtime.spawn(async move {
            let lanes = Lanes::start(2).unwrap();
            let served = gateway.run(vec![Listener { socket: listener, tls: false }], &lanes, stop).await;
            tokio::task::spawn_blocking(move || lanes.join()).await.unwrap();
            served
        });
        Self { addr, snapshots, shutdown, metrics, runtime, done }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // A refused request need not be read to its end.
        let _ = stream.write_all(request.as_bytes());
        stream
    }

    fn get(&self, path: &str) -> Reply {
        Reply::read(self.send(&format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")))
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.runtime.block_on(self.done).unwrap().unwrap();
    }
}

/// A whole response.
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Reply {
    fn read(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = String::new();
        match headers.get("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => reader.take(length).read_to_string(&mut body).unwrap(),
            None => reader.read_to_string(&mut body).unwrap(),
        };
        Self { status, headers, body }
    }
}

fn snapshot(functions: &[&str]) -> Snapshot {
    let views = functions.iter().map(|name| {
        let name: FunctionName = name.parse().unwrap();
        let target = Target {
            function: name.clone(),
            tenant: types::TenantName::default(),
            alias: AliasName::live(),
            revisions: Arc::new([]),
        };
        let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
        (name.clone(), Arc::new(FunctionView { name, aliases }))
    });
    Snapshot { functions: views.collect(), ..Snapshot::default() }
}

type Held = Box<dyn Fn(Call) -> BoxFuture<'static, Result<Response<Body>, Fault>> + Send + Sync>;

/// Calls that wait for the test's word; each is told as it begins, and keeps its request until then.
fn held() -> (Held, mpsc::Receiver<oneshot::Sender<&'static str>>) {
    let (begun, calls) = mpsc::channel();
    let answer = move |call: Call| -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        let (word, told) = oneshot::channel();
        begun.send(word).unwrap();
        Box::pin(async move {
            let said = told.await.map_err(Fault::internal)?;
            drop(call);
            Ok(Response::new(Body::from(said)))
        })
    };
    (Box::new(answer), calls)
}

async fn ok(_: Call) -> Result<Response<Body>, Fault> {
    Ok(Response::new(Body::from("ok")))
}

#[test]
fn a_request_is_forwarded_as_the_functions_own() {
    let seen: Arc<Mutex<Option<Request<Body>>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let house = House::new(move |call| {
        *keep.lock() = Some(*call.request);
        async {
            Ok(Response::builder()
                .header("connection", "x-private")
                .header("x-private", "1")
                .body(Body::from("ok"))
                .unwrap())
        }
    });
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let reply = Reply::read(house.send(&format!(
        "GET /hello/a/b?x=1 HTTP/1.1\r\nhost: a.example\r\nconnection: close, x-hop\r\nx-hop: 1\r\nmayfly-request-id: {id}\r\n\r\n"
    )));
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    assert_eq!(reply.headers["mayfly-request-id"], id);
    assert!(!reply.headers.contains_key("x-private"), "a connection's own header goes no further");
    let request = seen.lock().take().unwrap();
    assert_eq!(request.uri(), "/a/b?x=1");
    assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
    assert_eq!(request.headers()["x-forwarded-prefix"], "/hello");
    assert_eq!(request.headers()["mayfly-request-id"], id);
    assert!(!request.headers().contains_key("x-hop"));
    house.stop();
}

#[test]
fn faults_are_problem_documents() {
    let house = House::new(|_| async { Err(Fault::new(Code::CapacityExhausted, "all busy")) });
    let reply = house.get("/hello");
    let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, problem["code"].as_str()), (429, Some("capacity_exhausted")));
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(
        (reply.headers["retry-after"].as_str(), reply.headers["mayfly-error"].as_str()),
        ("1", "capacity_exhausted")
    );
    assert_eq!(reply.headers["mayfly-request-id"].len(), 36);
    let reply = house.get("/nobody");
    assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (404, "route_not_found"));
    house.stop();
}

#[test]
fn a_new_snapshot_is_served_and_the_last_one_stays() {
    let house = House::new(ok);
    assert_eq!(house.get("/later").status, 404);
    house.snapshots.send(Arc::new(snapshot(&["hello", "later"]))).unwrap();
    let mut tries = 0;
    while house.get("/later").status != 200 {
        tries += 1;
        assert!(tries < 1000, "the snapshot never came");
    }
    assert_eq!(house.get("/hello").status, 200);
    house.stop();
}

#[test]
fn a_body_streams_as_it_comes() {
    let (next, chunks) = tokio::sync::mpsc::channel::<Bytes>(1);
    let chunks = Mutex::new(Some(chunks));
    let house = House::new(move |_| {
        let chunks = chunks.lock().take().unwrap();
        async { Ok(Response::new(Body::stream(Chunks(chunks)))) }
    });
    let mut stream = house.send("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let mut seen = String::new();
    for word in ["one", "two", "three"] {
        next.blocking_send(Bytes::from(word)).unwrap();
        let mut buffer = [0; 1024];
        while !seen.contains(word) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    }
    drop(next);
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.ends_with("0\r\n\r\n"), "{seen}");
    house.stop();
}

#[test]
fn a_compressed_body_streams_as_it_comes() {
    let (next, chunks) = tokio::sync::mpsc::channel::<Bytes>(1);
    let chunks = Mutex::new(Some(chunks));
    let house = House::new(move |_| {
        let chunks = chunks.lock().take().unwrap();
        async {
            Ok(Response::builder().header("content-type", "text/plain").body(Body::stream(Chunks(chunks))).unwrap())
        }
    });
    house.snapshots.send(Arc::new(with_edge("[http]\ncompress = true"))).unwrap();
    let head = "GET /hello HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
    let mut reader = BufReader::new(house.send(head));
    let mut line = String::new();
    let mut head = String::new();
    let mut compressed = Vec::new();
    for word in ["one ", "two ", "three "] {
        next.blocking_send(Bytes::from(word)).unwrap();
        while head.is_empty() || line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            head.push_str(&line);
        }
        let mut text = String::new();
        while !text.ends_with(word) {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
            reader.read_exact(&mut chunk).unwrap();
            compressed.extend_from_slice(&chunk[..chunk.len() - 2]);
            text.clear();
            // The stream is not at its end: what is there can be read, and then an error comes.
            let _ = flate2::read::GzDecoder::new(&compressed[..]).read_to_string(&mut text);
        }
    }
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: Accept-Encoding"), "{head}");
    drop(next);
    house.stop();
}

struct Chunks(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = wire::BodyError;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, wire::BodyError>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// Says that it was dropped.
struct Tell(mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn a_client_that_leaves_ends_its_call() {
    let (dropped, is_dropped) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let house = House::new(move |_| {
        let (tell, begun) = (Tell(dropped.clone()), begun.clone());
        async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(tell);
            Ok(Response::new(Body::Empty))
        }
    });
    let stream = house.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(stream);
    is_dropped.recv_timeout(Duration::from_secs(10)).expect("the call is given up");
    house.stop();
}

#[test]
fn a_shutdown_lets_running_calls_end() {
    let (finish, finished) = oneshot::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let finished = Mutex::new(Some(finished));
    let house = House::new(move |_| {
        let (finished, begun) = (finished.lock().take(), begun.clone());
        async move {
            begun.send(()).unwrap();
            finished.unwrap().await.unwrap();
            Ok(Response::new(Body::from("ended well")))
        }
    });
    let stream = house.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
    house.shutdown.cancel();
    // The listener goes first: nobody new is taken.
    let mut tries = 0;
    while TcpStream::connect(house.addr).is_ok() {
        tries += 1;
        assert!(tries < 10_000, "it still accepts");
        std::thread::yield_now();
    }
    finish.send(()).unwrap();
    let reply = Reply::read(stream);
    assert_eq!((reply.status, reply.body.as_str()), (200, "ended well"));
    house.stop();
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let house = House::new(ok);
    let long = "a".repeat(1 << 20);
    let reply = Reply::read(house.send(&format!("GET /hello HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n")));
    assert_eq!(reply.status, 431);
    assert_eq!(house.get("/hello").status, 200);
    house.stop();
}

/// A snapshot whose function `hello` has these tables in its manifest.
fn with_edge(tables: &str) -> Snapshot {
    with_revisions(&[(tables, 100)])
}

/// A snapshot whose function `hello` is split over revisions with these tables and weights.
fn with_revisions(all: &[(&str, u8)]) -> Snapshot {
    let weighted = |(n, (tables, weight)): (usize, &(&str, u8))| {
        let spec = types::Manifest::parse(&format!("name = 'hello'\nruntime = 'binary'\n{tables}")).unwrap().spec();
        let digest = types::Digest::from_sha256(&[7; 32]);
        let id = format!("hello@{}", n + 1).parse().unwrap();
        let (content, artifact) = (digest.clone(), digest);
        let revision = types::Revision { id, content, artifact, spec, created: types::Timestamp(1) };
        wire::Weighted { revision: Arc::new(revision), weight: *weight }
    };
    let revisions = all.iter().enumerate().map(weighted).collect();
    let mut snapshot = snapshot(&["other"]);
    let name: FunctionName = "hello".parse().unwrap();
    let target = Target {
        function: name.clone(),
        revisions,
        ..(*snapshot.functions["other"].aliases[&AliasName::live()]).clone()
    };
    let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
    snapshot.functions.insert(name.clone(), Arc::new(FunctionView { name, aliases }));
    snapshot
}

impl House {
    fn ask(&self, head: &str) -> Reply {
        Reply::read(self.send(&format!("{head}\r\nhost: a.example\r\nconnection: close\r\n\r\n")))
    }
}

#[test]
fn a_function_with_a_token_is_called_with_it_only_and_never_sees_it() {
    let calls: Arc<Mutex<Vec<http::HeaderMap>>> = Arc::default();
    let keep = Arc::clone(&calls);
    let house = House::new(move |call| {
        keep.lock().push(call.request.headers().clone());
        async { Ok(Response::new(Body::from("ok"))) }
    });
    // printf %s letmein | sha256sum
    let hash = "1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032";
    let edge = format!("[access]\nauth = 'token'\ntoken_sha256 = '{hash}'\n[cors]\norigins = 'https://app.example'");
    house.snapshots.send(Arc::new(with_edge(&edge))).unwrap();
    for wrong in
        ["", "\r\nauthorization: Bearer letmei", "\r\nauthorization: Basic letmein", "\r\nauthorization: letmein"]
    {
        let reply = house.ask(&format!("GET /hello HTTP/1.1\r\norigin: https://app.example{wrong}"));
        assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (401, "access_denied"), "{wrong}");
        let invalid = wrong.contains("Bearer");
        assert_eq!(reply.headers["www-authenticate"].contains("invalid_token"), invalid, "{wrong}");
        assert_eq!(reply.headers["access-control-allow-origin"], "https://app.example", "a page can read why");
    }
    assert!(calls.lock().is_empty(), "nobody was called");
    assert_eq!(house.ask("GET /hello HTTP/1.1\r\nauthorization: Bearer letmein").status, 200);
    let seen = calls.lock().pop().unwrap();
    assert!(!seen.contains_key("authorization"), "the function has no use for it");
    assert_eq!(house.get("/other").status, 200, "other functions are open");
    house.stop();
}

#[test]
fn a_preflight_is_answered_without_an_instance() {
    let house = House::new(|_| async {
        Ok(Response::builder().header("access-control-allow-origin", "*").body(Body::from("ok")).unwrap())
    });
    let edge = "[access]\nauth = 'token'\ntoken_sha256 = '1c8bfe8f801d79745c4631d09fff36c82aa37fc4cce4fc946683d7b336b63032'\n\
                [cors]\norigins = 'https://*.example'\ncredentials = true\nexpose = ['x-total']";
    house.snapshots.send(Arc::new(with_edge(edge))).unwrap();
    let preflight = "OPTIONS /hello/x HTTP/1.1\r\naccess-control-request-method: PUT\r\naccess-control-request-headers: authorization\r\norigin: ";
    let reply = house.ask(&format!("{preflight}https://app.example"));
    assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    assert_eq!(reply.headers["access-control-allow-origin"], "https://app.example");
    assert_eq!(reply.headers["access-control-allow-headers"], "authorization");
    assert_eq!(reply.headers["access-control-allow-credentials"], "true");
    assert_eq!(reply.headers["access-control-max-age"], "600");
    assert!(reply.headers["access-control-allow-methods"].contains("PUT"));
    let reply = house.ask(&format!("{preflight}https://evil.test"));
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
    let reply = house.ask("GET /hello HTTP/1.1\r\nauthorization: Bearer letmein\r\norigin: https://evil.test");
    assert_eq!(reply.status, 200);
    assert!(!reply.headers.contains_key("access-control-allow-origin"), "what the function said gave way");
    assert_eq!(reply.headers["vary"], "Origin");
    house.stop();
}

#[test]
fn too_many_calls_are_refused_with_the_time_to_wait() {
    let house = House::new(ok);
    let edge = "[rate]\neach = [{ by = 'header:x-who', limit = '1/h', burst = 2 }]";
    house.snapshots.send(Arc::new(with_edge(edge))).unwrap();
    let ask = |who: &str| house.ask(&format!("GET /hello HTTP/1.1\r\nx-who: {who}"));
    assert_eq!([ask("a").status, ask("a").status, ask("b").status], [200; 3]);
    let reply = ask("a");
    assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (429, "rate_limited"));
    assert!((3590..=3600).contains(&reply.headers["retry-after"].parse::<u64>().unwrap()));
    assert_eq!(reply.headers["ratelimit-policy"], "\"header:x-who\";q=1;w=3600");
    // A deploy that does not change the limit gives nobody a new bucket.
    house.snapshots.send(Arc::new(with_edge(&format!("timeout = '9s'\n{edge}")))).unwrap();
    assert_eq!(ask("a").status, 429);
    house.stop();
}

/// Reads to the end of the connection.
fn whole(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_cannot_be_parsed_is_told_as_a_problem() {
    let house = House::new(ok);
    for request in ["nonsense\r\n\r\n", "GET /hello HTTP/1.1\r\nhost : a\r\n\r\n"] {
        let reply = Reply::read(house.send(request));
        let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, problem["code"].as_str()), (400, Some("bad_request")), "{request}");
        assert_eq!(reply.headers["connection"], "close");
    }
    // Behind a good request on the same connection, too.
    let text = whole(house.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\nnonsense\r\n\r\n"));
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\"code\":\"bad_request\""), "{text}");
    house.stop();
}

#[test]
fn a_body_that_looks_like_a_refusal_is_left_alone() {
    const FAKE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let house = House::new(|_| async { Ok(Response::new(Body::from(FAKE))) });
    let two = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()
        + "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = whole(house.send(&two));
    assert_eq!((text.matches(FAKE).count(), text.matches("HTTP/1.1 200 OK").count()), (2, 2), "{text}");
    house.stop();
}

/// RFC 9112 §6.1: chunks win, and nothing behind such a request is read as another one.
#[test]
fn a_length_beside_chunks_ends_the_connection() {
    let house = House::new(|call| async move {
        let has_length = call.request.headers().contains_key("content-length");
        let body =
            call.request.into_body().collect(100).await.map_err(|error| Fault::internal(format!("{error:?}")))?;
        Ok(Response::new(Body::from(format!("{has_length} {}.", String::from_utf8_lossy(&body)))))
    });
    let (length, chunked, next) =
        ("content-length: 5\r\n", "transfer-encoding: chunked\r\n", "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    for (path, framing, status) in [
        ("/hello", format!("{length}{chunked}"), "200 OK"),
        ("/hello", format!("{chunked}{length}"), "200 OK"),
        ("/hello", format!("connection: keep-alive\r\n{chunked}{length}"), "200 OK"),
        ("/hello", format!("{length}{chunked}connection: keep-alive\r\n"), "200 OK"),
        ("/nobody", format!("{chunked}{length}"), "404 Not Found"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n3\r\nabc\r\n0\r\n\r\n{next}");
        let text = whole(house.send(&request));
        assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{framing}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{framing}: {text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{framing}: {text}");
        assert_eq!(text.ends_with("false abc."), path == "/hello", "{framing}: {text}");
    }
    // Without the length, the connection stays.
    let request = format!("POST /hello HTTP/1.1\r\nhost: a\r\n{chunked}\r\n3\r\nabc\r\n0\r\n\r\n");
    let last = next.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let text = whole(house.send(&format!("{request}{last}")));
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    house.stop();
}
