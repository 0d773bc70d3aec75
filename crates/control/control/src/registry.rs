//! The records of functions, revisions, aliases, routes and deployments, and the only code that changes them.
//!
//! Every change is one transaction with checks on all that it was decided upon, so it is whole or absent, whoever
//! else writes and whenever the process ends. A change that met another one is decided anew.
//!
//! Reading order: [`key`] names the records; [`read`] looks; [`release`] commits a deploy; [`alias`], [`route`], [`limit`], [`tenant`],
//! [`api_key`] and [`function`] are the changes that the API offers; [`canary`] are those that the platform makes by itself,
//! [`event`] why; [`deployment`] keeps the story of each attempt.

mod alias;
mod api_key;
mod canary;
mod deployment;
mod event;
mod function;
mod key;
mod limit;
pub(crate) mod picture;
mod read;
mod release;
mod route;
mod tenant;

pub(crate) use alias::{LIVE, Move, Step};
pub(crate) use canary::{Canaries, Turn};
pub(crate) use read::Stored;
pub use release::{Release, Verdict};

use crate::snapshot::Publisher;
use std::sync::Arc;
use store::{Records, Txn, Version, record::Error};
use tokio::sync::watch;
use types::{Code, Fault};

/// A change that meets others this often in a row is given up: somebody else writes without pause.
const ATTEMPTS_MAX: usize = 16;

/// The way to the records. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    records: Arc<dyn Records>,
    publisher: Arc<Publisher>,
}

/// What a caller knew of a record when it asked for a change: the request's `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Precondition {
    #[default]
    None,
    /// `*`: it exists.
    Exists,
    /// It still is at this version.
    Version(Version),
    /// There is none yet.
    Absent,
}

impl Precondition {
    /// Checks it against what is there.
    ///
    /// # Errors
    /// `precondition_failed`.
    fn check(self, what: &str, found: Option<Version>) -> Result<(), Fault> {
        let failed = |detail: String| Err(Fault::new(Code::PreconditionFailed, detail));
        match (self, found) {
            (Self::None, _) | (Self::Exists, Some(_)) | (Self::Absent, None) => Ok(()),
            (Self::Version(wanted), Some(found)) if wanted == found => Ok(()),
            (Self::Version(wanted), Some(found)) => {
                failed(format!("{what} has the ETag \"{found}\" now, not \"{wanted}\""))
            }
            (Self::Absent, Some(_)) => failed(format!("{what} exists already")),
            (Self::Exists | Self::Version(_), None) => failed(format!("{what} does not exist")),
        }
    }
}

impl Registry {
    /// Reads everything once and keeps the picture fresh from then on. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// `internal` where a record cannot be read.
    pub fn open(records: Arc<dyn Records>) -> Result<Self, Fault> {
        Self::publish_to(records, watch::Sender::default())
    }

    /// The same for a picture that outlives this registry: who serves keeps the last one.
    ///
    /// # Errors
    /// `internal` where a record cannot be read.
    pub fn publish_to(records: Arc<dyn Records>, picture: watch::Sender<Arc<wire::Snapshot>>) -> Result<Self, Fault> {
        let publisher = Publisher::start(Arc::clone(&records), picture)?;
        Ok(Self { records, publisher })
    }

    /// The picture for those who serve.
    pub fn snapshots(&self) -> wire::Snapshots {
        self.publisher.snapshots()
    }

    /// Commits what `plan` decides; decides again while others are faster. What is committed is in the picture
    /// when this returns.
    async fn change<T>(&self, mut plan: impl FnMut() -> Result<(Txn, T), Fault> + Send) -> Result<(Version, T), Fault> {
        for _ in 0..ATTEMPTS_MAX {
            let (txn, value) = plan()?;
            match self.records.commit(txn).await {
                Ok(version) => {
                    self.publisher.catch_up();
                    return Ok((version, value));
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(fault(error)),
            }
        }
        Err(Fault::new(Code::Unavailable, format!("{ATTEMPTS_MAX} attempts met other changes to the same records")))
    }
}

/// What a failed write means to the user.
fn fault(error: Error) -> Fault {
    match error {
        Error::Full => Fault::new(Code::StorageFull, "the records cannot be written: the disk is full"),
        Error::Stopped => Fault::new(Code::ShuttingDown, error.to_string()),
        Error::TooLarge { .. } => Fault::new(Code::BadRequest, error.to_string()),
        Error::Conflict { .. }
        | Error::NoLease(_)
        | Error::InUse(_)
        | Error::Newer { .. }
        | Error::Diverged { .. }
        | Error::Create { .. }
        | Error::Sqlite(_) => Fault::internal(error),
    }
}

/// JSON of a record. Our own types always have one; the error keeps that a fact and not a panic.
fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(Fault::internal)
}
