//! Contract `handler` for official runtime clients: Lambda's Runtime API `2018-06-01`, one server for each instance.
//!
//! The runtime polls `GET …/runtime/invocation/next` and posts what its handler answered. An invocation belongs to the
//! runtime from the moment it is polled until it is answered or overdue, whatever its caller does meanwhile.
//! Source: "Using the Lambda runtime API for custom runtimes".

use crate::{
    event,
    link::{
        handler::{Answer, check_json, error_fault},
        limit,
        vitals::Vitals,
    },
    log::Marks,
};
use bytes::Bytes;
use chassis::{Lanes, Shutdown, task};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot, watch},
    time::timeout_at,
};
use types::{Code, Fault, InvocationId, Timestamp};
use wire::{Body, BoxFuture, Call, End, Link, Permit, Refusal, Shape};

/// Largest answer where the revision has no limit of its own.
const ANSWER_MAX: u64 = 64 << 20;
/// Largest error document.
const ERROR_MAX: usize = 1 << 20;

pub(crate) struct RuntimeApi(Arc<Inner>);

struct Inner {
    vitals: Vitals,
    marks: Marks,
    arn: HeaderValue,
    state: Mutex<State>,
    /// Something was put into the queue.
    queued: Notify,
    init: watch::Sender<Init>,
}

/// How far the runtime is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Init {
    Loading,
    /// It polled for its first invocation.
    Polled,
    /// It posted `/runtime/init/error`.
    Failed(Fault),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Pending>,
    running: HashMap<InvocationId, Running>,
}

/// An invocation that no poll took yet.
struct Pending {
    id: InvocationId,
    event: Bytes,
    trace: HeaderValue,
    deadline: Instant,
    running: Running,
}

/// An invocation that the runtime works on; it holds the slot.
struct Running {
    permit: Permit,
    shape: Shape,
    answered: oneshot::Sender<Result<Response<Body>, Fault>>,
}

impl RuntimeApi {
    /// Serves on `listener` from a lane until `shutdown`.
    pub(crate) fn start(
        vitals: Vitals,
        marks: Marks,
        listener: std::net::TcpListener,
        lanes: &Lanes,
        lane: usize,
        shutdown: Shutdown,
    ) -> Self {
        let id = &vitals.revision.id;
        let arn = format!("arn:aws:lambda:local:000000000000:function:{}:{}", id.function, id.number);
        let inner = Arc::new(Inner {
            arn: HeaderValue::try_from(arn).unwrap_or(HeaderValue::from_static("-")),
            vitals,
            marks,
            state: Mutex::default(),
            queued: Notify::new(),
            init: watch::channel(Init::Loading).0,
        });
        let serving = Arc::clone(&inner);
        lanes.spawn(lane, "runtime API", async move {
            if let Err(error) = serve(serving, listener, shutdown).await {
                tracing::error!(%error, "the Runtime API of an instance cannot be served");
            }
        });
        Self(inner)
    }

    pub(crate) fn init(&self) -> watch::Receiver<Init> {
        self.0.init.subscribe()
    }

    async fn invoke(&self, call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        let spec = &self.0.vitals.revision.spec;
        let (id, shape, deadline, peer) = (call.id, call.shape, call.deadline, call.peer);
        let (parts, body) = call.request.into_parts();
        let trace = trace_id(parts.headers.get("traceparent"), id);
        let event = limit::collect(body, spec.request_max).await.and_then(|body| match shape {
            Shape::Http => {
                let mut out = Vec::with_capacity(body.len() + 1024);
                event::write(&mut out, &parts, &body, id, &self.0.vitals.revision.id.function, peer);
                Ok(Bytes::from(out))
            }
            Shape::Event if body.trim_ascii().is_empty() => Ok(Bytes::from_static(b"{}")),
            Shape::Event => check_json(&body).map(|()| body),
        });
        let event = match event {
            Ok(event) => event,
            Err(fault) => {
                permit.finish(End::fault(&fault));
                return Err(fault.into());
            }
        };
        let (sender, answered) = oneshot::channel();
        let running = Running { permit, shape, answered: sender };
        self.0.state.lock().queue.push_back(Pending { id, event, trace, deadline, running });
        self.0.queued.notify_one();
        self.wait(id, deadline, answered).await.map_err(Refusal::from)
    }

    async fn wait(
        &self,
        id: InvocationId,
        deadline: Instant,
        answered: oneshot::Receiver<Result<Response<Body>, Fault>>,
    ) -> Result<Response<Body>, Fault> {
        let watchdog = Watchdog { inner: &self.0, id, deadline, armed: true };
        let ended = tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(|_| Err(Fault::internal("an answer was lost"))),
            () = self.0.vitals.gone() => Err(self.0.end(id, self.0.vitals.why_gone().await)),
            () = tokio::time::sleep_until(deadline.into()) => Err(self.0.end(id, self.0.vitals.overdue())),
        };
        watchdog.disarm();
        ended
    }
}

impl Link for RuntimeApi {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.invoke(call, permit))
    }
}

/// Watches a call whose caller went away: its slot is free when the runtime answers or the deadline passes.
struct Watchdog<'a> {
    inner: &'a Arc<Inner>,
    id: InvocationId,
    deadline: Instant,
    armed: bool,
}

impl Watchdog<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Watchdog<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.armed {
            return;
        }
        let (inner, id, deadline) = (Arc::clone(self.inner), self.id, self.deadline);
        task::spawn_on(&runtime, "abandoned call", async move {
            let gone = timeout_at(deadline.into(), inner.vitals.gone()).await.is_ok();
            let fault = if gone { inner.vitals.why_gone().await } else { inner.vitals.overdue() };
            inner.end(id, fault);
        });
    }
}

impl Inner {
    /// Takes the invocation from the runtime and frees its slot. Hands the fault back.
    fn end(&self, id: InvocationId, fault: Fault) -> Fault {
        let running = {
            let mut state = self.state.lock();
            state.running.remove(&id).or_else(|| {
                let index = state.queue.iter().position(|pending| pending.id == id)?;
                state.queue.remove(index).map(|pending| pending.running)
            })
        };
        if let Some(running) = running {
            running.permit.finish(End::fault(&fault));
        }
        fault
    }

    /// `GET /runtime/invocation/next`: the oldest invocation, or the next one that comes.
    async fn next(&self) -> Response<Body> {
        self.init.send_if_modified(|init| {
            let first = *init == Init::Loading;
            if first {
                *init = Init::Polled;
            }
            first
        });
        loop {
            let pending = {
                let mut state = self.state.lock();
                state.queue.pop_front().map(|pending| {
                    let Pending { id, event, trace, deadline, running } = pending;
                    self.marks.begin(id);
                    state.running.insert(id, running);
                    (id, event, trace, deadline)
                })
            };
            match pending {
                Some((id, event, trace, deadline)) => return self.invocation(id, event, trace, deadline),
                None => self.queued.notified().await,
            }
        }
    }

    fn invocation(&self, id: InvocationId, event: Bytes, trace: HeaderValue, deadline: Instant) -> Response<Body> {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = Timestamp::from(SystemTime::now() + left).0;
        let mut response = Response::new(Body::from(event));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let text = HeaderValue::from_str(id.encode(&mut [0; 36])).unwrap_or(HeaderValue::from_static("-"));
        headers.insert("lambda-runtime-aws-request-id", text);
        headers.insert("lambda-runtime-deadline-ms", HeaderValue::from(until));
        headers.insert("lambda-runtime-invoked-function-arn", self.arn.clone());
        headers.insert("lambda-runtime-trace-id", trace);
        response
    }

    /// `POST /runtime/invocation/{id}/response` and `…/error`.
    async fn answer(&self, id: &str, failed: bool, body: Incoming) -> Response<Body> {
        let spec = &self.vitals.revision.spec;
        let max = spec.response_max.map_or(ANSWER_MAX, |max| max.0);
        let body = http_body_util::Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX)).collect().await;
        let (answer, status) = match body {
            Ok(body) if failed => (Ok(Answer::Error(body.to_bytes())), StatusCode::ACCEPTED),
            Ok(body) => (Ok(Answer::Result(body.to_bytes())), StatusCode::ACCEPTED),
            Err(error) if error.is::<LengthLimitError>() => {
                let too_large = limit::check_response(max + 1, Some(types::Bytes(max)));
                (too_large.map(|()| Answer::Result(Bytes::new())), StatusCode::PAYLOAD_TOO_LARGE)
            }
            // The runtime broke off in the middle of its answer: its end, or the deadline, tells why.
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "IncompleteBody"),
        };
        let running = id.parse().ok().and_then(|id: InvocationId| self.state.lock().running.remove(&id));
        // Answered twice, or too late: the invocation is no longer the runtime's.
        let Some(running) = running else { return refuse(StatusCode::BAD_REQUEST, "InvalidRequestID") };
        running.complete(answer);
        if status == StatusCode::ACCEPTED { accepted() } else { refuse(status, "RequestEntityTooLarge") }
    }
}

impl Running {
    fn complete(self, answer: Result<Answer, Fault>) {
        let result = answer.and_then(|answer| answer.response(self.shape));
        self.permit.finish(match &result {
            Ok((_, end)) => *end,
            Err(fault) => End::fault(fault),
        });
        // Nobody may wait any more: the slot is free all the same.
        let _ = self.answered.send(result.map(|(response, _)| response));
    }
}

/// X-Ray's format, `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>`, of the call's W3C trace; of its id where it has none.
///
/// Not sampled, because nothing collects segments yet.
fn trace_id(traceparent: Option<&HeaderValue>, id: InvocationId) -> HeaderValue {
    let parent = traceparent.and_then(|value| value.to_str().ok());
    let parent = parent.and_then(|text| Some((text.get(3..11)?, text.get(11..35)?, text.get(36..52)?)));
    let text = match parent {
        Some((time, random, span)) => format!("Root=1-{time}-{random};Parent={span};Sampled=0"),
        None => {
            let hex: String = id.encode(&mut [0; 36]).chars().filter(|c| *c != '-').collect();
            let (time, random) = hex.split_at(8);
            format!("Root=1-{time}-{random};Sampled=0")
        }
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
}

async fn serve(inner: Arc<Inner>, listener: std::net::TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    // Nothing is congested on the loopback. Whatever the host prefers for real networks may pace each segment by a
    // timer (BBR does); what is set here goes to every accepted connection.
    if let Err(error) = rustix::net::sockopt::set_tcp_congestion(&listener, "reno") {
        tracing::debug!(%error, "the Runtime API keeps the host's congestion control");
    }
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = shutdown.cancelled() => return Ok(()),
        };
        let (inner, shutdown) = (Arc::clone(&inner), shutdown.clone());
        task::spawn("runtime API connection", async move {
            let answer = service_fn(|request| route(&inner, request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::select! {
                _ = connection => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn route(inner: &Inner, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/2018-06-01/runtime/").unwrap_or("").trim_end_matches('/');
    Ok(match (&parts.method, path) {
        (&Method::GET, "invocation/next") => inner.next().await,
        (&Method::POST, "init/error") => {
            let document = http_body_util::Limited::new(body, ERROR_MAX).collect().await;
            let document = document.map(|body| body.to_bytes()).unwrap_or_default();
            let fault = error_fault(&document);
            inner.init.send_replace(Init::Failed(Fault::new(Code::StartFailed, fault.detail)));
            accepted()
        }
        (&Method::POST, path) => match path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/')) {
            Some((id, "response")) => inner.answer(id, false, body).await,
            Some((id, "error")) => inner.answer(id, true, body).await,
            _ => refuse(StatusCode::NOT_FOUND, "NotFound"),
        },
        _ => refuse(StatusCode::NOT_FOUND, "NotFound"),
    })
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"status":"OK"}"#));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, kind: &'static str) -> Response<Body> {
    let text = format!(r#"{{"errorType":"{kind}","errorMessage":"{kind}"}}"#);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_as_xray_writes_it() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap();
        for (parent, want) in [
            (
                Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=0",
            ),
            (Some("nonsense"), "Root=1-0f8fad5b-d9cb469fa16570867728950e;Sampled=0"),
            (None, "Root=1-0f8fad5b-d9cb469fa16570867728950e;Sampled=0"),
        ] {
            let parent = parent.map(HeaderValue::from_static);
            assert_eq!(trace_id(parent.as_ref(), id), want);
        }
    }
}
