//! What a pool adds up for fleet's windows, under the lock that it holds anyway: a subtraction and two additions for each change.

use std::time::{Duration, Instant};
use wire::Activity;

pub(crate) struct Meter {
    sums: Activity,
    /// Calls since `at`, and those of them in a slot.
    calls: u32,
    busy: u32,
    at: Instant,
}

impl Default for Meter {
    fn default() -> Self {
        Self { sums: Activity::default(), calls: 0, busy: 0, at: chassis::clock::now() }
    }
}

impl Meter {
    /// From `now` on there are `calls`, in flight and waiting; `busy` of them are in flight.
    pub(crate) fn changed(&mut self, now: Instant, calls: u32, busy: u32) {
        let passed = now.saturating_duration_since(self.at);
        self.sums.area += passed * self.calls;
        self.sums.busy += passed * self.busy;
        (self.calls, self.busy, self.at) = (calls, busy, now);
    }

    pub(crate) fn arrived(&mut self) {
        self.sums.arrivals += 1;
    }

    pub(crate) fn rejected(&mut self) {
        self.sums.rejected += 1;
    }

    /// A call gave its slot back.
    pub(crate) fn ended(&mut self, served: Duration) {
        self.sums.ended += 1;
        self.sums.served += served;
    }

    pub(crate) fn sums(&self, usual_start: Duration, oldest_wait: Duration) -> Activity {
        Activity { usual_start, oldest_wait, ..self.sums }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_calls_times_time() {
        let mut meter = Meter::default();
        let (start, second) = (meter.at, Duration::from_secs(1));
        meter.changed(start + second, 3, 2);
        meter.changed(start + second * 3, 1, 1);
        meter.changed(start + second * 4, 0, 0);
        meter.changed(start + second * 9, 0, 0);
        assert_eq!(meter.sums(second, second).busy, second * (2 * 2 + 1));
        assert_eq!(meter.sums(second, second).area, second * (3 * 2 + 1));
        assert_eq!(meter.sums(second, second).usual_start, second);
    }
}
