//! The socket for back ends: what makes a decided batch durable before anyone sees it.

use super::{Change, Error, LeaseId, Version};
use std::time::Duration;

/// The decided effect of one write on the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The version it was decided against.
    pub before: Version,
    pub version: Version,
    /// At most one per key, by key.
    pub changes: Vec<Change>,
    pub granted: Option<(LeaseId, Duration)>,
    pub ended: Vec<LeaseId>,
}

impl Batch {
    pub fn after(before: Version) -> Self {
        Self { before, version: before.next(), changes: Vec::new(), granted: None, ended: Vec::new() }
    }
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.granted.is_none() && self.ended.is_empty()
    }
}

/// Where batches go before they are applied in memory. Calls come one at a time, in the order of versions.
pub(super) trait Log: Send {
    /// True where `append` waits for a disk or a network and must not run on an async thread.
    fn blocks(&self) -> bool;

    /// Durable and whole when it returns `Ok`; on an error, nothing of the batch may be seen by a later append.
    fn append(&mut self, batch: &Batch) -> Result<(), Error>;
}

/// The memory back end: nothing survives the process.
pub(super) struct Nothing;

impl Log for Nothing {
    fn blocks(&self) -> bool {
        false
    }
    fn append(&mut self, _: &Batch) -> Result<(), Error> {
        Ok(())
    }
}
