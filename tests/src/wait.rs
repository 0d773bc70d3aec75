//! Waits for a state, never for a time.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `holds`; panics with `what` after `limit`.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    until(limit, what, || holds().then_some(()));
}

/// Waits until there is a value, and returns it; panics with `what` after `limit`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Waits until nothing is left; panics with what is, after `limit`.
#[track_caller]
pub fn none_left(limit: Duration, what: &str, mut look: impl FnMut() -> Vec<String>) {
    let begun = Instant::now();
    loop {
        let left = look();
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}; there are {left:#?}");
        std::thread::sleep(LOOK);
    }
}
