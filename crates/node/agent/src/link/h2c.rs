//! Contract `http` with `protocol = "h2c"`: HTTP/2 to the instance's server, as gRPC needs it.
//!
//! One connection for each lane carries all its calls; it is made by the first one and again where it has ended. Each
//! stream has its own window, so that a slow reader holds up nobody else.

use crate::{
    address::Address,
    link::{
        body::{self, Source},
        http::{cause, finish, refused, told},
        limit,
        upload::{self, Why},
        vitals::Vitals,
    },
};
use bytes::Bytes;
use chassis::{lane::PerLane, task};
use http::{HeaderValue, Request, Response, Uri, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::Mutex, time::timeout_at};
use types::{Code, Fault, record::Outcome};
use wire::{Body, BoxFuture, Call, End, Link, Permit, Refusal};

/// Bytes that an instance may send ahead of its reader: for one call, and for all of a lane.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Connections that ended unused before the instance counts as gone.
const STALE_MAX: usize = 3;

pub(crate) struct H2cLink(Arc<Inner>);

struct Inner {
    address: Address,
    vitals: Vitals,
    connections: PerLane<Mutex<Option<SendRequest<Body>>>>,
}

#[derive(Clone)]
struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
{
    fn execute(&self, part: F) {
        task::spawn("h2c stream", async move { drop(part.await) });
    }
}

impl H2cLink {
    pub(crate) fn new(address: Address, vitals: Vitals, lanes: usize) -> Self {
        Self(Arc::new(Inner { address, vitals, connections: PerLane::new(lanes) }))
    }

    async fn exchange(&self, mut call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        let (deadline, spec) = (call.deadline, &self.0.vitals.revision.spec);
        match limit::request(std::mem::take(call.request.body_mut()), spec.request_max) {
            Ok(body) => *call.request.body_mut() = body,
            Err(fault) => return Err(finish(permit, fault)),
        }
        let why = upload::watch(call.request.body_mut());
        if let Err(error) = as_http2(&mut call.request) {
            return Err(finish(permit, Fault::new(Code::BadRequest, format!("the path cannot be read: {error}"))));
        }
        let response = match timeout_at(deadline.into(), self.0.send(call, &why)).await {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => return Err(refused(permit, refusal)),
            Err(_) => return Err(finish(permit, self.0.vitals.overdue())),
        };
        let (parts, incoming) = response.into_parts();
        let end = End::ok(parts.status.as_u16());
        if incoming.is_end_stream() {
            permit.finish(end);
            return Ok(Response::from_parts(parts, Body::Empty));
        }
        let source = Streamed { inner: Arc::clone(&self.0), incoming, why };
        Ok(Response::from_parts(parts, body::stream(source, permit, end, deadline)))
    }
}

/// `:authority` from `Host`, and no header that only HTTP/1.1 has (RFC 9113 §8.2.2).
fn as_http2(request: &mut Request<Body>) -> Result<(), http::Error> {
    let headers = request.headers_mut();
    headers.remove(header::UPGRADE);
    headers.remove(header::EXPECT);
    let host = headers.remove(header::HOST).unwrap_or(HeaderValue::from_static("localhost"));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme("http").path_and_query(path);
    // A host that is none still had its route by its path.
    *request.uri_mut() = match host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok()) {
        Some(authority) => uri.authority(authority).build()?,
        None => uri.authority("localhost").build()?,
    };
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}

impl Inner {
    async fn send(&self, call: Call, why: &Why) -> Result<Response<Incoming>, Refusal> {
        let Call { id, mut request, shape, arrived, deadline, peer } = call;
        let mut last = String::new();
        for _ in 0..STALE_MAX {
            let mut sender = match self.connection().await {
                Ok(sender) => sender,
                Err(error) => {
                    let fault = Fault::new(Code::Unavailable, format!("cannot connect to {}: {error}", self.address));
                    return Err(Refusal::unsent(fault, Call { id, request, shape, arrived, deadline, peer }));
                }
            };
            match sender.try_send_request(*request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        request = Box::new(unsent);
                        last = error.error().to_string();
                    }
                    None => return Err(self.broken(&error.into_error(), why).await.into()),
                },
            }
        }
        let fault = Fault::new(Code::Unavailable, format!("the instance takes no call over h2c: {last}"));
        Err(Refusal::unsent(fault, Call { id, request, shape, arrived, deadline, peer }))
    }

    /// The lane's connection, made where there is none.
    async fn connection(&self) -> io::Result<SendRequest<Body>> {
        let mut place = self.connections.here().lock().await;
        if let Some(sender) = place.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.address.connect().await?;
        let (sender, driver) = http2::Builder::new(Spawn)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // It ends when the link is dropped, or with the instance.
        task::spawn("h2c connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an instance broke");
            }
        });
        *place = Some(sender.clone());
        Ok(sender)
    }

    /// The fault of a call that broke after it was on its way.
    async fn broken(&self, error: &hyper::Error, why: &Why) -> Fault {
        if let Some(fault) = why.get().or_else(|| cause(error)) {
            return fault;
        }
        let fault = self.vitals.why_gone().await;
        match fault.code {
            Code::ResponseInvalid => Fault::new(Code::ResponseInvalid, format!("no answer over h2c: {}", told(error))),
            _ => fault,
        }
    }
}

impl Link for H2cLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.exchange(call, permit))
    }
}

/// An answer's body on a stream of its own; trailers pass through.
struct Streamed {
    inner: Arc<Inner>,
    incoming: Incoming,
    /// Why the caller's body broke off, which resets the answer as well.
    why: Why,
}

impl Source for Streamed {
    /// The stream is reset, the instance goes on: it need not be replaced for a stream that ran its time.
    const OVERDUE: Outcome = Outcome::FunctionError;

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn vitals(&self) -> &Vitals {
        &self.inner.vitals
    }

    fn broken(&self, error: &hyper::Error) -> (Outcome, Fault) {
        if let Some(fault) = self.why.get() {
            return (End::fault(&fault).outcome, fault);
        }
        // A stream that the function reset is its answer; a connection that broke is its end.
        let gone = self.inner.vitals.exit.borrow().is_some();
        let outcome = if gone { Outcome::Crashed } else { Outcome::FunctionError };
        (outcome, Fault::new(Code::ResponseInvalid, format!("the answer broke off: {}", told(error))))
    }

    fn complete(self) {}
}
