//! A circuit, of a revision or of one outbound dependency: closed, open after too many failures, half open to try again.
//!
//! ```text
//! closed ── share of failures in the window ≥ limit ──▶ open ── its time is over ──▶ half open
//!   ▲                                                    ▲                            │  │
//!   │                                                    └────── a probe failed ──────┘  │
//!   └──────────────────────────── all probes succeeded ──────────────────────────────────┘
//! ```
//!
//! It knows neither what it stands for nor whose calls it counts: dispatch keeps one for each revision, `bindings` one for
//! each outbound dependency of a revision. Time, and what is a failure, come from the caller.

use crate::resilience::Circuit;
use std::time::{Duration, Instant};

const BUCKETS: usize = 10;
/// An open time is doubled this often at most.
const DOUBLED_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// `admitted` probes since `since`, of which `succeeded` have.
    HalfOpen {
        since: Instant,
        admitted: u32,
        succeeded: u32,
    },
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Pass,
    /// Come again after this long.
    Refuse(Duration),
}

/// A change that people want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened {
        failed: u32,
        calls: u32,
    },
    /// A probe failed.
    Reopened,
    Closed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    calls: u32,
    failed: u32,
}

pub struct Breaker {
    policy: Circuit,
    state: State,
    buckets: [Bucket; BUCKETS],
    at: usize,
    bucket_ends: Instant,
    /// Probes that failed in a row.
    doubled: u32,
}

impl Breaker {
    pub fn new(policy: Circuit, now: Instant) -> Self {
        let bucket_ends = now + policy.window.duration() / BUCKETS as u32;
        Self { policy, state: State::Closed, buckets: Default::default(), at: 0, bucket_ends, doubled: 0 }
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.state {
            State::Closed => Admission::Pass,
            State::Open { until } if now < *until => Admission::Refuse(*until - now),
            State::Open { .. } => {
                self.state = State::HalfOpen { since: now, admitted: 1, succeeded: 0 };
                Admission::Pass
            }
            State::HalfOpen { since, admitted, succeeded } => {
                let open = self.policy.open.duration();
                // Probes that never ended (who called went away) make room for others.
                if now.saturating_duration_since(*since) >= open {
                    (*since, *admitted) = (now, *succeeded);
                }
                if *admitted < self.policy.probes {
                    *admitted += 1;
                    return Admission::Pass;
                }
                Admission::Refuse(open.saturating_sub(now.saturating_duration_since(*since)))
            }
        }
    }

    /// A call that began at `began` ended.
    pub fn ended(&mut self, failed: bool, began: Instant, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Closed => {
                self.count(failed, now);
                failed.then(|| self.judge(now)).flatten()
            }
            State::Open { .. } => None,
            // A straggler from before it opened is no probe.
            State::HalfOpen { since, .. } if began < *since => None,
            State::HalfOpen { .. } if failed => {
                self.doubled = (self.doubled + 1).min(DOUBLED_MAX);
                self.open(now);
                Some(Change::Reopened)
            }
            State::HalfOpen { succeeded, .. } => {
                *succeeded += 1;
                if *succeeded < self.policy.probes {
                    return None;
                }
                (self.state, self.doubled, self.buckets) = (State::Closed, 0, Default::default());
                Some(Change::Closed)
            }
        }
    }

    fn judge(&mut self, now: Instant) -> Option<Change> {
        let sum = |part: fn(&Bucket) -> u32| self.buckets.iter().map(part).sum::<u32>();
        let (calls, failed) = (sum(|bucket| bucket.calls), sum(|bucket| bucket.failed));
        let enough = calls >= self.policy.calls_min;
        let too_many = u64::from(failed) * 100 >= u64::from(calls) * u64::from(self.policy.failures);
        if !(enough && too_many) {
            return None;
        }
        self.open(now);
        Some(Change::Opened { failed, calls })
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { until: now + self.policy.open.duration() * (1 << self.doubled) };
    }

    fn count(&mut self, failed: bool, now: Instant) {
        if now >= self.bucket_ends {
            self.turn(now);
        }
        let bucket = &mut self.buckets[self.at];
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failed = bucket.failed.saturating_add(u32::from(failed));
    }

    fn turn(&mut self, now: Instant) {
        let step = self.policy.window.duration() / BUCKETS as u32;
        let late = now.saturating_duration_since(self.bucket_ends).as_nanos() / step.as_nanos().max(1);
        for _ in 0..=late.min(BUCKETS as u128 - 1) {
            self.at = (self.at + 1) % BUCKETS;
            self.buckets[self.at] = Bucket::default();
        }
        self.bucket_ends = now + step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Millis;

    const POLICY: Circuit =
        Circuit { failures: 50, calls_min: 4, window: Millis::secs(10), open: Millis::secs(5), probes: 2 };

    /// One step of a story: at this second, this happens, and that follows.
    enum Step {
        Ends(bool, Option<Change>),
        Asks(Admission),
    }
    use Step::{Asks, Ends};

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn tell(story: &[(u64, Step)]) {
        let start = Instant::now();
        let mut breaker = Breaker::new(POLICY, start);
        for (line, (at, step)) in story.iter().enumerate() {
            let now = start + secs(*at);
            match step {
                Ends(failed, change) => assert_eq!(breaker.ended(*failed, now, now), *change, "step {line}"),
                Asks(want) => assert_eq!(breaker.admit(now), *want, "step {line}"),
            }
        }
    }

    #[test]
    fn it_opens_tries_again_and_closes() {
        use Admission::{Pass, Refuse};
        let opened = Change::Opened { failed: 2, calls: 4 };
        tell(&[
            (0, Ends(true, None)),
            (0, Ends(false, None)),
            (1, Ends(false, None)),
            (1, Asks(Pass)),
            (1, Ends(true, Some(opened))),
            (1, Asks(Refuse(secs(5)))),
            (4, Asks(Refuse(secs(2)))),
            // Ended after it opened: says nothing.
            (5, Ends(true, None)),
            (6, Asks(Pass)),
            (6, Asks(Pass)),
            (6, Asks(Refuse(secs(5)))),
            (7, Ends(false, None)),
            (7, Ends(true, Some(Change::Reopened))),
            // Twice as long.
            (16, Asks(Refuse(secs(1)))),
            (17, Asks(Pass)),
            (17, Asks(Pass)),
            (18, Ends(false, None)),
            (18, Ends(false, Some(Change::Closed))),
            (18, Asks(Pass)),
            (18, Ends(true, None)),
        ]);
    }

    #[test]
    fn old_failures_are_forgotten_and_few_calls_say_nothing() {
        tell(&[
            (0, Ends(true, None)),
            (0, Ends(true, None)),
            (0, Ends(true, None)),
            (11, Ends(true, None)),
            (12, Ends(true, None)),
            (13, Ends(true, None)),
            (14, Ends(true, Some(Change::Opened { failed: 4, calls: 4 }))),
        ]);
    }

    #[test]
    fn a_probe_whose_caller_left_blocks_nothing() {
        use Admission::{Pass, Refuse};
        let start = Instant::now();
        let mut breaker = Breaker::new(POLICY, start);
        (0..4).for_each(|_| {
            breaker.ended(true, start, start);
        });
        assert_eq!(breaker.admit(start + secs(5)), Pass);
        assert_eq!(breaker.admit(start + secs(6)), Pass);
        assert_eq!(breaker.admit(start + secs(9)), Refuse(secs(1)));
        assert_eq!(breaker.admit(start + secs(10)), Pass);
        // What began before it opened is no probe, whenever it ends.
        assert_eq!(breaker.ended(true, start, start + secs(11)), None);
        assert!(!breaker.is_closed());
    }
}
