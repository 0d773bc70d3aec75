//! What came of a run, in the numbers that are compared.

use crate::host::Seen;
use std::{fmt, time::Duration};

#[derive(Debug, Clone)]
pub struct Report {
    pub calls: usize,
    pub failed: usize,
    pub cut: u64,
    pub cold: u64,
    pub starts: u64,
    pub peak: usize,
    pub instance_seconds: f64,
    /// Slot seconds that calls used: the least that any scaler can spend with exclusive instances.
    pub used_seconds: f64,
    /// The most calls at once if none had waited: the peak beyond it is overshoot.
    pub needed: usize,
    pub wait_p50: Duration,
    pub wait_p99: Duration,
    pub wait_max: Duration,
}

impl Report {
    pub(crate) fn new(seen: Seen, calls: usize, failed: usize, used_seconds: f64, needed: usize) -> Self {
        let mut waits = seen.waits;
        waits.sort_unstable();
        let at = |share: f64| waits.get(((waits.len() as f64 * share) as usize).min(waits.len().max(1) - 1)).copied();
        Self {
            calls,
            failed,
            cut: seen.cut,
            cold: seen.cold,
            starts: seen.starts,
            peak: seen.peak,
            instance_seconds: seen.instance_seconds,
            used_seconds,
            needed,
            wait_p50: at(0.5).unwrap_or_default(),
            wait_p99: at(0.99).unwrap_or_default(),
            wait_max: at(1.0).unwrap_or_default(),
        }
    }

    pub fn overshoot(&self) -> usize {
        self.peak.saturating_sub(self.needed)
    }

    pub fn wasted(&self) -> f64 {
        (self.instance_seconds - self.used_seconds).max(0.0)
    }

    pub const HEAD: &str =
        "   calls  failed  cold  starts  peak  over  inst-s  wasted-s  wait p50  wait p99  wait max (ms)";
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:8} {:7} {:5} {:7} {:5} {:5} {:7.0} {:9.0} {:9.0} {:9.0} {:9.0}",
            self.calls,
            self.failed,
            self.cold,
            self.starts,
            self.peak,
            self.overshoot(),
            self.instance_seconds,
            self.wasted(),
            ms(self.wait_p50),
            ms(self.wait_p99),
            ms(self.wait_max),
        )
    }
}
