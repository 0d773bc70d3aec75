//! The limit that learns: how many calls at once an instance stands before it only gets slower.
//!
//! A gradient, as in Netflix' concurrency-limits and Envoy's adaptive concurrency: windows of calls are compared with
//! what a call takes where few are at work. The limit follows `limit × base / now`, plus room to grow. From time to time
//! a window at a quarter of the limit measures the base anew, so that it neither ages nor creeps up with the load.

use std::time::{Duration, Instant};

/// A window is over after so many calls …
const CALLS: u32 = 30;
/// … and at least this long.
const WINDOW: Duration = Duration::from_millis(100);
/// Latency may grow this much before the limit goes down: below that it is noise.
const TOLERANCE: f64 = 1.5;
/// Between two measurements of the base, in windows.
const PROBE_EVERY: u32 = 100;
/// How much of the old limit stays in the new one.
const INERTIA: f64 = 0.5;

pub(crate) struct Gradient {
    limit: f64,
    max: f64,
    /// What a call takes where few are at work.
    base: Option<Duration>,
    window: Window,
    /// Windows since the base was measured.
    age: u32,
    /// The limit to go back to after a probe.
    probing: Option<f64>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    calls: u32,
    total: Duration,
    /// Most calls at once in an instance.
    busy: u32,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, calls: 0, total: Duration::ZERO, busy: 0 }
    }
}

impl Gradient {
    /// `max`: the instance's slots. It begins low, to learn the base: the way up is short.
    pub(crate) fn new(max: u32, now: Instant) -> Self {
        let max = f64::from(max.max(1));
        Self { limit: max.min(2.0), max, base: None, window: Window::new(now), age: 0, probing: None }
    }

    /// Calls at once for each instance.
    pub(crate) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// A call took `took`, with at most `busy` at once in its instance.
    pub(crate) fn ended(&mut self, took: Duration, busy: u32, now: Instant) {
        let window = &mut self.window;
        window.calls += 1;
        window.total += took;
        window.busy = window.busy.max(busy);
        if window.calls >= CALLS && now.saturating_duration_since(window.began) >= WINDOW {
            let window = std::mem::replace(&mut self.window, Window::new(now));
            self.learn(window.total / window.calls, window.busy);
        }
    }

    fn learn(&mut self, mean: Duration, busy: u32) {
        if let Some(limit) = self.probing.take() {
            (self.base, self.limit, self.age) = (Some(mean), limit, 0);
            return;
        }
        self.age += 1;
        if self.age >= PROBE_EVERY && self.base.is_some() {
            self.probing = Some(self.limit);
            self.limit = (self.limit / 4.0).max(1.0);
            return;
        }
        let base = self.base.map_or(mean, |base| base.min(mean));
        self.base = Some(base);
        let gradient = (TOLERANCE * base.as_secs_f64() / mean.as_secs_f64().max(1e-9)).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        // A limit that nobody reaches has proved nothing: it does not grow.
        if wanted > self.limit && f64::from(busy) < f64::from(self.limit()) * 0.8 {
            return;
        }
        self.limit = (self.limit * INERTIA + wanted * (1.0 - INERTIA)).clamp(1.0, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of `cores`: a call alone takes `service`; more than `cores` share them.
    struct Server {
        cores: u32,
        service: Duration,
    }

    impl Server {
        fn latency(&self, busy: u32) -> Duration {
            self.service * busy.max(self.cores) / self.cores
        }

        /// Loads it with `clients` calls at once for `seconds`; gives the limit and the latency at the end.
        fn load(&self, gradient: &mut Gradient, clients: u32, start: Instant, seconds: u64) -> (u32, Duration) {
            let mut now = start;
            let mut last = Duration::ZERO;
            while now < start + Duration::from_secs(seconds) {
                let busy = gradient.limit().min(clients);
                last = self.latency(busy);
                // A round: all that are at work end.
                now += last;
                (0..busy).for_each(|_| gradient.ended(last, busy, now));
            }
            (gradient.limit(), last)
        }
    }

    #[test]
    fn it_learns_what_a_server_stands() {
        let start = Instant::now();
        for (cores, max) in [(2, 80), (8, 80), (16, 1000), (64, 1000)] {
            let server = Server { cores, service: Duration::from_millis(10) };
            let mut gradient = Gradient::new(max, start);
            let mut at = start;
            for _ in 0..60 {
                let (limit, latency) = server.load(&mut gradient, 10 * max, at, 1);
                at += Duration::from_secs(1);
                if at > start + Duration::from_secs(5) && gradient.probing.is_none() {
                    assert!(limit >= cores, "{cores} cores: {limit} leave some idle");
                    let worst = server.service * 4;
                    assert!(latency <= worst, "{cores} cores, limit {limit}: {latency:?}");
                }
            }
        }
    }

    #[test]
    fn it_grows_only_with_need_and_never_over_the_slots() {
        let start = Instant::now();
        let server = Server { cores: 1000, service: Duration::from_millis(10) };
        let mut gradient = Gradient::new(80, start);
        assert!(server.load(&mut gradient, 2, start, 10).0 <= 3, "two clients prove nothing");
        assert_eq!(server.load(&mut gradient, 500, start + Duration::from_secs(10), 5).0, 80);
    }

    #[test]
    fn it_follows_a_server_that_gets_slower() {
        let start = Instant::now();
        let mut gradient = Gradient::new(200, start);
        let (before, _) = Server { cores: 16, service: Duration::from_millis(10) }.load(&mut gradient, 500, start, 10);
        let later = start + Duration::from_secs(10);
        let (after, _) = Server { cores: 4, service: Duration::from_millis(10) }.load(&mut gradient, 500, later, 20);
        assert!(after < before / 2, "{before}, then {after}");
        // Longer calls alone are no overload: the base is measured anew.
        let longer = Server { cores: 16, service: Duration::from_millis(100) };
        let (long, _) = longer.load(&mut gradient, 500, later + Duration::from_secs(20), 120);
        assert!(long >= 15, "{long} of 16 cores");
    }
}
