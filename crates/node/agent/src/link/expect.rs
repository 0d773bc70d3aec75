//! `Expect: 100-continue` (RFC 9110 §10.1.1): the client's body waits for the function's word.
//!
//! Reading a client's body is what makes the gateway ask for it. So it is not read before the function has sent its
//! own 100; a function that refuses instead is heard before the body was sent. One that says nothing for
//! [`WORD_MAX`] gets the body all the same: nobody hangs.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};
use wire::{Body, BodyError};

/// What clients wait themselves before they send their body unasked (curl: 1 s).
const WORD_MAX: Duration = Duration::from_secs(1);

pub(crate) fn is_expected(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Holds the request's body back until the instance wants it.
pub(crate) fn hold(request: &mut Request<Body>) {
    if request.body().is_end_stream() {
        return;
    }
    let (sender, word) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE
            && let Some(sender) = sender.lock().take()
        {
            // Nobody waits where the body was given up.
            let _ = sender.send(());
        }
    });
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::stream(Held { body, word: Some(word), limit: Some(Box::pin(sleep(WORD_MAX))) });
}

struct Held {
    body: Body,
    /// `None` once it can no longer come.
    word: Option<oneshot::Receiver<()>>,
    /// The time for it; `None` once the body is wanted.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Held {
    fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = &mut self.limit else { return Poll::Ready(()) };
        match self.word.as_mut().map(|word| Pin::new(word).poll(cx)) {
            Some(Poll::Ready(Ok(()))) => {}
            Some(Poll::Ready(Err(_))) => {
                self.word = None;
                ready!(limit.as_mut().poll(cx));
            }
            Some(Poll::Pending) | None => ready!(limit.as_mut().poll(cx)),
        }
        self.limit = None;
        Poll::Ready(())
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        ready!(self.poll_wanted(cx));
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
