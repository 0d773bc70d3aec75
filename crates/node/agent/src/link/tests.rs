//! Links against instances in process: servers and bootstraps of a few lines, on sockets in a temporary folder.

mod bodies;

use crate::{
    address::Address,
    link::{handler::HandlerLink, http::HttpLink, vitals::Vitals},
    log::Marks,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};
use types::{Code, Digest, InstanceId, InvocationId, Manifest, Revision, RevisionId, Timestamp, record::Outcome};
use wire::{Body, Call, CallInfo, End, Exit, Lease, Link, Permit, Refusal, Shape};

/// Remembers how calls ended.
#[derive(Default)]
struct Ends(Mutex<Vec<End>>);

impl Lease for Ends {
    fn release(&self, _: &CallInfo, end: End) {
        self.0.lock().push(end);
    }
}

impl Ends {
    fn outcomes(&self) -> Vec<Outcome> {
        self.0.lock().iter().map(|end| end.outcome).collect()
    }

    async fn until(&self, count: usize) -> Vec<Outcome> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.outcomes().len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.outcomes());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.outcomes()
    }
}

struct House {
    folder: tempfile::TempDir,
    ends: Arc<Ends>,
    exit: watch::Sender<Option<Exit>>,
    revision: Arc<Revision>,
}

impl House {
    fn new(extra: &str) -> Self {
        let manifest = Manifest::parse(&format!("name='hello'\nruntime='nodejs'\nentry='a.b'\n{extra}")).unwrap();
        let revision = Revision {
            id: RevisionId { function: manifest.name.clone(), number: 1 },
            content: Digest::from_sha256(&[0; 32]),
            artifact: Digest::from_sha256(&[0; 32]),
            spec: manifest.spec(),
            created: Timestamp(0),
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            ends: Arc::default(),
            exit: watch::channel(None).0,
            revision: Arc::new(revision),
        }
    }

    fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("s"))
    }

    fn listener(&self) -> UnixListener {
        UnixListener::bind(self.folder.path().join("s")).unwrap()
    }

    fn vitals(&self) -> Vitals {
        Vitals { id: InstanceId::default(), revision: Arc::clone(&self.revision), exit: self.exit.subscribe() }
    }

    fn http(&self) -> HttpLink {
        HttpLink::new(self.address(), self.vitals(), 1)
    }

    fn handler(&self) -> HandlerLink {
        HandlerLink::new(self.address(), self.vitals(), Marks::default(), 1)
    }

    fn permit(&self, id: InvocationId) -> Permit {
        let info = CallInfo {
            id,
            instance: InstanceId::default(),
            arrived: Instant::now(),
            waited: Duration::ZERO,
            cold: false,
        };
        Permit::new(Arc::clone(&self.ends) as Arc<dyn Lease>, info)
    }

    async fn call(&self, link: &dyn Link, body: Body, shape: Shape) -> Result<Response<Body>, Refusal> {
        let id = InvocationId::random();
        let request = Request::post("/x").body(body).unwrap();
        let deadline = Instant::now() + self.revision.spec.timeout.duration();
        let call = Call { id, request: Box::new(request), shape, arrived: Instant::now(), deadline, peer: None };
        link.call(call, self.permit(id)).await
    }
}

async fn text(response: Response<Body>) -> Result<String, wire::BodyError> {
    let body = response.into_body().collect(u64::MAX).await.map_err(|error| error.expect("no limit"))?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Serves HTTP with `answer` until the test ends, counting connections.
fn serve<F, R, B>(listener: UnixListener, answer: F) -> Arc<AtomicUsize>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    connections
}

#[tokio::test]
async fn small_answers_free_the_slot_at_once_and_share_a_connection() {
    let house = House::new("contract='http'");
    let connections = serve(house.listener(), |request| async move {
        Response::new(Full::new(request.into_body().collect().await.unwrap().to_bytes()))
    });
    let link = house.http();
    for n in 1..=3 {
        let response = house.call(&link, Body::from("ping"), Shape::Http).await.unwrap();
        assert_eq!(house.ends.outcomes(), vec![Outcome::Ok; n], "before the body is read");
        assert_eq!(text(response).await.unwrap(), "ping");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn large_answers_hold_the_slot_until_the_last_byte() {
    let house = House::new("contract='http'");
    let large = vec![b'a'; 3 << 20];
    let body = Bytes::from(large.clone());
    let connections = serve(house.listener(), move |_| std::future::ready(Response::new(Full::new(body.clone()))));
    let link = house.http();
    for n in 0..3 {
        let response = house.call(&link, Body::Empty, Shape::Http).await.unwrap();
        assert_eq!(house.ends.outcomes().len(), n);
        assert_eq!(text(response).await.unwrap().len(), large.len());
        assert_eq!(house.ends.outcomes(), vec![Outcome::Ok; n + 1]);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nobody_listening_leaves_the_call_untouched() {
    let house = House::new("contract='http'");
    let refusal = house.call(&house.http(), Body::from("ping"), Shape::Http).await.unwrap_err();
    assert_eq!(refusal.fault.code, Code::Unavailable);
    let call = refusal.call.expect("it can go to another instance");
    assert_eq!(call.request.into_body().collect(10).await.unwrap(), "ping");
    assert_eq!(house.ends.outcomes(), [Outcome::Crashed], "so that it is not offered the call again");
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced_unnoticed() {
    let house = House::new("contract='http'");
    let listener = house.listener();
    let (closed, mut is_closed) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let link = house.http();
    for _ in 0..5 {
        let response = house.call(&link, Body::from("x"), Shape::Http).await.unwrap();
        assert_eq!(text(response).await.unwrap(), "ok");
        is_closed.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_passes_the_deadline_is_cut() {
    let house = House::new("contract='http'\ntimeout='200ms'");
    serve(house.listener(), |_| {
        let (sender, receiver) = futures_channel();
        tokio::spawn(async move {
            while sender.send(Bytes::from_static(b"tick")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        std::future::ready(Response::new(receiver))
    });
    let begun = Instant::now();
    let response = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap();
    let error = text(response).await.unwrap_err();
    assert!(error.to_string().contains("200ms"), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(190));
    assert_eq!(house.ends.outcomes(), [Outcome::TimedOut]);
}

#[tokio::test]
async fn a_head_that_passes_the_deadline_is_a_timeout() {
    let house = House::new("contract='http'\ntimeout='100ms'");
    serve(house.listener(), |_| std::future::pending::<Response<Full<Bytes>>>());
    let refusal = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap_err();
    assert_eq!((refusal.fault.code, refusal.call.is_none()), (Code::FunctionTimeout, true));
    assert_eq!(house.ends.outcomes(), [Outcome::TimedOut]);
}

#[tokio::test]
async fn who_leaves_mid_answer_closes_the_connection() {
    let house = House::new("contract='http'");
    let (gone, mut is_gone) = mpsc::channel::<()>(1);
    serve(house.listener(), move |_| {
        let (sender, receiver) = futures_channel();
        let gone = gone.clone();
        tokio::spawn(async move {
            while sender.send(Bytes::from(vec![0; 64 << 10])).await.is_ok() {}
            gone.send(()).await.unwrap();
        });
        std::future::ready(Response::new(receiver))
    });
    let response = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap();
    drop(response);
    is_gone.recv().await.unwrap();
    assert_eq!(house.ends.outcomes(), [Outcome::Cancelled]);
}

#[tokio::test]
async fn what_is_no_http_is_the_functions_fault() {
    let house = House::new("contract='http'");
    let listener = house.listener();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"\0\0garbage\r\n\r\n").await.unwrap();
        }
    });
    let refusal = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap_err();
    assert_eq!(refusal.fault.code, Code::ResponseInvalid, "{}", refusal.fault);
}

#[tokio::test]
async fn limits_hold_for_streams_of_unknown_length() {
    let house = House::new("contract='http'\nrequest_max='1KiB'\nresponse_max='1KiB'");
    serve(house.listener(), |request| async move {
        let _ = request.into_body().collect().await;
        let (sender, receiver) = futures_channel();
        tokio::spawn(async move { while sender.send(Bytes::from_static(&[0; 100])).await.is_ok() {} });
        Response::new(receiver)
    });
    let long = Body::stream(BodyExt::map_err(Full::new(Bytes::from(vec![0; 2048])).boxed(), |never| match never {}));
    let refusal = house.call(&house.http(), long, Shape::Http).await.unwrap_err();
    assert_eq!(refusal.fault.code, Code::RequestTooLarge, "{}", refusal.fault);
    let response = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap();
    assert!(text(response).await.is_err());
    assert_eq!(house.ends.until(2).await, [Outcome::Rejected, Outcome::FunctionError]);
}

type Chunks =
    StreamBody<std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + Send>>>;

/// A body of chunks as they are sent.
fn futures_channel() -> (mpsc::Sender<Bytes>, Chunks) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async move {
        receiver.recv().await.map(|bytes| (Ok(http_body::Frame::data(bytes)), receiver))
    });
    (sender, StreamBody::new(Box::pin(stream)))
}

/// A bootstrap of a few lines: reads a call, waits for the test's word, answers.
fn bootstrap(listener: UnixListener, mut answers: mpsc::Receiver<(u8, &'static str)>) -> mpsc::Receiver<String> {
    let (seen, calls) = mpsc::channel(10);
    tokio::spawn(async move {
        let mut streams = Vec::new();
        let mut accepted = listener.accept().await.unwrap().0;
        loop {
            let (event, stream) = read_call(&listener, &mut accepted, &mut streams).await;
            seen.send(event).await.unwrap();
            let Some((kind, payload)) = answers.recv().await else { return };
            let mut frame = vec![kind];
            frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            frame.extend_from_slice(payload.as_bytes());
            let _ = stream.write_all(&frame).await;
        }
    });
    calls
}

/// The next call's event, on the connection it came on; a new connection takes over from the old one.
async fn read_call<'a>(
    listener: &UnixListener,
    current: &'a mut UnixStream,
    old: &mut Vec<UnixStream>,
) -> (String, &'a mut UnixStream) {
    let mut head = [0; 5];
    loop {
        tokio::select! {
            read = current.read_exact(&mut head) => {
                if read.is_ok() { break }
                let next = listener.accept().await.unwrap().0;
                old.push(std::mem::replace(current, next));
            }
            next = listener.accept() => old.push(std::mem::replace(current, next.unwrap().0)),
        }
    }
    assert_eq!(head[0], b'I');
    let mut payload = vec![0; u32::from_le_bytes(head[1..].try_into().unwrap()) as usize];
    current.read_exact(&mut payload).await.unwrap();
    let meta = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
    let parsed: serde_json::Value = serde_json::from_slice(&payload[4..4 + meta]).unwrap();
    assert_eq!((&parsed["function"], &parsed["revision"]), (&"hello".into(), &"1".into()));
    (String::from_utf8(payload[4 + meta..].to_vec()).unwrap(), current)
}

#[tokio::test]
async fn a_handler_gets_the_event_and_its_result_comes_back() {
    let house = House::new("");
    let (answer, answers) = mpsc::channel(10);
    let mut calls = bootstrap(house.listener(), answers);
    let link = house.handler();
    answer.send((b'R', r#"{"n":2}"#)).await.unwrap();
    let response = house.call(&link, Body::from(r#"{"n":1}"#), Shape::Event).await.unwrap();
    assert_eq!(
        (text(response).await.unwrap(), calls.recv().await.unwrap()),
        (r#"{"n":2}"#.into(), r#"{"n":1}"#.into())
    );
    // An error is an answer to an event, and a fault to a request.
    answer.send((b'E', r#"{"errorType":"Boom","errorMessage":"no"}"#)).await.unwrap();
    let response = house.call(&link, Body::Empty, Shape::Event).await.unwrap();
    assert_eq!(response.headers()["mayfly-function-error"], "function_error");
    answer.send((b'E', r#"{"errorType":"Boom","errorMessage":"no"}"#)).await.unwrap();
    let refusal = house.call(&link, Body::Empty, Shape::Http).await.unwrap_err();
    assert_eq!((refusal.fault.code, &*refusal.fault.detail), (Code::FunctionError, "Boom: no"));
    assert_eq!(house.ends.outcomes(), [Outcome::Ok, Outcome::FunctionError, Outcome::FunctionError]);
}

#[tokio::test]
async fn an_event_that_is_no_json_never_reaches_the_handler() {
    let house = House::new("");
    let (_answer, answers) = mpsc::channel(10);
    let _calls = bootstrap(house.listener(), answers);
    let refusal = house.call(&house.handler(), Body::from("{nonsense"), Shape::Event).await.unwrap_err();
    assert_eq!(refusal.fault.code, Code::BadRequest);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_free_the_handlers_slot() {
    let house = Arc::new(House::new(""));
    let (answer, answers) = mpsc::channel(10);
    let mut calls = bootstrap(house.listener(), answers);
    let link = Arc::new(house.handler());
    let call = tokio::spawn({
        let (house, link) = (Arc::clone(&house), Arc::clone(&link));
        async move { house.call(&*link, Body::from("1"), Shape::Event).await.map(|_| ()) }
    });
    assert_eq!(calls.recv().await.unwrap(), "1");
    call.abort();
    let _ = call.await;
    assert_eq!(house.ends.outcomes(), [], "the handler still runs");
    answer.send((b'R', "null")).await.unwrap();
    assert_eq!(house.ends.until(1).await, [Outcome::Cancelled]);
    // The connection is clean: the answer that nobody wanted was read.
    answer.send((b'R', "2")).await.unwrap();
    let response = house.call(&*link, Body::from("2"), Shape::Event).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "2");
}

#[tokio::test]
async fn a_death_in_the_middle_says_how() {
    let house = House::new("");
    let listener = house.listener();
    let exit = house.exit.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        drop(stream);
        exit.send_replace(Some(Exit::Memory { used: 300 << 20, limit: 256 << 20 }));
    });
    let refusal = house.call(&house.handler(), Body::Empty, Shape::Event).await.unwrap_err();
    assert_eq!(
        (refusal.fault.code, &*refusal.fault.detail),
        (Code::MemoryExceeded, "the instance held 300MiB of 256MiB")
    );
    assert_eq!(house.ends.outcomes(), [Outcome::Crashed]);
}
