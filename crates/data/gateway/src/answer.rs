//! An answer's body on its way to the client: tells when it is over, and ends a gRPC call as gRPC ends.

use crate::{access::Entry, grpc, problem, streams::Sending, turn::Turn};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Sleep;
use types::Fault;
use wire::{Body, BodyError};

/// Unboxed around the body; what a request does not use costs a test for `None`.
pub(crate) struct Answer {
    body: Body,
    /// Of the HTTP/1.1 connection that it goes to.
    pub(crate) turn: Option<Arc<Turn>>,
    /// Of the HTTP/2 stream that it goes to.
    pub(crate) sending: Option<Arc<Sending>>,
    /// The line of the access log, written when the body is over.
    pub(crate) entry: Option<Box<Entry>>,
    pub(crate) grpc: Grpc,
    broken: bool,
}

/// A body that breaks off ends with the trailers that gRPC knows.
#[derive(Default)]
pub(crate) enum Grpc {
    #[default]
    No,
    Yes,
    /// Its caller gave it this long, and so far.
    Until(Box<(Duration, Pin<Box<Sleep>>)>),
}

impl Answer {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, turn: None, sending: None, entry: None, grpc: Grpc::No, broken: false }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken {
            return Poll::Ready(None);
        }
        if let Some(sending) = &self.sending {
            sending.asked();
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Grpc::Until(until) = &mut self.grpc else { return Poll::Pending };
                ready!(until.1.as_mut().poll(cx));
                Some(Err(grpc::overdue(until.0).into()))
            }
        };
        if let Some(entry) = &mut self.entry {
            entry.frame(&frame);
        }
        if let (Some(sending), Some(Ok(_))) = (&self.sending, &frame) {
            sending.given();
        }
        match frame {
            Some(Err(error)) if !matches!(self.grpc, Grpc::No) => {
                self.broken = true;
                // What is left of it is nobody's any more: the function hears so now, not when the client has left.
                self.body = Body::Empty;
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
