//! Contract `http`: one hop to the instance's own server over its socket, streamed both ways.
//!
//! Connections are pooled for each lane. A connection has no task of its own: whoever uses it drives it, so a call
//! costs no wake-up of another task.

use crate::{
    address::{Address, Stream},
    link::{
        body::{self, Source},
        expect, limit, tunnel,
        vitals::Vitals,
    },
};
use bytes::Bytes;
use chassis::lane::PerLane;
use http::{HeaderValue, Request, Response, StatusCode, Version, header, response::Parts};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::time::timeout_at;
use types::{Code, Fault, record::Outcome};
use wire::{Body, BoxFuture, Call, End, Link, Permit, Refusal};

/// Idle connections are closed after this: before the 5 s after which Node and uvicorn close theirs, so that a request
/// does not cross a close on its way.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Most idle connections of one lane to one instance.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// Connections that died idle before a fresh one is made.
const STALE_MAX: usize = 4;

pub(crate) struct HttpLink(Arc<Inner>);

struct Inner {
    address: Address,
    vitals: Vitals,
    idle: PerLane<Idle>,
}

/// Boxed, because a connection of 1 KiB moves at each call from here into the call and its body, and back.
#[allow(clippy::vec_box)]
type Idle = Mutex<Vec<Box<Conn>>>;

struct Conn {
    sender: SendRequest<Body>,
    driver: Connection<TokioIo<Stream>, Body>,
    closed: bool,
    /// It ended with the caller's body: no word about the instance.
    fault: Option<Box<Fault>>,
    /// It may carry another call.
    reuse: bool,
    used: Instant,
}

impl Conn {
    /// Moves bytes; true while the connection stands.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.closed
            && let Poll::Ready(ended) = Pin::new(&mut self.driver).poll(cx)
        {
            self.closed = true;
            self.fault = ended.err().and_then(|error| of_caller(&error)).map(Box::new);
        }
        !self.closed
    }

    fn is_fresh(&mut self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE_MAX
            && self.drive(&mut Context::from_waker(Waker::noop()))
            && self.sender.is_ready()
    }
}

impl HttpLink {
    pub(crate) fn new(address: Address, vitals: Vitals, lanes: usize) -> Self {
        Self(Arc::new(Inner { address, vitals, idle: PerLane::new(lanes) }))
    }

    /// No async function, as [`Inner::send`] is none: one keeps a second copy of what it is given, and this is the largest
    /// part of a call's state.
    fn exchange(&self, mut call: Call, permit: Permit) -> impl Future<Output = Result<Response<Body>, Refusal>> {
        let deadline = call.deadline;
        // HTTP/1.1 asks for it (RFC 9112 §3.2), and an event brings none.
        call.request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        *call.request.version_mut() = Version::HTTP_11;
        let upgrade = wanted(&mut call.request);
        async move {
            let max = self.0.vitals.revision.spec.request_max;
            match limit::request(std::mem::take(call.request.body_mut()), max) {
                Ok(body) => *call.request.body_mut() = body,
                Err(fault) => return Err(finish(permit, fault)),
            }
            let held = expect::is_expected(call.request.headers());
            if held {
                expect::hold(&mut call.request);
            }
            let (mut conn, response) = match timeout_at(deadline.into(), self.0.send(call)).await {
                Ok(Ok(answered)) => answered,
                Ok(Err(refusal)) => return Err(refused(permit, refusal)),
                Err(_) => return Err(finish(permit, self.0.vitals.overdue())),
            };
            let (parts, mut incoming) = response.into_parts();
            if parts.status == StatusCode::SWITCHING_PROTOCOLS {
                return Box::pin(self.switch(parts, conn, upgrade, deadline, permit)).await;
            }
            // The rest of a body that the function did not wait for is the client's, and must not wait in the pool.
            conn.reuse = !held;
            let end = End::ok(parts.status.as_u16());
            // Most answers are small and here already: then the slot is free before the client reads them.
            let first = match head(&mut conn, &mut incoming).await {
                Head::Whole(body) => {
                    if let Err(fault) =
                        limit::check_response(body.len() as u64, self.0.vitals.revision.spec.response_max)
                    {
                        return Err(finish(permit, fault));
                    }
                    self.0.put_back(conn);
                    permit.finish(end);
                    return Ok(Response::from_parts(parts, Body::from(body)));
                }
                Head::First(first) => first,
            };
            let source = Driven { inner: Arc::clone(&self.0), conn, first, incoming };
            Ok(Response::from_parts(parts, body::stream(source, permit, end, deadline)))
        }
    }

    /// The instance's connection speaks another protocol now: it becomes one half of a tunnel.
    async fn switch(
        &self,
        parts: Parts,
        mut conn: Box<Conn>,
        upgrade: Option<OnUpgrade>,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Response<Body>, Refusal> {
        let Some(client) = upgrade else {
            let fault = Fault::new(Code::ResponseInvalid, "the function switched to a protocol that nobody asked for");
            return Err(finish(permit, fault));
        };
        std::future::poll_fn(|cx| if conn.drive(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
        let http1::Parts { io, read_buf, .. } = conn.driver.into_parts();
        let limits = tunnel::Limits::new(self.0.vitals.revision.spec.tunnel, deadline);
        tunnel::open(client, io.into_inner(), read_buf, limits, permit, self.0.vitals.clone());
        Ok(Response::from_parts(parts, Body::Empty))
    }
}

/// The way to the client's connection where it wants another protocol; the wish is handed on (RFC 9110 §7.8).
fn wanted(request: &mut Request<Body>) -> Option<OnUpgrade> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
    if request.headers().contains_key(header::UPGRADE) {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Some(upgrade)
}

/// Ends a call that the link itself refuses.
pub(crate) fn finish(permit: Permit, fault: Fault) -> Refusal {
    permit.finish(End::fault(&fault));
    fault.into()
}

/// Ends a call that could not be sent, or broke.
pub(crate) fn refused(permit: Permit, refusal: Refusal) -> Refusal {
    let end = End::fault(&refusal.fault);
    // An instance that nobody can connect to is no more: it must not be offered the call again.
    let outcome = if refusal.call.is_some() { Outcome::Crashed } else { end.outcome };
    permit.finish(End { outcome, ..end });
    refusal
}

/// What of the body is here without waiting: all of it, or its first frame.
enum Head {
    Whole(Bytes),
    First(Option<Frame<Bytes>>),
}

async fn head(conn: &mut Conn, incoming: &mut Incoming) -> Head {
    if incoming.is_end_stream() {
        return Head::Whole(Bytes::new());
    }
    // Content of unknown length cannot be complete with its first frame; it is streamed from the start.
    if incoming.size_hint().exact().is_none() {
        return Head::First(None);
    }
    let frame = std::future::poll_fn(|cx| {
        conn.drive(cx);
        Poll::Ready(match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Some(frame),
            // An error comes again when the body is read.
            Poll::Ready(_) | Poll::Pending => None,
        })
    })
    .await;
    match frame.map(Frame::into_data) {
        Some(Ok(data)) if incoming.is_end_stream() => Head::Whole(data),
        Some(Ok(data)) => Head::First(Some(Frame::data(data))),
        Some(Err(trailers)) => Head::First(Some(trailers)),
        None => Head::First(None),
    }
}

impl Inner {
    /// Sends on a pooled connection, or on a fresh one where the pooled ones died.
    fn send(&self, call: Call) -> impl Future<Output = Result<(Box<Conn>, Response<Incoming>), Refusal>> {
        let Call { id, mut request, shape, arrived, deadline, peer } = call;
        async move {
            for stale in 0..=STALE_MAX {
                let pooled = if stale < STALE_MAX { self.pooled() } else { None };
                let mut conn = match pooled {
                    Some(conn) => conn,
                    None => match Box::pin(self.connect()).await {
                        Ok(conn) => conn,
                        Err(error) => {
                            let fault =
                                Fault::new(Code::Unavailable, format!("cannot connect to {}: {error}", self.address));
                            return Err(Refusal::unsent(fault, Call { id, request, shape, arrived, deadline, peer }));
                        }
                    },
                };
                let mut response = std::pin::pin!(conn.sender.try_send_request(*request));
                let driven = std::future::poll_fn(|cx| {
                    conn.drive(cx);
                    response.as_mut().poll(cx)
                });
                let error = match driven.await {
                    Ok(response) => return Ok((conn, response)),
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => {
                            *request = unsent;
                            continue;
                        }
                        None => error.into_error(),
                    },
                };
                return Err(Box::pin(self.broken(error)).await.into());
            }
            let fault = Fault::new(Code::Unavailable, "the instance closes every connection unread");
            Err(Refusal::unsent(fault, Call { id, request, shape, arrived, deadline, peer }))
        }
    }

    fn pooled(&self) -> Option<Box<Conn>> {
        let mut idle = self.idle.here().lock();
        let now = Instant::now();
        // The youngest first: old ones get to be closed.
        std::iter::from_fn(|| idle.pop()).find_map(|mut conn| conn.is_fresh(now).then_some(conn))
    }

    fn put_back(&self, mut conn: Box<Conn>) {
        conn.used = Instant::now();
        let mut idle = self.idle.here().lock();
        if conn.reuse && !conn.closed && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(conn);
        }
    }

    async fn connect(&self) -> std::io::Result<Box<Conn>> {
        let stream = self.address.connect().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Box::new(Conn { sender, driver, closed: false, fault: None, reuse: true, used: Instant::now() }))
    }

    /// The fault of a connection that broke after the request was on its way.
    async fn broken(&self, error: hyper::Error) -> Fault {
        if let Some(fault) = of_caller(&error) {
            return fault;
        }
        if error.is_parse() {
            return Fault::new(Code::ResponseInvalid, format!("the answer is no HTTP: {error}"));
        }
        self.vitals.why_gone().await
    }
}

/// The fault of a connection that ended with what we sent on it: the caller's body.
fn of_caller(error: &hyper::Error) -> Option<Fault> {
    let broke_off = || Fault::new(Code::BadRequest, format!("the body broke off: {}", told(error)));
    cause(error).or_else(|| error.is_user().then(broke_off))
}

/// A fault that our own body reader put into the connection's error: the caller's body was too large or broke off.
pub(crate) fn cause(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault.clone());
        }
        next = error.source();
    }
    None
}

/// The error with what lies below it.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |all, next| format!("{all}: {next}"))
}

impl Link for HttpLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.exchange(call, permit))
    }
}

/// An answer's body, which drives the connection that it comes on.
struct Driven {
    inner: Arc<Inner>,
    conn: Box<Conn>,
    /// Read already, not given out yet.
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
}

impl Source for Driven {
    const OVERDUE: Outcome = Outcome::TimedOut;

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.conn.drive(cx);
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.incoming).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.first {
            None => self.incoming.size_hint(),
            Some(first) => {
                let (rest, read) = (self.incoming.size_hint(), first.data_ref().map_or(0, |data| data.len() as u64));
                rest.exact().map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest + read))
            }
        }
    }

    fn vitals(&self) -> &Vitals {
        &self.inner.vitals
    }

    fn broken(&self, error: &hyper::Error) -> (Outcome, Fault) {
        if let Some(fault) = &self.conn.fault {
            return (End::fault(fault).outcome, Fault::clone(fault));
        }
        (Outcome::Crashed, Fault::new(Code::ResponseInvalid, format!("the answer broke off: {error}")))
    }

    fn complete(self) {
        self.inner.put_back(self.conn);
    }
}
