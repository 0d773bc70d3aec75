//! The clock of what decides by time: that of the runtime, so that a test or a simulation can hold it.

use std::time::Instant;

/// Now. On a runtime whose clock is paused (tokio's `test-util`), that clock's time; else the same as [`Instant::now`].
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
