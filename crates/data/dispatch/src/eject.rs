//! Which instance is so much worse than its siblings that it is replaced.
//!
//! Only a comparison says that it is the instance and not the function: an instance fails or is slow five times in a
//! row while its siblings are well. Random failures of a sound function do not come in such rows.

use std::time::{Duration, Instant};

/// Calls in a row that are failed, or slow, before siblings are looked at.
const STREAK: u32 = 5;
/// An instance is slow at this many times its siblings' median …
const SLOW_FACTOR: u32 = 3;
/// … and this much more: below that, what is measured is the machine's noise.
const SLOW_MIN: Duration = Duration::from_millis(10);
/// Calls after which an instance's average says something.
const CALLS_MIN: u32 = 5;
/// Of a pool, at most this share is ejected within `PERIOD`, but one may always be.
const SHARE: usize = 3;
const PERIOD: Duration = Duration::from_secs(30);

/// What is known of one instance: moving averages, updated as calls end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    calls: u32,
    /// Moving average of what its calls took.
    usual: Duration,
    failed_in_row: u32,
    slow_in_row: u32,
}

/// Why it is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Failing { in_row: u32 },
    Slow { usual: Duration, siblings: Duration },
}

/// When instances of a pool were ejected last.
#[derive(Debug, Default)]
pub(crate) struct Lately(Vec<Instant>);

impl Health {
    /// A call ended. `usual` is what calls of the whole pool take. True where the siblings are worth a look.
    pub(crate) fn ended(&mut self, failed: bool, took: Duration, usual: Duration) -> bool {
        self.calls = self.calls.saturating_add(1);
        if failed {
            self.failed_in_row += 1;
            return self.failed_in_row >= STREAK;
        }
        self.failed_in_row = 0;
        self.usual = average(self.usual, took);
        let slow = took > usual + SLOW_MIN / 2;
        self.slow_in_row = if slow { self.slow_in_row + 1 } else { 0 };
        self.slow_in_row >= STREAK
    }

    fn is_known(&self) -> bool {
        self.calls >= CALLS_MIN
    }
}

/// A moving average over some eight values.
pub(crate) fn average(usual: Duration, took: Duration) -> Duration {
    match usual {
        Duration::ZERO => took,
        usual => (usual * 7 + took) / 8,
    }
}

/// Why an instance is to be ejected, compared with its siblings that take calls.
pub(crate) fn judge(health: &Health, siblings: &[Health]) -> Option<Reason> {
    let known: Vec<&Health> = siblings.iter().filter(|sibling| sibling.is_known()).collect();
    if known.is_empty() {
        return None;
    }
    if health.failed_in_row >= STREAK {
        let well = known.iter().filter(|sibling| sibling.failed_in_row == 0).count();
        return (well * 2 > known.len()).then_some(Reason::Failing { in_row: health.failed_in_row });
    }
    // Two instances that differ: which of them is the odd one?
    if known.len() < 2 || health.slow_in_row < STREAK || !health.is_known() {
        return None;
    }
    let mut usual: Vec<Duration> = known.iter().map(|sibling| sibling.usual).collect();
    usual.sort_unstable();
    let siblings = usual[usual.len() / 2];
    let slow = health.usual > siblings * SLOW_FACTOR && health.usual > siblings + SLOW_MIN;
    slow.then_some(Reason::Slow { usual: health.usual, siblings })
}

impl Lately {
    /// True where one more of `instances` may be ejected now; then it is noted.
    pub(crate) fn allows(&mut self, instances: usize, now: Instant) -> bool {
        self.0.retain(|at| now.saturating_duration_since(*at) < PERIOD);
        let allowed = self.0.len() < (instances / SHARE).max(1);
        if allowed {
            self.0.push(now);
        }
        allowed
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failing { in_row } => write!(f, "its last {in_row} calls failed, and its siblings are well"),
            Self::Slow { usual, siblings } => {
                write!(f, "its calls take {usual:.1?}, and those of its siblings {siblings:.1?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// An instance after `calls` good ones of `usual`, and then `failed` and `slow` in a row.
    fn health(calls: u32, usual: Duration, failed_in_row: u32, slow_in_row: u32) -> Health {
        Health { calls, usual, failed_in_row, slow_in_row }
    }

    #[test]
    fn the_odd_one_is_ejected() {
        let well = health(20, 10 * MS, 0, 0);
        let failing = health(20, 10 * MS, 5, 0);
        let slow = Reason::Slow { usual: 100 * MS, siblings: 10 * MS };
        for (what, own, siblings, want) in [
            ("one fails", failing, &[well, well][..], Some(Reason::Failing { in_row: 5 })),
            ("one of two fails", failing, &[well], Some(Reason::Failing { in_row: 5 })),
            ("all fail: it is the function", failing, &[failing, failing], None),
            ("half of the others fail", failing, &[failing, well], None),
            ("alone", failing, &[], None),
            ("siblings that nobody knows", failing, &[health(1, MS, 0, 0)], None),
            ("four failures are no row", health(20, 10 * MS, 4, 0), &[well, well], None),
            ("one is slow", health(20, 100 * MS, 0, 5), &[well, well, well], Some(slow)),
            ("slow now and then", health(20, 100 * MS, 0, 4), &[well, well, well], None),
            ("one of two is slow: which?", health(20, 100 * MS, 0, 5), &[well], None),
            ("all are slow", health(20, 100 * MS, 0, 5), &[health(20, 90 * MS, 0, 5), health(20, 80 * MS, 0, 5)], None),
            ("noise", health(20, 2 * MS, 0, 5), &[health(20, MS / 4, 0, 0), health(20, MS / 4, 0, 0)], None),
        ] {
            assert_eq!(judge(&own, siblings), want, "{what}");
        }
    }

    #[test]
    fn rows_are_counted_and_broken() {
        let mut health = Health::default();
        assert!((0..4).all(|_| !health.ended(true, MS, MS)));
        assert!(!health.ended(false, MS, MS), "a success breaks the row");
        assert!((0..4).all(|_| !health.ended(true, MS, MS)));
        assert!(health.ended(true, MS, MS));
        let mut health = Health::default();
        assert!((0..4).all(|_| !health.ended(false, 100 * MS, MS)));
        assert!(health.ended(false, 100 * MS, MS));
        assert!(!health.ended(false, MS, MS));
    }

    #[test]
    fn never_more_than_a_share_of_the_pool() {
        let start = Instant::now();
        for (instances, most) in [(1, 1), (2, 1), (5, 1), (6, 2), (30, 10)] {
            let mut lately = Lately::default();
            let ejected = (0..instances).filter(|_| lately.allows(instances, start)).count();
            assert_eq!(ejected, most, "of {instances}");
            assert!(!lately.allows(instances, start + PERIOD - MS));
            assert!(lately.allows(instances, start + PERIOD));
        }
    }
}
