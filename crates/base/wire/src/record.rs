//! What happened, and what is kept: artifacts, logs, invocations.

use crate::BoxFuture;
use std::io::Read;
use tokio::sync::mpsc;
use types::{Digest, Fault, FunctionName, Invocation, InvocationId, LogLine, RevisionId};

/// Packed code by digest: implemented over the blob store.
pub trait Artifacts: Send + Sync {
    /// The packed tree, verified while it is read.
    ///
    /// # Errors
    /// `internal` where it is missing or damaged.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, Fault>;
}

/// Which lines of a function's log.
#[derive(Debug, Clone)]
pub struct LogFilter {
    pub function: FunctionName,
    pub revision: Option<RevisionId>,
    pub invocation: Option<InvocationId>,
    /// The last so many lines of what is there.
    pub tail: usize,
    /// Goes on with what comes.
    pub follow: bool,
}

/// The functions' logs: implemented by `agent`.
pub trait Logs: Send + Sync {
    /// Lines in the order they were written. The channel is bounded: a reader that falls behind holds nothing up,
    /// it misses lines and is told so by a line of stream `platform`.
    fn read(&self, filter: LogFilter) -> BoxFuture<'_, mpsc::Receiver<LogLine>>;

    /// Deletes a function's log.
    fn forget(&self, function: &FunctionName);
}

/// The last calls: implemented by `dispatch`.
pub trait Invocations: Send + Sync {
    /// Newest first, at most `limit`.
    fn recent(&self, function: &FunctionName, limit: usize) -> Vec<Invocation>;
}
