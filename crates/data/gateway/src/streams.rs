//! The requests of one HTTP/2 connection, each in a task of its own.
//!
//! A client decides how much of an answer it takes, stream by stream. One that takes nothing holds a slot of the
//! function, and nothing else ends that: the connection is alive, and the body is not asked. So the task that sends
//! it is watched, and ended where it had something to send and could not for [`crate::Options::stall`].

use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::TaskTracker;

/// What an answer's body tells the task that sends it. Both are on one lane, so that no ordering is needed.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// It gave something out and was not asked again.
    given: AtomicBool,
    asked: AtomicU32,
}

impl Sending {
    pub(crate) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.given.store(false, Ordering::Relaxed);
    }
    pub(crate) fn given(&self) {
        self.given.store(true, Ordering::Relaxed);
    }
}

/// Spawns the requests beside their connection.
#[derive(Clone)]
pub(crate) struct Streams {
    running: TaskTracker,
    stall: Duration,
    /// Of the request that hyper spawns next: it makes the request's future and spawns it, with nothing in between.
    next: Arc<Mutex<Option<Arc<Sending>>>>,
}

impl Streams {
    pub(crate) fn new(running: TaskTracker, stall: Duration) -> Self {
        Self { running, stall, next: Arc::default() }
    }

    /// For the answer of the request that is taken now.
    pub(crate) fn next(&self) -> Arc<Sending> {
        let sending = Arc::<Sending>::default();
        *self.next.lock() = Some(Arc::clone(&sending));
        sending
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        match self.next.lock().take() {
            Some(sending) => {
                let (stall, asked) = (self.stall, 0);
                let watched = Watched { stream: Box::pin(stream), sending, stall, asked, patience: None };
                self.running.spawn(watched)
            }
            None => self.running.spawn(async move { drop(stream.await) }),
        };
    }
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    sending: Arc<Sending>,
    stall: Duration,
    /// As often the body was asked when the patience began.
    asked: u32,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !this.sending.given.load(Ordering::Relaxed) {
            // The function is waited for.
            this.patience = None;
            return Poll::Pending;
        }
        let (asked, until) = (this.sending.asked.load(Ordering::Relaxed), || Instant::now() + this.stall);
        let patience = this.patience.get_or_insert_with(|| Box::pin(sleep_until(until())));
        if asked != this.asked {
            this.asked = asked;
            patience.as_mut().reset(until());
        }
        if patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        tracing::debug!("a client took nothing of its answer for {:?}: the stream is reset", this.stall);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, task::Waker};

    #[tokio::test]
    async fn only_who_takes_nothing_is_given_up() {
        let sending = Arc::<Sending>::default();
        let (stream, stall) = (Box::pin(pending::<()>()), Duration::from_secs(3600));
        let mut watched = Watched { stream, sending: Arc::clone(&sending), stall, asked: 0, patience: None };
        let mut until = || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut watched).poll(&mut cx).is_pending());
            watched.patience.as_ref().map(|patience| patience.deadline())
        };
        assert_eq!(until(), None, "there is no answer yet");
        let give = || {
            sending.asked();
            sending.given();
        };
        give();
        let first = until();
        assert!(first.is_some(), "something was given out");
        assert_eq!(until(), first, "and not taken");
        give();
        let second = until();
        assert!(second > first, "taken: the next one has its own time");
        sending.asked();
        assert_eq!(until(), None, "the function is waited for");
        give();
        watched.stall = Duration::from_millis(1);
        watched.await;
    }
}
