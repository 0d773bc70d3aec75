//! Contract `handler` over our own bootstraps: one frame there, one frame back.
//!
//! A handler cannot be interrupted. Where the caller goes away, its slot stays taken until the handler has ended:
//! [`Running`] sees to that.

use crate::{
    address::Address,
    event,
    link::{
        frame::{self, Frame, Framed, ReadError},
        limit,
        vitals::Vitals,
    },
    log::Marks,
};
use bytes::Bytes;
use chassis::{lane::PerLane, task};
use http::{HeaderName, HeaderValue, Response, header};
use parking_lot::Mutex;
use serde::Deserialize;
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::time::timeout_at;
use types::{Code, Fault, Timestamp, record::Outcome};
use wire::{Body, BoxFuture, Call, End, Link, Permit, Refusal, Shape};

/// Most idle connections of one lane to one instance.
const IDLE_CONNECTIONS_MAX: usize = 64;

pub(crate) const FUNCTION_ERROR: HeaderName = HeaderName::from_static(types::api::FUNCTION_ERROR_HEADER);

pub(crate) struct HandlerLink(Arc<Inner>);

struct Inner {
    address: Address,
    vitals: Vitals,
    marks: Marks,
    idle: PerLane<Mutex<Vec<Framed>>>,
    /// The members of the metadata that never change: `,"function":…}`.
    meta: String,
}

impl HandlerLink {
    pub(crate) fn new(address: Address, vitals: Vitals, marks: Marks, lanes: usize) -> Self {
        let (id, spec) = (&vitals.revision.id, &vitals.revision.spec);
        let meta = format!(
            r#","function":"{}","revision":"{}","memory_mb":{}}}"#,
            id.function,
            id.number,
            spec.memory.0 >> 20
        );
        Self(Arc::new(Inner { address, vitals, marks, idle: PerLane::new(lanes), meta }))
    }

    async fn invoke(&self, call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        let (shape, deadline) = (call.shape, call.deadline);
        let spec = &self.0.vitals.revision.spec;
        // Connect before the body is read: a dead instance leaves the call untouched.
        let connection = match self.0.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                let fault = Fault::new(Code::Unavailable, format!("cannot connect to the bootstrap: {error}"));
                permit.finish(End { outcome: Outcome::Crashed, ..End::fault(&fault) });
                return Err(Refusal::unsent(fault, call));
            }
        };
        let frame = match self.0.frame(call, spec.request_max).await {
            Ok(frame) => frame,
            Err(fault) => {
                self.0.put_back(connection);
                permit.finish(End::fault(&fault));
                return Err(fault.into());
            }
        };
        self.0.marks.begin(permit.info.id);
        let mut running = Running { inner: Arc::clone(&self.0), parts: Some((connection, permit)), deadline };
        let answer = running.answer(&frame).await;
        let result = answer.and_then(|answer| answer.response(shape));
        running.finish(&result);
        result.map(|(response, _)| response).map_err(Refusal::from)
    }
}

impl Link for HandlerLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.invoke(call, permit))
    }
}

impl Inner {
    async fn connection(&self) -> std::io::Result<Framed> {
        let pooled = self.idle.here().lock().pop();
        match pooled {
            Some(pooled) => Ok(pooled),
            None => self.address.connect().await.map(Framed::new),
        }
    }

    fn put_back(&self, connection: Framed) {
        let mut idle = self.idle.here().lock();
        if connection.is_clean() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    /// The call as one frame: `u32` length of the metadata, metadata, event.
    async fn frame(&self, mut call: Call, max: Option<types::Bytes>) -> Result<Vec<u8>, Fault> {
        let body = limit::collect(std::mem::take(call.request.body_mut()), max).await?;
        let (parts, _) = call.request.into_parts();
        let mut frame = Frame::open(frame::INVOKE, body.len() + 1024);
        let out = frame.payload();
        out.extend_from_slice(&[0; 4]);
        let start = out.len();
        let left = call.deadline.saturating_duration_since(Instant::now());
        let deadline = Timestamp::from(SystemTime::now() + left);
        let id = call.id;
        out.extend_from_slice(br#"{"id":""#);
        out.extend_from_slice(id.encode(&mut [0; 36]).as_bytes());
        out.extend_from_slice(format!(r#"","deadline_ms":{}"#, deadline.0).as_bytes());
        out.extend_from_slice(self.meta.as_bytes());
        let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_le_bytes();
        out[start - 4..start].copy_from_slice(&length);
        match call.shape {
            Shape::Http => event::write(out, &parts, &body, id, &self.vitals.revision.id.function, call.peer),
            Shape::Event if body.trim_ascii().is_empty() => out.extend_from_slice(b"{}"),
            Shape::Event => {
                check_json(&body)?;
                out.extend_from_slice(&body);
            }
        }
        Ok(frame.close())
    }
}

/// # Errors
/// `bad_request` where the event is no JSON.
pub(crate) fn check_json(event: &[u8]) -> Result<(), Fault> {
    serde_json::from_slice::<serde::de::IgnoredAny>(event)
        .map(|_| ())
        .map_err(|error| Fault::new(Code::BadRequest, format!("the event is no JSON: {error}")))
}

/// What a handler answered.
pub(crate) enum Answer {
    Result(Bytes),
    Error(Bytes),
}

/// An error as the Runtime API and our bootstraps write it.
#[derive(Deserialize, Default)]
struct ErrorDocument {
    #[serde(rename = "errorType", default)]
    kind: String,
    #[serde(rename = "errorMessage", default)]
    message: String,
}

impl Answer {
    /// The response that the caller gets, and how the call ended.
    pub(crate) fn response(self, shape: Shape) -> Result<(Response<Body>, End), Fault> {
        match (self, shape) {
            (Self::Result(json), Shape::Http) => {
                let response = event::read(json)?;
                let end = End::ok(response.status().as_u16());
                Ok((response, end))
            }
            (Self::Result(json), Shape::Event) => Ok((event_response(json), End::ok(200))),
            (Self::Error(json), Shape::Http) => Err(error_fault(&json)),
            // As Lambda does: the invocation worked, the function did not; a header tells.
            (Self::Error(json), Shape::Event) => {
                let mut response = event_response(json);
                response.headers_mut().insert(FUNCTION_ERROR, HeaderValue::from_static(Code::FunctionError.as_str()));
                let end = End { outcome: Outcome::FunctionError, status: 200, code: Some(Code::FunctionError) };
                Ok((response, end))
            }
        }
    }
}

fn event_response(json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn error_fault(json: &[u8]) -> Fault {
    let error: ErrorDocument = serde_json::from_slice(json).unwrap_or_default();
    let kind = if error.kind.is_empty() { "Error" } else { &error.kind };
    Fault::new(Code::FunctionError, format!("{kind}: {}", error.message))
}

/// A call that the bootstrap works on. Dropped before its end, it lives on in a task of its own until the handler
/// has answered or is overdue.
struct Running {
    inner: Arc<Inner>,
    parts: Option<(Framed, Permit)>,
    deadline: Instant,
}

impl Running {
    async fn answer(&mut self, frame: &[u8]) -> Result<Answer, Fault> {
        let Some((connection, _)) = &mut self.parts else { return Err(Fault::internal("a call without a connection")) };
        let exchange = async {
            // A frame written half leaves the bootstrap waiting for the rest: from here on only the answer counts.
            connection.write(frame).await?;
            read_answer(connection, &self.inner.vitals).await
        };
        match timeout_at(self.deadline.into(), exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(ReadError::TooLong(length))) => {
                limit::check_response(length, self.inner.vitals.revision.spec.response_max)?;
                Err(Fault::new(Code::ResponseInvalid, format!("the bootstrap announced {length} bytes")))
            }
            Ok(Err(ReadError::Broken)) => Err(self.inner.vitals.why_gone().await),
            Err(_) => Err(self.inner.vitals.overdue()),
        }
    }

    fn finish(mut self, result: &Result<(Response<Body>, End), Fault>) {
        let Some((connection, permit)) = self.parts.take() else { return };
        match result {
            Ok((_, end)) => {
                self.inner.put_back(connection);
                permit.finish(*end);
            }
            Err(fault) => {
                if matches!(fault.code, Code::FunctionError | Code::ResponseInvalid) {
                    self.inner.put_back(connection);
                }
                permit.finish(End::fault(fault));
            }
        }
    }
}

async fn read_answer(connection: &mut Framed, vitals: &Vitals) -> Result<Answer, ReadError> {
    let max = vitals.revision.spec.response_max.map_or(u64::from(u32::MAX), |max| max.0);
    match connection.read(max).await? {
        (frame::RESULT, payload) => Ok(Answer::Result(payload.into())),
        (frame::ERROR, payload) => Ok(Answer::Error(payload.into())),
        _ => Err(ReadError::Broken),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((mut connection, permit)) = self.parts.take() else { return };
        let (inner, deadline) = (Arc::clone(&self.inner), self.deadline);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        task::spawn_on(&runtime, "abandoned call", async move {
            let end = match timeout_at(deadline.into(), read_answer(&mut connection, &inner.vitals)).await {
                Ok(Ok(_)) => {
                    inner.put_back(connection);
                    None
                }
                Ok(Err(ReadError::TooLong(_))) => None,
                Ok(Err(ReadError::Broken)) => Some(inner.vitals.why_gone().await),
                Err(_) => Some(inner.vitals.overdue()),
            };
            match end {
                // The caller went away, the handler ended well.
                None => drop(permit),
                Some(fault) => permit.finish(End::fault(&fault)),
            }
        });
    }
}
