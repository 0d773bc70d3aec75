//! The last changes, in a ring of bounded length: watchers read from it at their own pace.
//!
//! There is no queue per watcher. A watcher is a position in the ring; one that falls off its end has lagged.

use super::{Change, Version, Watch, WatchError, table::weight};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// Invariant: holds every change after `compacted`, in the order of commits.
pub(super) struct Ring {
    changes: VecDeque<Change>,
    /// Position of the front; positions count all changes since the store was opened.
    first: u64,
    /// Of the last dropped change.
    compacted: Version,
    /// Of the last commit, whether or not it changed a key.
    version: Version,
    bytes: usize,
    len_max: usize,
    bytes_max: usize,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    fn push(&mut self, change: Change) {
        self.bytes += weight(&change);
        self.changes.push_back(change);
        while self.changes.len() > self.len_max || self.bytes > self.bytes_max {
            let Some(old) = self.changes.pop_front() else { return };
            self.bytes -= weight(&old);
            self.compacted = old.version;
            self.first += 1;
        }
    }

    /// The next change under `prefix` at or after `position`, which moves past it.
    pub fn next(&self, prefix: &str, position: &mut u64) -> Result<Option<Change>, WatchError> {
        let Some(skip) = position.checked_sub(self.first) else {
            return Err(WatchError::Lagged { oldest: self.compacted });
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.changes.len());
        for change in self.changes.range(skip..) {
            *position += 1;
            if change.key().starts_with(prefix) {
                return Ok(Some(change.clone()));
            }
        }
        Ok(None)
    }

    /// The position just after version `from`. A version still to come is one from another history: also compacted.
    fn after(&self, from: Version) -> Result<u64, WatchError> {
        if from < self.compacted || from > self.version {
            return Err(WatchError::Compacted { from, oldest: self.compacted });
        }
        Ok(self.first + self.changes.partition_point(|change| change.version <= from) as u64)
    }
}

pub(super) struct History {
    ring: Arc<Mutex<Ring>>,
    /// Wakes watchers; its end tells them that the store is closed.
    wake: watch::Sender<()>,
}

impl History {
    pub fn new(version: Version, len_max: usize, bytes_max: usize) -> Self {
        let ring =
            Ring { changes: VecDeque::new(), first: 0, compacted: version, version, bytes: 0, len_max, bytes_max };
        Self { ring: Arc::new(Mutex::new(ring)), wake: watch::Sender::new(()) }
    }

    pub fn push(&self, changes: Vec<Change>, version: Version) {
        let mut ring = self.ring.lock();
        ring.version = version;
        changes.into_iter().for_each(|change| ring.push(change));
        drop(ring);
        self.wake.send_replace(());
    }

    pub fn watch(&self, prefix: &str, from: Option<Version>) -> Result<Watch, WatchError> {
        let Some(from) = from else { return Ok(self.watch_from_now(prefix)) };
        let position = self.ring.lock().after(from)?;
        Ok(Watch::new(self.ring.clone(), self.wake.subscribe(), prefix, position))
    }

    pub fn watch_from_now(&self, prefix: &str) -> Watch {
        let position = self.ring.lock().end();
        Watch::new(self.ring.clone(), self.wake.subscribe(), prefix, position)
    }
}
