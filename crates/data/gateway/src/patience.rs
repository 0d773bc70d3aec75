//! How long a client may take nothing of what is written to it.
//!
//! A peer that is alive and never reads keeps its window shut for ever, and what writes to it waits as long: with it the
//! function's slot and the connection's place.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Watches the writes of one connection. Costs nothing until one has to wait.
pub(crate) struct Patience {
    limit: Duration,
    waiting: bool,
    /// Kept once there is one: a slow reader has its writer wait again and again.
    time: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, waiting: false, time: None }
    }

    /// What a write gave, or an error where none has got on for as long as is allowed.
    pub(crate) fn check<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        let until = Instant::now() + self.limit;
        let time = self.time.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if !self.waiting {
            self.waiting = true;
            time.as_mut().reset(until);
        }
        match time.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn only_who_gets_nothing_written_is_given_up() {
        let mut patience = Patience::new(Duration::from_millis(20));
        let begun = Instant::now();
        // A step now and then: each has its own time.
        for _ in 0..3 {
            let stuck = poll_fn(|cx| patience.check::<()>(cx, Poll::Pending));
            assert!(tokio::time::timeout(Duration::from_millis(5), stuck).await.is_err(), "it has time");
            poll_fn(|cx| patience.check(cx, Poll::Ready(Ok(1)))).await.unwrap();
        }
        let error = poll_fn(|cx| patience.check::<()>(cx, Poll::Pending)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(35));
    }
}
