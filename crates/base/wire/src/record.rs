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

/// Classes of [`Tally::took`]: four for each doubling from 64 µs on, so that two revisions that are equally fast are never
/// told apart by more than a quarter; the last one counts all that took longer than nine minutes.
pub const TOOK_CLASSES: usize = 100;
/// Width of the first classes.
const CLASS_MIN_SHIFT: u32 = 4;

/// The class of a time in µs.
fn class(micros: u128) -> usize {
    let units = u64::try_from(micros >> CLASS_MIN_SHIFT).unwrap_or(u64::MAX);
    let class = match units {
        0..4 => units as usize,
        _ => {
            let log = units.ilog2();
            (log as usize - 1) * 4 + ((units >> (log - 2)) & 3) as usize
        }
    };
    class.min(TOOK_CLASSES - 1)
}

/// What all of a class took less than, in µs.
const fn bound(class: usize) -> u64 {
    let units = if class < 4 { class as u64 + 1 } else { (class as u64 % 4 + 5) << (class / 4 - 1) };
    units << CLASS_MIN_SHIFT
}

/// Ends of calls, counted: the difference of two of them is what happened between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Calls that user code ended one way or the other.
    pub calls: u64,
    /// Of them, those that overran, died, threw or answered 5xx.
    pub failed: u64,
    /// Time in user code, those that failed left out.
    pub took: [u32; TOOK_CLASSES],
}

impl Default for Tally {
    fn default() -> Self {
        Self { calls: 0, failed: 0, took: [0; TOOK_CLASSES] }
    }
}

impl Tally {
    pub fn add(&mut self, failed: bool, took: Duration) {
        self.calls += 1;
        if failed {
            self.failed += 1;
            return;
        }
        let count = &mut self.took[class(took.as_micros())];
        // Only differences matter.
        *count = count.wrapping_add(1);
    }

    /// What happened since `earlier`; everything, where the counts began anew meanwhile.
    pub fn since(&self, earlier: &Self) -> Self {
        if earlier.calls > self.calls {
            return *self;
        }
        let mut took = self.took;
        took.iter_mut().zip(earlier.took).for_each(|(now, then)| *now = now.wrapping_sub(then));
        Self { calls: self.calls - earlier.calls, failed: self.failed.saturating_sub(earlier.failed), took }
    }

    /// Calls that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.calls.saturating_sub(self.failed)
    }

    /// Upper bound of the time that `percent` of the successful calls took at most, a quarter or 16 µs too much at worst.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let total: u64 = self.took.iter().map(|count| u64::from(*count)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let class = self.took.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(Duration::from_micros(bound(class)))
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
        assert_eq!(tally.percentile(96), Some(Duration::from_micros(1 << 20)));
        let since = tally.since(&before);
        assert_eq!((since.calls, since.failed, since.took.iter().sum::<u32>()), (6, 1, 5));
        assert_eq!(before.since(&tally), before, "counted anew");
        for (micros, want) in [(0, 0), (15, 0), (16, 1), (63, 3), (64, 4), (79, 4), (80, 5), (127, 7), (128, 8)] {
            assert_eq!(class(micros), want, "{micros} µs");
        }
        assert_eq!(class(u128::from(u64::MAX)), TOOK_CLASSES - 1);
        for class_of in 0..TOOK_CLASSES - 1 {
            let (end, next) = (u128::from(bound(class_of)), bound(class_of + 1));
            assert_eq!((class(end - 1), class(end)), (class_of, class_of + 1), "each ends where the next begins");
            assert!(next <= (end as u64 * 5 / 4).max(end as u64 + 16), "{class_of}: {end} to {next}");
        }
    }
}
