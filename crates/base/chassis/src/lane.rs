//! Lanes: threads with a single-threaded runtime each, on which the path of a request runs.
//!
//! A connection lives on one lane, and so does everything that is pooled for it: a warm call crosses no thread
//! and takes no contended lock. The platform's slow work (builds, API, stores) runs on the shared runtime instead.

use crate::task;
use std::{cell::Cell, io, thread, time::Duration};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// A timer that is due before all that a lane sleeps for makes tokio write to the lane's own eventfd: a write and one
/// more look at the kernel for every call that a lone client makes. A lane that never sleeps longer than this is spared
/// both, for all limits that are longer.
const BEAT: Duration = Duration::from_millis(250);

thread_local! {
    static LANE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The lane that this thread is; `None` on any other thread.
pub fn current() -> Option<usize> {
    LANE.get()
}

/// One place for each lane and one more that all other threads share.
pub struct PerLane<T>(Box<[T]>);

impl<T: Default> PerLane<T> {
    pub fn new(lanes: usize) -> Self {
        Self((0..=lanes).map(|_| T::default()).collect())
    }
}
impl<T> PerLane<T> {
    /// This thread's place.
    pub fn here(&self) -> &T {
        let last = self.0.len() - 1;
        &self.0[current().unwrap_or(last).min(last)]
    }
}

async fn beat() {
    loop {
        tokio::time::sleep(BEAT).await;
    }
}

/// The running lanes. Dropping it leaves them running; [`Lanes::join`] ends them.
pub struct Lanes {
    handles: Vec<Handle>,
    threads: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Lanes {
    /// Half of the cores: what the lanes leave is for the functions themselves.
    pub fn default_count() -> usize {
        (thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
    }

    /// Starts `count` lanes, at least one.
    ///
    /// # Errors
    /// Where the system gives no thread or no epoll.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut lanes = Self { handles: Vec::new(), threads: Vec::new(), stop: stop.clone() };
        for index in 0..count.max(1) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                // A lane polls the kernel after this many tasks: less often than tokio's 31 gathers more events a call.
                .event_interval(61)
                .build()?;
            lanes.handles.push(runtime.handle().clone());
            let stop = stop.clone();
            let thread = thread::Builder::new().name(format!("lane-{index}")).spawn(move || {
                LANE.set(Some(index));
                runtime.block_on(async {
                    tokio::select! { () = stop.cancelled() => {}, () = beat() => {} }
                });
            })?;
            lanes.threads.push(thread);
        }
        Ok(lanes)
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Runs a future on lane `index` (modulo their number).
    pub fn spawn(&self, index: usize, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = self.handles.get(index % self.handles.len()) {
            task::spawn_on(handle, name, future);
        }
    }

    /// Ends the lanes: what still runs on them is dropped.
    pub fn join(self) {
        self.stop.cancel();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a lane panicked");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_task_knows_its_lane() {
        let lanes = Lanes::start(2).unwrap();
        for index in 0..2 {
            let (tx, rx) = std::sync::mpsc::channel();
            lanes.spawn(index, "test", async move { tx.send(current()).unwrap() });
            assert_eq!(rx.recv().unwrap(), Some(index));
        }
        assert_eq!(current(), None);
        lanes.join();
    }
}
