//! The growth budget: how many instances a revision, and the host, may gain in a while. Source: Lambda's scaling rate,
//! 1,000 in 10 s.

use std::time::{Duration, Instant};

/// So many starts in so much time, refilled all along; what is not used is not saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// What was taken and not used.
    fn give_back(&mut self, starts: u32) {
        self.left += starts as f32;
    }

    pub(crate) fn left(&self) -> u32 {
        self.left as u32
    }
}

/// Whose budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Revision,
    Host,
}

/// Starts that are wanted and wait for a budget to be refilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) starts: u32,
    pub(crate) scope: Scope,
    pub(crate) growth: Growth,
}

/// As many of `wanted` starts as the revision's budget and the host's allow, and what is short and why.
pub(crate) fn take(
    (own, own_growth): (&mut Budget, Growth),
    (host, host_growth): (&mut Budget, Growth),
    wanted: u32,
    now: Instant,
) -> (u32, Option<Short>) {
    let allowed = own.take(own_growth, wanted, now);
    let given = host.take(host_growth, allowed, now);
    own.give_back(allowed - given);
    let (scope, growth) = if given < allowed { (Scope::Host, host_growth) } else { (Scope::Revision, own_growth) };
    (given, (given < wanted).then_some(Short { starts: wanted - given, scope, growth }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_budget_binds_and_nothing_is_lost_to_the_other() {
        let (growth, all) = (
            Growth { starts: 100, every: Duration::from_secs(10) },
            Growth { starts: 150, every: Duration::from_secs(10) },
        );
        let now = Instant::now();
        let (mut one, mut two, mut host) = (Budget::new(growth, now), Budget::new(growth, now), Budget::new(all, now));
        let short = |starts, scope, growth| Some(Short { starts, scope, growth });
        assert_eq!(take((&mut one, growth), (&mut host, all), 40, now), (40, None));
        let own = short(10, Scope::Revision, growth);
        assert_eq!(take((&mut one, growth), (&mut host, all), 70, now), (60, own), "its own is used up");
        let hosts = short(40, Scope::Host, all);
        assert_eq!(take((&mut two, growth), (&mut host, all), 90, now), (50, hosts), "the host has 50 left");
        assert_eq!((one.left(), two.left(), host.left()), (0, 50, 0), "what the host refused is not paid for");
    }

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
