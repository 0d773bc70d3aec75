//! Requests that go on in the background while a test changes something.

use mayfly_tests::{Client, eventually, http::KeepAlive};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Calls a path from one kept connection and from fresh ones, in turn.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    calls: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Any answer but 200 is a failure.
    pub fn start(client: &Client, path: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let (client, path, ours) = (client.clone(), path.to_owned(), Arc::clone(&shared));
        let thread = thread::spawn(move || {
            let mut kept = KeepAlive::new(&client);
            while !ours.stop.load(Ordering::Relaxed) {
                for answer in [kept.send("GET", &path, b""), client.try_send("GET", &path, b"")] {
                    ours.calls.fetch_add(1, Ordering::Relaxed);
                    let failure = match answer {
                        Ok(response) if response.status == 200 => continue,
                        Ok(response) => format!("{response:?}"),
                        Err(error) => error.to_string(),
                    };
                    ours.failures.lock().unwrap().push(failure);
                }
            }
        });
        let load = Self { shared, thread: Some(thread) };
        load.goes_on();
        load
    }

    /// Waits for another twenty calls.
    #[track_caller]
    pub fn goes_on(&self) {
        let seen = self.shared.calls.load(Ordering::Relaxed);
        eventually(Duration::from_secs(20), "the load goes on", || {
            self.shared.calls.load(Ordering::Relaxed) > seen + 20
        });
    }

    /// Ends it; panics where a call failed.
    #[track_caller]
    pub fn none_failed(mut self) -> u64 {
        self.end();
        let failures = self.shared.failures.lock().unwrap();
        let calls = self.shared.calls.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {calls} calls failed, the first: {}", failures.len(), failures[0]);
        calls
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
