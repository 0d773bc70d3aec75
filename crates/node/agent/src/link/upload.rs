//! A caller's body on its way over HTTP/2, which remembers why it broke off.
//!
//! HTTP/1.1 tells it with the error of the connection. Over HTTP/2 the sender hears no more than that its stream was
//! reset, and a body over its limit would look like a defect of the function.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use types::{Code, Fault};
use wire::{Body, BodyError};

/// Why the body broke off, once it has.
#[derive(Clone, Default)]
pub(crate) struct Why(Arc<Mutex<Option<Fault>>>);

impl Why {
    pub(crate) fn get(&self) -> Option<Fault> {
        self.0.lock().clone()
    }
}

/// Watches a body that can still break off.
pub(crate) fn watch(body: &mut Body) -> Why {
    let why = Why::default();
    if let Body::Incoming(_) | Body::Stream(_) = body {
        *body = Body::stream(Watched { body: std::mem::take(body), why: why.clone() });
    }
    why
}

struct Watched {
    body: Body,
    why: Why,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            let broke_off = || Fault::new(Code::BadRequest, format!("the body broke off: {error}"));
            *self.why.0.lock() = Some(error.downcast_ref::<Fault>().cloned().unwrap_or_else(broke_off));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
