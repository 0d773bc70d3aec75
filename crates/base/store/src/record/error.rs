//! Why a write or a watch fails, and what one can do about it.

use super::{LeaseId, Version};
use std::{fmt, path::PathBuf};

/// Why a write failed. Except for [`Error::Stopped`] and [`Error::Sqlite`] it surely changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody was faster: read again, decide again.
    #[error("`{key}` {reason}")]
    Conflict { key: String, reason: Reason },
    #[error("lease {0} has ended or never was")]
    NoLease(LeaseId),
    #[error("{what} of `{key}` has {len} bytes, at most {max} are allowed")]
    TooLarge { what: &'static str, key: String, len: usize, max: usize },
    /// Nothing was written. The store goes on and takes writes again once there is space.
    #[error("the disk, or the database's own size limit, is full")]
    Full,
    #[error("{} is open in another process", .0.display())]
    InUse(PathBuf),
    #[error("{} has schema {found}, written by a newer release; this one knows up to {known}: upgrade, or restore a backup", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// The file changed under the running store, or a write died halfway between disk and memory: open it anew.
    #[error("the database stands at another version than memory at {memory}: restart this process")]
    Diverged { memory: Version },
    /// The write was cut off by the end of the runtime; whether it was done is known after the next open.
    #[error("the store is shutting down")]
    Stopped,
    #[error("cannot create {}: {source}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("database: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

/// What a failed check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It should be absent and has this version.
    Exists(Version),
    /// It should exist.
    Absent,
    /// It should have the version `wanted` and has `found`.
    Changed { wanted: Version, found: Version },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(version) => write!(f, "exists already, with version {version}"),
            Self::Absent => f.write_str("does not exist"),
            Self::Changed { wanted, found } => write!(f, "has version {found}, not {wanted}"),
        }
    }
}

/// Why a watch gives no more changes. It stays so: list again and watch anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("changes after version {from} are not all known, only those after {oldest}")]
    Compacted { from: Version, oldest: Version },
    #[error("the watcher was too slow: changes up to version {oldest} were dropped before it read them")]
    Lagged { oldest: Version },
    #[error("the store was closed")]
    Closed,
}
