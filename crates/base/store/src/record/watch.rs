//! A stream of changes under one prefix, in the order of commits.

use super::{Change, WatchError, history::Ring};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads changes at its own pace; costs the store nothing while it waits.
///
/// A reader that is slower than the whole history (all keys, not only its own prefix) gets [`WatchError::Lagged`].
pub struct Watch {
    ring: Arc<Mutex<Ring>>,
    wake: watch::Receiver<()>,
    prefix: Box<str>,
    position: u64,
}

impl Watch {
    pub(super) fn new(ring: Arc<Mutex<Ring>>, wake: watch::Receiver<()>, prefix: &str, position: u64) -> Self {
        Self { ring, wake, prefix: prefix.into(), position }
    }

    /// Waits for the next change. Cancel safe: a dropped future has taken nothing.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            // Seen is marked first: a commit between the look and the wait must still end the wait.
            self.wake.mark_unchanged();
            if let Some(change) = self.try_next()? {
                return Ok(change);
            }
            self.wake.changed().await.map_err(|_| WatchError::Closed)?;
        }
    }

    /// The next change if there is one already: lets a reader take a burst at once.
    pub fn try_next(&mut self) -> Result<Option<Change>, WatchError> {
        self.ring.lock().next(&self.prefix, &mut self.position)
    }
}
