//! One call: from the request to the head of the answer, and on with the body.

use crate::{
    Engine, LogSink, body,
    guest::{self, overdue},
    state::State,
};
use bindings::Outbound;
use parking_lot::Mutex;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};
use tokio::{sync::oneshot, task::unconstrained, time::Sleep};
use types::{Bytes, Code, Fault, InvocationId};
use wasmtime_wasi_http::p2::{
    bindings::{ProxyPre, http::types::ErrorCode},
    body::HyperOutgoingBody,
};
use wire::{Body, End, Permit};

/// What one call may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All linear memories of the instance together.
    pub memory: Bytes,
    /// Guest code that runs or waits later than this is stopped, within two ticks.
    pub deadline: Instant,
}

/// A component, ready to be called. Clones share everything; its code stays mapped as long as one lives.
#[derive(Clone)]
pub struct Component {
    engine: Engine,
    pre: ProxyPre<State>,
    outbound: Option<Arc<Outbound>>,
}

type Guest = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;
type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// What a guest says about its answer, shared between who runs it and who reads the body.
#[derive(Default)]
pub(crate) struct Head {
    answer: Mutex<Option<Answer>>,
    set: OnceLock<()>,
    failure: OnceLock<Fault>,
}

impl Head {
    pub(crate) fn set(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        let _ = self.set.set(());
    }

    /// The guest has answered, whether the answer was taken since or not.
    pub(crate) fn is_set(&self) -> bool {
        self.set.get().is_some()
    }

    fn take(&self) -> Option<Answer> {
        self.answer.lock().take()
    }

    pub(crate) fn fail(&self, fault: &Fault) {
        let _ = self.failure.set(fault.clone());
    }

    pub(crate) fn failure(&self) -> Option<Fault> {
        self.failure.get().cloned()
    }
}

/// How far a guest has come.
enum Step {
    Ended(Result<(), Fault>),
    Answered,
}

impl Component {
    pub(crate) fn new(engine: Engine, pre: ProxyPre<State>) -> Self {
        Self { engine, pre, outbound: None }
    }

    /// The component with what it may call; without, nobody.
    #[must_use]
    pub fn reaching(self, outbound: Option<Arc<Outbound>>) -> Self {
        Self { outbound, ..self }
    }

    /// Calls the component in a new instance; answers as soon as the guest has set the head.
    ///
    /// A guest that has ended by then (the common case) costs no task and its body is whole. One that still runs is
    /// driven by a task of the current tokio runtime until it ends or `limits.deadline` passes; dropping this future
    /// or the unread body stops it. `permit` is finished when the guest has ended and its body was taken.
    ///
    /// # Errors
    /// `capacity_exhausted` (no slot in the pool), `function_timeout`, `memory_exceeded`, `function_error` (a trap or
    /// an error code), `function_exited`, `response_invalid` (no answer, or half of one). What befalls the guest after
    /// its head breaks the body off with the same fault.
    pub async fn call(
        &self,
        mut request: http::Request<Body>,
        id: InvocationId,
        limits: Limits,
        env: &Arc<[(String, String)]>,
        log: &LogSink,
        permit: Permit,
    ) -> Result<http::Response<Body>, Fault> {
        set_authority(&mut request);
        let in_flight = self.engine.inner.ticker.begin();
        let state = State::new(id, limits, Arc::clone(env), Arc::clone(log), in_flight, self.outbound.clone());
        let head = Arc::new(Head::default());
        // Epochs make a guest yield by time. tokio's own count of operations would make a short one look unfinished
        // whenever the caller's task has used it up.
        let run = guest::run(self.pre.clone(), state, request, Arc::clone(&head));
        let mut guest: Guest = Box::pin(unconstrained(run));
        let mut timer = Timer { deadline: limits.deadline, sleep: None };
        let answer = match poll_fn(|cx| step(&mut guest, &mut timer, &head, cx)).await {
            Step::Ended(ended) => finish(ended, &head).await,
            Step::Answered => return go_on(guest, timer, head, permit),
        };
        permit.finish(match &answer {
            Ok(response) => End::ok(response.status().as_u16()),
            Err(fault) => End::fault(fault),
        });
        answer
    }
}

/// A component is told its authority, from the URI or the header; a call that has none is for nobody else.
fn set_authority(request: &mut http::Request<Body>) {
    let told = request.uri().authority().is_some()
        || request.headers().get(http::header::HOST).is_some_and(|host| host.to_str().is_ok());
    if !told {
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    }
}

fn step(guest: &mut Guest, timer: &mut Timer, head: &Head, cx: &mut Context<'_>) -> Poll<Step> {
    match guest.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Step::Ended(ended)),
        Poll::Pending if head.is_set() => Poll::Ready(Step::Answered),
        Poll::Pending => timer.poll(cx).map(|()| Step::Ended(Err(overdue()))),
    }
}

/// The answer of a guest that is gone.
async fn finish(ended: Result<(), Fault>, head: &Head) -> Result<http::Response<Body>, Fault> {
    ended?;
    let response = answer(head)?;
    let (parts, body) = response.into_parts();
    let mut body = Some(body);
    let collect = poll_fn(|cx| Poll::Ready(body.take().map_or(Ok(Body::Empty), |body| body::collect(body, cx))));
    let body = unconstrained(collect).await?;
    Ok(http::Response::from_parts(parts, body))
}

fn answer(head: &Head) -> Result<http::Response<HyperOutgoingBody>, Fault> {
    match head.take() {
        Some(Ok(response)) => Ok(response),
        Some(Err(code)) => {
            Err(Fault::new(Code::FunctionError, format!("the component answered with the error {code:?}")))
        }
        None => Err(Fault::new(Code::ResponseInvalid, "the component returned without setting a response")),
    }
}

/// The answer of a guest that still runs: a task drives it on.
fn go_on(guest: Guest, timer: Timer, head: Arc<Head>, permit: Permit) -> Result<http::Response<Body>, Fault> {
    let response = match answer(&head) {
        Ok(response) => response,
        Err(fault) => {
            drop(guest);
            permit.finish(End::fault(&fault));
            return Err(fault);
        }
    };
    let (out, taken) = oneshot::channel();
    let status = response.status().as_u16();
    // It ends with the guest and at the deadline at the latest; nobody waits for it, `permit` tells how it went.
    let task = tokio::spawn(drive(guest, timer, Arc::clone(&head), taken, permit, status)).abort_handle();
    Ok(response.map(|body| Body::stream(body::Running { body, head, task, out: Some(out) })))
}

async fn drive(
    guest: Guest,
    mut timer: Timer,
    head: Arc<Head>,
    taken: oneshot::Receiver<()>,
    permit: Permit,
    status: u16,
) {
    let mut guest = Some(guest);
    let ended = poll_fn(|cx| {
        let Some(running) = guest.as_mut() else { return Poll::Ready(Ok(())) };
        match running.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => timer.poll(cx).map(|()| Err(overdue())),
        }
    })
    .await;
    if let Err(fault) = &ended {
        head.fail(fault);
    }
    // Only now: a body whose guest just vanished would look whole.
    drop(guest);
    if let Err(fault) = ended {
        return permit.finish(End::fault(&fault));
    }
    // A slow reader keeps the slot until the deadline, not longer.
    let mut taken = taken;
    poll_fn(|cx| match Pin::new(&mut taken).poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => timer.poll(cx),
    })
    .await;
    permit.finish(End::ok(status));
}

/// The deadline as a timer, made when the guest first waits: most never do.
struct Timer {
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into()))).as_mut().poll(cx)
    }
}
