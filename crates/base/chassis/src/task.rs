//! Spawned tasks have a name, and a panic in one is logged where it happened.

use std::panic::AssertUnwindSafe;
use tokio::{runtime::Handle, task::JoinHandle};

/// Spawns on the current runtime.
pub fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    spawn_on(&Handle::current(), name, future)
}

/// Spawns on `handle`. A panic ends the task alone; it is logged and counted as a defect.
pub fn spawn_on(
    handle: &Handle,
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    handle.spawn(async move {
        if Catch(AssertUnwindSafe(Box::pin(future))).await.is_err() {
            tracing::error!(task = name, "a task panicked: this is a defect");
        }
    })
}

struct Catch<F>(AssertUnwindSafe<std::pin::Pin<Box<F>>>);

impl<F: Future<Output = ()>> Future for Catch<F> {
    type Output = Result<(), ()>;
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let future = &mut self.0;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(())),
        }
    }
}
