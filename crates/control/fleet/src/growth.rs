//! The growth budget: how many instances a revision may gain in a while. Source: Lambda's scaling rate, 1,000 in 10 s.

use std::time::{Duration, Instant};

/// So many starts in so much time, refilled all along; what is not used is not saved up.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    pub starts: u32,
    pub every: Duration,
}

impl Default for Growth {
    fn default() -> Self {
        Self { starts: 1000, every: Duration::from_secs(10) }
    }
}

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget {
    left: f32,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(growth: Growth, now: Instant) -> Self {
        Self { left: growth.starts as f32, at: now }
    }

    /// As many of `wanted` starts as may be made now.
    pub(crate) fn take(&mut self, growth: Growth, wanted: u32, now: Instant) -> u32 {
        let full = growth.starts as f32;
        let share = now.saturating_duration_since(self.at).as_secs_f32() / growth.every.as_secs_f32().max(1e-3);
        self.left = (self.left + share * full).min(full);
        self.at = now;
        let given = wanted.min(self.left as u32);
        self.left -= given as f32;
        given
    }

    pub(crate) fn left(&self) -> u32 {
        self.left as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refills_and_does_not_save_up() {
        let growth = Growth { starts: 100, every: Duration::from_secs(10) };
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut budget = Budget::new(growth, start);
        for (ms, wanted, given) in [
            (0, 30, 30),
            (0, 100, 70),
            (0, 1, 0),
            (100, 5, 1),
            (1_100, 50, 10),
            // An hour of nothing is a full budget, not 36,000.
            (3_601_100, 500, 100),
            (3_606_100, 500, 50),
        ] {
            assert_eq!(budget.take(growth, wanted, at(ms)), given, "{wanted} at {ms} ms");
        }
        assert_eq!(budget.left(), 0);
    }
}
