//! The time that leases live by, so that a test can hold it still.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Tells the time; it never goes backwards.
pub trait Clock: Send + Sync {
    fn now(&self) -> Instant;
}

/// The machine's own monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct Held(Mutex<Instant>);

impl Held {
    pub fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}
impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}
impl Clock for Held {
    fn now(&self) -> Instant {
        *self.0.lock()
    }
}
