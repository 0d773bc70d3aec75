//! What a pool adds up for fleet's windows, under the lock that it holds anyway: a subtraction and an addition for each change.

use std::time::{Duration, Instant};
use wire::Activity;

pub(crate) struct Meter {
    sums: Activity,
    /// Calls since `at`.
    calls: u32,
    at: Instant,
}

impl Default for Meter {
    fn default() -> Self {
        Self { sums: Activity::default(), calls: 0, at: chassis::clock::now() }
    }
}

impl Meter {
    /// From `now` on there are `calls`, in flight and waiting.
    pub(crate) fn changed(&mut self, now: Instant, calls: u32) {
        self.sums.area += now.saturating_duration_since(self.at) * self.calls;
        (self.calls, self.at) = (calls, now);
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
        meter.changed(start + second, 3);
        meter.changed(start + second * 3, 1);
        meter.changed(start + second * 4, 0);
        meter.changed(start + second * 9, 0);
        assert_eq!(meter.sums(second, second).area, second * (3 * 2 + 1));
        assert_eq!(meter.sums(second, second).usual_start, second);
    }
}
