//! The retry budget: calls earn it, retries spend it, so that retries cannot become a storm of their own.
//!
//! Whether a call *may* be sent again is said elsewhere: only where no byte of it reached user code.
//! Source: Finagle's `RetryBudget` (20 % of the calls and 10 a second).

use std::time::{Duration, Instant};

/// What a retry costs; a call earns its share in per cent.
const COST: u64 = 100;
/// Retries a second that are there without any call: a function with little traffic is worth a second try, too.
const FLOOR: u64 = 10;
/// What is earned is kept for so many calls at most.
const SAVED_CALLS: u64 = 1000;

pub(crate) struct Budget {
    /// Earned by each call, in hundredths of a retry.
    share: u64,
    saved: u64,
    floor: u64,
    second: Instant,
}

impl Budget {
    pub(crate) fn new(share: u8, now: Instant) -> Self {
        Self { share: u64::from(share), saved: 0, floor: FLOOR, second: now }
    }

    /// A call was made.
    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + self.share).min(self.share * SAVED_CALLS);
    }

    /// True where a call may be sent to another instance.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        if self.share == 0 {
            return false;
        }
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.floor) = (now, FLOOR);
        }
        if self.saved >= COST {
            self.saved -= COST;
            return true;
        }
        let left = self.floor > 0;
        self.floor = self.floor.saturating_sub(1);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_calls_and_a_floor() {
        let start = Instant::now();
        for (share, calls, granted) in [(20, 0, 10), (20, 100, 30), (0, 100, 0), (100, 10, 20), (20, 1_000_000, 210)] {
            let mut budget = Budget::new(share, start);
            (0..calls).for_each(|_| budget.earn());
            let spent = (0..10_000).filter(|_| budget.spend(start)).count();
            assert_eq!(spent, granted, "{share} % of {calls}");
        }
        let mut budget = Budget::new(20, start);
        while budget.spend(start) {}
        assert!(!budget.spend(start + Duration::from_millis(999)));
        assert!(budget.spend(start + Duration::from_secs(1)), "the floor comes back");
    }
}
