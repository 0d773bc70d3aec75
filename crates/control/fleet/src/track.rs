//! What the fleet remembers of one revision between two looks.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use types::Fault;
use wire::Load;

/// One-second peaks of the last minute.
const WINDOW: usize = 60;
/// After a failed start, the next attempt waits this long, doubled with each further failure.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Track {
    pub(crate) starting: u32,
    pub(crate) now: u32,
    pub(crate) last_used: Instant,
    peaks: VecDeque<u32>,
    /// Changes under way that need an instance of it, with or without traffic.
    holds: u32,
    failure: Option<Failure>,
}

struct Failure {
    fault: Fault,
    until: Instant,
    backoff: Duration,
}

impl Track {
    pub(crate) fn new(now: Instant) -> Self {
        Self { starting: 0, now: 0, last_used: now, peaks: VecDeque::new(), holds: 0, failure: None }
    }

    /// Takes a look's numbers in.
    pub(crate) fn seen(&mut self, load: &Load, now: Instant, tick: bool) {
        self.now = load.waiting + load.instances.iter().map(|instance| instance.in_flight).sum::<u32>();
        let peak = load.peak.max(self.now);
        if tick || self.peaks.is_empty() {
            if self.peaks.len() == WINDOW {
                self.peaks.pop_front();
            }
            self.peaks.push_back(peak);
        } else if let Some(last) = self.peaks.back_mut() {
            *last = peak.max(*last);
        }
        if peak > 0 {
            self.last_used = now;
        }
    }

    pub(crate) fn window_max(&self) -> u32 {
        self.peaks.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn hold(&mut self) {
        self.holds += 1;
    }

    pub(crate) fn let_go(&mut self) {
        self.holds -= 1;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holds > 0
    }

    pub(crate) fn started(&mut self) {
        self.failure = None;
    }

    pub(crate) fn failed(&mut self, fault: &Fault, now: Instant) {
        let backoff = match &self.failure {
            Some(failure) => (failure.backoff * 2).min(BACKOFF_MAX),
            None => BACKOFF_MIN,
        };
        self.failure = Some(Failure { fault: fault.clone(), until: now + backoff, backoff });
    }

    /// The last fault, while the next attempt has to wait.
    pub(crate) fn failing(&self, now: Instant) -> Option<Fault> {
        self.failure.as_ref().filter(|failure| now < failure.until).map(|failure| failure.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Code;

    #[test]
    fn failures_back_off_and_are_forgiven() {
        let start = Instant::now();
        let mut track = Track::new(start);
        let fault = Fault::new(Code::StartFailed, "x");
        assert_eq!(track.failing(start), None);
        track.failed(&fault, start);
        assert_eq!(track.failing(start), Some(fault.clone()));
        assert_eq!(track.failing(start + BACKOFF_MIN), None);
        track.failed(&fault, start);
        assert!(track.failing(start + BACKOFF_MIN).is_some());
        for _ in 0..20 {
            track.failed(&fault, start);
        }
        assert_eq!(track.failing(start + BACKOFF_MAX), None);
        track.started();
        assert_eq!(track.failing(start), None);
    }
}
