//! What one asks the store for: preconditions, and what to do if all of them hold.

use super::{LeaseId, Version};

/// A precondition, judged against the store before any [`Op`] of the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    Absent(String),
    Exists(String),
    /// Exists and was last written by exactly this commit.
    Version(String, Version),
}

/// One step. Steps apply in order, each seeing the ones before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Without a lease the record stays for good, also if it had one before.
    Put {
        key: String,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    },
    /// Deleting what is absent is no error.
    Delete {
        key: String,
    },
    DeletePrefix {
        prefix: String,
    },
}

/// All or nothing.
///
/// ```
/// # use mayfly_store::{Txn, Version};
/// // Moves an alias if nobody else has moved it since we read it.
/// let txn = Txn::new().version("alias/live", Version(7)).put("alias/live", "hello@3").delete("canary/live");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Txn {
    pub checks: Vec<Check>,
    pub ops: Vec<Op>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn absent(self, key: impl Into<String>) -> Self {
        self.check(Check::Absent(key.into()))
    }
    pub fn exists(self, key: impl Into<String>) -> Self {
        self.check(Check::Exists(key.into()))
    }
    pub fn version(self, key: impl Into<String>, version: Version) -> Self {
        self.check(Check::Version(key.into(), version))
    }
    /// Checks that the key still is as it was read: at this version, or absent.
    pub fn unchanged(self, key: impl Into<String>, read: Option<Version>) -> Self {
        match read {
            Some(version) => self.version(key, version),
            None => self.absent(key),
        }
    }

    pub fn put(self, key: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.op(Op::Put { key: key.into(), value: value.as_ref().to_vec(), lease: None })
    }
    pub fn put_leased(self, key: impl Into<String>, value: impl AsRef<[u8]>, lease: LeaseId) -> Self {
        self.op(Op::Put { key: key.into(), value: value.as_ref().to_vec(), lease: Some(lease) })
    }
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.op(Op::Delete { key: key.into() })
    }
    pub fn delete_prefix(self, prefix: impl Into<String>) -> Self {
        self.op(Op::DeletePrefix { prefix: prefix.into() })
    }

    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }
    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }
}
