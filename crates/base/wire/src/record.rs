//! What happened, and what is kept: artifacts, logs, invocations.

use crate::BoxFuture;
use std::{io::Read, time::Duration};
use tokio::sync::mpsc;
use types::{Digest, Event, Fault, FunctionName, Invocation, InvocationId, LogLine, RevisionId};

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

    /// Writes what happened into the function's log, as a line of stream `platform`. Never blocks.
    fn note(&self, _event: &Event) {}
}

/// The last calls: implemented by `dispatch`.
pub trait Invocations: Send + Sync {
    /// Newest first, at most `limit`.
    fn recent(&self, function: &FunctionName, limit: usize) -> Vec<Invocation>;

    /// What the dispatcher did about a function's instances and circuits, newest first.
    fn events(&self, _function: &FunctionName) -> Vec<Event> {
        Vec::new()
    }

    /// How a revision's calls ended since this process knows it; `None` where it had none.
    fn tally(&self, _revision: &RevisionId) -> Option<Tally> {
        None
    }
}

/// Classes of [`Tally::took`]: the n-th counts calls of less than 2^n × 64 µs, the last one all that took longer.
pub const TOOK_CLASSES: usize = 24;

/// Ends of calls, counted: the difference of two of them is what happened between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls that user code ended one way or the other.
    pub calls: u64,
    /// Of them, those that overran, died, threw or answered 5xx.
    pub failed: u64,
    /// Time in user code, those that failed left out.
    pub took: [u64; TOOK_CLASSES],
}

impl Tally {
    pub fn add(&mut self, failed: bool, took: Duration) {
        self.calls += 1;
        if failed {
            self.failed += 1;
            return;
        }
        let class = (took.as_micros() >> 6).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.took[class.min(TOOK_CLASSES - 1)] += 1;
    }

    /// What happened since `earlier`; everything, where the counts began anew meanwhile.
    pub fn since(&self, earlier: &Self) -> Self {
        if earlier.calls > self.calls {
            return *self;
        }
        let mut took = self.took;
        took.iter_mut().zip(earlier.took).for_each(|(now, then)| *now = now.saturating_sub(then));
        Self { calls: self.calls - earlier.calls, failed: self.failed.saturating_sub(earlier.failed), took }
    }

    /// Upper bound of the time that `percent` of the successful calls took at most, within a factor of two.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let total: u64 = self.took.iter().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let class = self.took.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(64 << class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_and_subtracts() {
        let mut tally = Tally::default();
        assert_eq!(tally.percentile(95), None);
        (0..95).for_each(|_| tally.add(false, Duration::from_millis(1)));
        let before = tally;
        (0..5).for_each(|_| tally.add(false, Duration::from_secs(1)));
        tally.add(true, Duration::from_secs(9));
        assert_eq!((tally.calls, tally.failed), (101, 1));
        assert_eq!(tally.percentile(95), Some(Duration::from_micros(1024)));
        assert_eq!(tally.percentile(96), Some(Duration::from_micros(64 << 14)));
        let since = tally.since(&before);
        assert_eq!((since.calls, since.failed, since.took.iter().sum::<u64>()), (6, 1, 5));
        assert_eq!(before.since(&tally), before, "counted anew");
        for (micros, class) in [(0, 0), (63, 0), (64, 1), (127, 1), (128, 2), (u64::MAX, TOOK_CLASSES - 1)] {
            let mut tally = Tally::default();
            tally.add(false, Duration::from_micros(micros));
            assert_eq!(tally.took[class], 1, "{micros} µs");
        }
    }
}
