//! An answer's body that holds its slot and keeps the call's deadline to its last byte.
//!
//! It counts, ends and times out alike whatever the instance speaks; what differs is the [`Source`].

use crate::link::vitals::Vitals;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tokio::time::{Sleep, sleep_until};
use types::{Code, Fault, record::Outcome};
use wire::{Body, BodyError, End, Permit};

/// Where an answer comes from, and what its failures say about the instance.
pub(crate) trait Source: Send + Unpin + 'static {
    /// How a call ends whose answer the function did not complete in time.
    const OVERDUE: Outcome;

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>>;
    fn is_end_stream(&self) -> bool;
    fn size_hint(&self) -> SizeHint;
    fn vitals(&self) -> &Vitals;
    /// How a call ends whose answer broke off, and why.
    fn broken(&self, error: &hyper::Error) -> (Outcome, Fault);
    /// It was read to its end: what can be used again is kept.
    fn complete(self);
}

/// The body. Dropped before its end, it drops source and permit: the call was cancelled.
struct Streamed<S> {
    /// `None` once it is over.
    open: Option<Open<S>>,
    sleep: Pin<Box<Sleep>>,
}

struct Open<S> {
    source: S,
    permit: Permit,
    end: End,
    /// Bytes that may still come.
    left: u64,
}

/// The rest of an answer, until `deadline`.
pub(crate) fn stream<S: Source>(source: S, permit: Permit, end: End, deadline: Instant) -> Body {
    let left = source.vitals().revision.spec.response_max.map_or(u64::MAX, |max| max.0);
    let open = Some(Open { source, permit, end, left });
    Body::stream(Streamed { open, sleep: Box::pin(sleep_until(deadline.into())) })
}

impl<S: Source> Streamed<S> {
    fn fail(&mut self, outcome: Outcome, fault: Fault) -> BodyError {
        if let Some(Open { permit, end, .. }) = self.open.take() {
            permit.finish(End { outcome, code: Some(fault.code), ..end });
        }
        fault.into()
    }

    fn complete(&mut self) {
        if let Some(Open { source, permit, end, .. }) = self.open.take() {
            source.complete();
            permit.finish(end);
        }
    }

    /// The deadline has passed, and `outcome` says on whose account.
    fn overdue(&mut self, outcome: Outcome, verb: &str) -> BodyError {
        let timeout = self.open.as_ref().map(|open| open.source.vitals().revision.spec.timeout).unwrap_or_default();
        self.fail(outcome, Fault::new(Code::FunctionTimeout, format!("the answer was not {verb} within {timeout}")))
    }
}

impl<S: Source> http_body::Body for Streamed<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        let frame = match open.source.poll_frame(cx) {
            // Who is waited for now is the function.
            Poll::Pending if this.sleep.as_mut().poll(cx).is_pending() => return Poll::Pending,
            Poll::Pending => return Poll::Ready(Some(Err(this.overdue(S::OVERDUE, "complete")))),
            // There is more, and the time went by while the reader took it: the instance did nothing wrong.
            Poll::Ready(Some(Ok(_))) if this.sleep.deadline() <= tokio::time::Instant::now() => {
                return Poll::Ready(Some(Err(this.overdue(Outcome::Cancelled, "taken"))));
            }
            Poll::Ready(frame) => frame,
        };
        match frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = open.left.checked_sub(size) else {
                    let fault = Fault::new(Code::ResponseTooLarge, "the answer is over its limit");
                    return Poll::Ready(Some(Err(this.fail(Outcome::FunctionError, fault))));
                };
                open.left = left;
                if open.source.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let (outcome, fault) = open.source.broken(&error);
                Poll::Ready(Some(Err(this.fail(outcome, fault))))
            }
            None => {
                this.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or(SizeHint::with_exact(0), |open| open.source.size_hint())
    }
}
