//! Bodies on their way in and out of a guest.

use crate::call::Head;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::oneshot, task::AbortHandle};
use types::{Code, Fault};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wire::{Body, BodyError};

/// A request's body with the errors that a guest can be told.
pub(crate) struct Request(pub(crate) Body);

impl http_body::Body for Request {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let broken = |error: BodyError| Self::Error::InternalError(Some(format!("the request broke off: {error}")));
        Pin::new(&mut self.0).poll_frame(cx).map_err(broken)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The whole body of a guest that has ended; what cannot be had at once (or has trailers) stays a stream.
pub(crate) fn collect(mut body: HyperOutgoingBody, cx: &mut Context<'_>) -> Result<Body, Fault> {
    let mut first = Bytes::new();
    let mut more: Vec<u8> = Vec::new();
    loop {
        let data = match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(Ok(frame))) => frame.into_data(),
            Poll::Ready(Some(Err(_))) => return Err(abandoned()),
            // Not seen so far: all that the guest wrote is in the channel. It would still come.
            Poll::Pending => return Ok(Body::stream(Rest { before: vec![Frame::data(join(first, more))], body })),
        };
        match data {
            Ok(data) if first.is_empty() && more.is_empty() => first = data,
            Ok(data) => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
            Err(trailers) => {
                return Ok(Body::stream(Rest { before: vec![trailers, Frame::data(join(first, more))], body }));
            }
        }
    }
    Ok(join(first, more).into())
}

fn join(first: Bytes, more: Vec<u8>) -> Bytes {
    if more.is_empty() { first } else { more.into() }
}

fn abandoned() -> Fault {
    Fault::new(Code::ResponseInvalid, "the component dropped the response's body without finishing it")
}

/// Frames that were taken already, last first, and then what follows.
struct Rest {
    before: Vec<Frame<Bytes>>,
    body: HyperOutgoingBody,
}

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.before.pop() {
            return Poll::Ready(Some(Ok(frame)));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(|_| abandoned().into())
    }
}

/// The body of a guest that still runs. Dropped before its end, it ends the guest.
pub(crate) struct Running {
    pub(crate) body: HyperOutgoingBody,
    pub(crate) head: Arc<Head>,
    pub(crate) task: AbortHandle,
    /// Tells the guest's task that the body is out. `None` when it has been told.
    pub(crate) out: Option<oneshot::Sender<()>>,
}

impl http_body::Body for Running {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.out.is_none() {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let end = match frame {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            // A guest that was stopped or trapped leaves a body that just ends.
            None => self.head.failure().map(Err),
            Some(Err(_)) => Some(Err(self.head.failure().unwrap_or_else(abandoned))),
        };
        if let Some(out) = self.out.take() {
            let _ = out.send(());
        }
        Poll::Ready(end.map(|fault: Result<_, Fault>| fault.map_err(Into::into)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.out.is_some() {
            self.task.abort();
        }
    }
}
