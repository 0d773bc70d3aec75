//! An answer's body on its way to the client: tells when it is over, and ends a gRPC call as gRPC ends.

use crate::{access::Entry, problem, turn::Turn};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use types::Fault;
use wire::{Body, BodyError};

/// Unboxed around the body; what a request does not use costs a test for `None`.
pub(crate) struct Answer {
    body: Body,
    /// Of the HTTP/1.1 connection that it goes to.
    pub(crate) turn: Option<Arc<Turn>>,
    /// The line of the access log, written when the body is over.
    pub(crate) entry: Option<Box<Entry>>,
    /// A body that breaks off ends with the trailers that gRPC knows.
    pub(crate) grpc: bool,
    broken: bool,
}

impl Answer {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, turn: None, entry: None, grpc: false, broken: false }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(entry) = &mut self.entry {
            entry.frame(&frame);
        }
        match frame {
            Some(Err(error)) if self.grpc => {
                self.broken = true;
                let fault = error.downcast::<Fault>().map_or_else(Fault::internal, |fault| *fault);
                Poll::Ready(Some(Ok(Frame::trailers(problem::grpc_status(&fault)))))
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(turn) = &self.turn {
            turn.done();
        }
        if let Some(entry) = self.entry.take() {
            entry.finish(http_body::Body::is_end_stream(&self.body));
        }
    }
}
