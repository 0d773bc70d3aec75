//! A caller's body on its way over HTTP/2: why it broke off, and an end with its call.
//!
//! HTTP/1.1 tells both with the connection. Over HTTP/2 the sender hears no more than that its stream was reset, and a
//! body over its limit would look like a defect of the function. And hyper sends the body in a task of its own, which
//! outlives an answer that was given up, and waits for as long as the function takes nothing: [`Held`] ends it.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
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

/// The call of an upload.
pub(crate) struct Held {
    call: Option<oneshot::Sender<()>>,
    answered: bool,
}

impl Held {
    /// The answer has begun: given up from here on, it ends what is still sent. Before, hyper resets the stream itself.
    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }

    /// The answer is whole: the function may take the rest.
    pub(crate) fn let_go(mut self) {
        self.call = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.answered
            && let Some(call) = self.call.take()
        {
            let _ = call.send(());
        }
    }
}

thread_local! {
    /// Of the body that was asked last for the first time: hyper asks it once before it spawns the task that sends it,
    /// with nothing in between.
    static ASKED: Cell<Option<oneshot::Receiver<()>>> = const { Cell::new(None) };
}

/// Watches a body that has not ended.
pub(crate) fn watch(body: &mut Body) -> (Why, Held) {
    let why = Why::default();
    let (held, call) = oneshot::channel();
    if !http_body::Body::is_end_stream(body) {
        *body = Body::stream(Watched { body: std::mem::take(body), why: why.clone(), call: Some(call) });
    }
    (why, Held { call: Some(held), answered: false })
}

/// Runs what hyper spawns for a call, until the call is given up.
pub(crate) fn sending<F: Future + Send>(part: F) -> impl Future<Output = ()> + Send {
    let call = ASKED.take();
    async move {
        match call {
            None => drop(part.await),
            Some(call) => tokio::select! {
                biased;
                _ = part => {}
                Ok(()) = call => {}
            },
        }
    }
}

struct Watched {
    body: Body,
    why: Why,
    /// Until it is asked for the first time.
    call: Option<oneshot::Receiver<()>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(call) = self.call.take() {
            ASKED.set(Some(call));
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use std::{future::pending, task::Waker};

    /// As hyper does it: asked once, then moved into a task, which waits for the peer.
    fn send(mut body: Body) -> tokio::task::JoinHandle<()> {
        let asked = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(asked, Poll::Ready(Some(Ok(_)))));
        tokio::spawn(sending(async move {
            pending::<()>().await;
            drop(body);
        }))
    }

    #[tokio::test]
    async fn what_is_sent_ends_with_an_answer_that_is_given_up() {
        for (answered, whole, ends) in [(true, false, true), (true, true, false), (false, false, false)] {
            let mut body = Body::from("abc");
            let (_why, mut held) = watch(&mut body);
            let mut sent = send(body);
            let other = tokio::spawn(sending(pending::<()>()));
            if answered {
                held.answered();
            }
            if whole {
                held.let_go()
            } else {
                drop(held)
            }
            if ends {
                (&mut sent).await.unwrap();
            }
            // Whoever is ready has had its turn.
            tokio::task::yield_now().await;
            assert_eq!(sent.is_finished(), ends, "answered: {answered}, whole: {whole}");
            assert!(!other.is_finished(), "another's part is not its own");
            sent.abort();
            other.abort();
        }
    }
}
