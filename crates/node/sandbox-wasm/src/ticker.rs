//! The clock of running guests: a thread that moves the engine's epoch on while a call is in flight, and rests otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};
use wasmtime::EngineWeak;

/// Ticks without a call before the thread rests: long enough that a busy engine does not wake it for each call.
const IDLE_TICKS: u32 = 20;

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    /// The thread waits to be unparked.
    resting: AtomicBool,
    stop: AtomicBool,
}

/// Stops its thread when dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A call in flight: as long as one of them lives, the epoch moves.
pub(crate) struct InFlight(Arc<Shared>);

impl Ticker {
    pub(crate) fn start(engine: EngineWeak, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("wasm-ticker".into()).spawn(move || run(&theirs, &engine, tick))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn begin(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        // Either this sees that the thread rests, or the thread sees the call before it rests.
        if self.shared.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        InFlight(Arc::clone(&self.shared))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        self.thread.as_ref().map(JoinHandle::thread).map(Thread::unpark);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(shared: &Shared, engine: &EngineWeak, tick: Duration) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.in_flight.load(Ordering::SeqCst) > 0 {
            idle = 0;
        } else {
            idle += 1;
        }
        if idle > IDLE_TICKS {
            rest(shared);
            idle = 0;
        }
        thread::sleep(tick);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}

/// Until a call begins or the engine goes.
fn rest(shared: &Shared) {
    shared.resting.store(true, Ordering::SeqCst);
    while shared.in_flight.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.resting.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

    fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            thread::yield_now();
        }
    }

    /// An engine whose code is not built: its epoch moves all the same.
    fn ticker() -> (wasmtime::Engine, Ticker) {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak(), Duration::from_millis(1)).unwrap();
        (engine, ticker)
    }

    #[test]
    fn it_rests_without_calls_and_wakes_for_one() {
        let (_engine, ticker) = ticker();
        for _ in 0..3 {
            wait_for("rest", || ticker.shared.resting.load(Ordering::SeqCst));
            let call = ticker.begin();
            wait_for("wake", || !ticker.shared.resting.load(Ordering::SeqCst));
            assert_eq!(ticker.in_flight(), 1);
            drop(call);
        }
    }

    #[test]
    fn it_ends_with_its_owner_at_work_and_at_rest() {
        for rest in [false, true] {
            let (_engine, ticker) = ticker();
            if rest {
                wait_for("rest", || ticker.shared.resting.load(Ordering::SeqCst));
            }
            let shared = Arc::clone(&ticker.shared);
            drop(ticker);
            assert_eq!(Arc::strong_count(&shared), 1, "the thread is gone");
        }
    }
}
