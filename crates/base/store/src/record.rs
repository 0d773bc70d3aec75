//! A small store of watchable records: keys with values, compare-and-swap over several of them, and leases.
//!
//! Each commit gets the next [`Version`], one number for the whole store. Reads come from memory and never wait for
//! a disk; a commit is on disk before it is in memory, and in memory before a watcher sees it.
//!
//! Reading order: [`Txn`] is what one asks for, `stage` decides it on plain data, `table` holds what is,
//! `history` and [`Watch`] tell what changed, `log` is the socket for back ends, [`Store`] joins them,
//! and [`sqlite`] is the log on disk. [`run`] ends leases in time.

mod error;
mod expiry;
mod history;
mod log;
pub mod sqlite;
mod stage;
mod store;
mod table;
mod txn;
mod watch;

pub use error::{Error, Reason, WatchError};
pub use expiry::run;
pub use store::{Options, Store};
pub use txn::{Check, Op, Txn};
pub use watch::Watch;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store's revision number: 0 is the empty store, each commit that changes anything adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease is named by the version that granted it, so that no name is ever used twice, restarts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as it stands. Cheap to clone: key and value are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Arc<[u8]>,
    /// The commit that last wrote it; what [`Check::Version`] compares.
    pub version: Version,
    /// The record goes when this lease does.
    pub lease: Option<LeaseId>,
}

/// What happened to one key. A commit makes at most one change per key, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub version: Version,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Put(Entry),
    Delete { key: Arc<str> },
}

impl Change {
    pub fn key(&self) -> &Arc<str> {
        match &self.kind {
            Kind::Put(entry) => &entry.key,
            Kind::Delete { key } => key,
        }
    }
}

/// The store, whatever holds it. Every back end passes the suite in `tests/store/conformance.rs`.
///
/// A future of a write may be dropped: then the write has not happened, or it happens whole.
pub trait Records: Send + Sync {
    /// From memory.
    fn get(&self, key: &str) -> Option<Entry>;

    /// All entries under `prefix`, by key; from memory. `""` is all of them.
    fn list(&self, prefix: &str) -> Vec<Entry>;

    fn version(&self) -> Version;

    /// Applies all of `txn` or nothing; durable when it returns. Gives the version it made, or the present one where
    /// there was nothing to change. Leases that are due end first, so a lock whose holder died is free.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Version, Error>>;

    /// The changes under `prefix` after version `from`, or from now on.
    ///
    /// [`WatchError::Compacted`] when the history no longer reaches back to `from`: list again.
    fn watch(&self, prefix: &str, from: Option<Version>) -> Result<Watch, WatchError>;

    /// What is under `prefix`, and every change after it: nothing is missed or told twice between the two.
    fn list_and_watch(&self, prefix: &str) -> (Vec<Entry>, Watch);

    /// A new lease, which ends after `ttl` unless kept alive. It survives a restart and then has its whole `ttl` again.
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>>;

    /// Starts the lease's time anew. [`Error::NoLease`] once it is due, even if its keys are not deleted yet.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends the lease and deletes its keys in one commit.
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends every lease that is due and deletes its keys in one commit; gives their number. See [`run`].
    fn tick(&self) -> BoxFuture<'_, Result<usize, Error>>;
}
