//! Both scalers under the same loads, over many seeds: medians, the worst, and who is beaten on what.

use crate::{
    report::Report,
    shape::{Load, Shape},
    world::{Scaler, Setup, World, in_virtual_time},
};
use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// The same idle time for both: Knative's stable window. No instance is ejected: here all are as good, and Knative has no
/// such thing.
pub const MANIFEST: &str = "[scale]\nmax=1000\nidle='60s'\n[resilience]\neject=false";
/// How long a start takes, for both.
pub const START: Duration = Duration::from_secs(1);
/// What is left running costs until then.
const REST: Duration = Duration::from_secs(120);

/// Seeds on which constants were chosen, and those that figures are reported of.
pub const TUNING: Range<u64> = 1..6;
pub const HELD: Range<u64> = 101..111;

/// Every shape as short calls, as many short calls, and as long ones.
pub fn loads() -> Vec<Load> {
    let kinds = [(20.0, 200), (100.0, 200), (20.0, 2000)];
    let of = |(rate, ms): (f64, u64)| Shape::ALL.map(|shape| Load { shape, rate, mean: Duration::from_millis(ms) });
    kinds.into_iter().flat_map(of).collect()
}

pub fn run(scaler: Scaler, load: Load, seed: u64) -> Report {
    in_virtual_time(async {
        let world = World::new(&Setup::new(scaler, MANIFEST, START), seed);
        world.run(&load.arrivals(seed), REST).await
    })
}

/// What came of one load, a report for each seed.
pub struct Duel {
    pub load: Load,
    pub ours: Vec<Report>,
    pub theirs: Vec<Report>,
}

/// The middle and the worst of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub worst: f64,
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let median = numbers.get(numbers.len() / 2).copied().unwrap_or_default();
        Self { median, worst: numbers.last().copied().unwrap_or_default() }
    }
}

impl Duel {
    pub fn waits(reports: &[Report]) -> Spread {
        Spread::of(reports.iter().map(|report| report.wait_p99.as_secs_f64() * 1e3))
    }

    pub fn costs(reports: &[Report]) -> Spread {
        Spread::of(reports.iter().map(|report| report.instance_seconds))
    }

    /// What ours is worse at, in the median or in the worst of the seeds; empty where Knative is beaten on both counts.
    pub fn lost(&self) -> Vec<String> {
        let counts = [("waiting p99, ms", Self::waits as fn(&[Report]) -> Spread), ("instance-seconds", Self::costs)];
        let mut lost = Vec::new();
        for (what, spread) in counts {
            let (ours, theirs) = (spread(&self.ours), spread(&self.theirs));
            for (which, ours, theirs) in [("median", ours.median, theirs.median), ("worst", ours.worst, theirs.worst)] {
                if ours > theirs {
                    lost.push(format!("{}: {which} {what} {ours:.0}, Knative {theirs:.0}", self.load));
                }
            }
        }
        lost
    }

    /// Seeds of which ours is no worse at either.
    pub fn seeds_won(&self) -> usize {
        let pairs = self.ours.iter().zip(&self.theirs);
        pairs.filter(|(o, t)| o.wait_p99 <= t.wait_p99 && o.instance_seconds <= t.instance_seconds).count()
    }
}

/// Runs every load with every seed and both scalers, on as many threads as the machine has cores.
pub fn duels(loads: &[Load], seeds: Range<u64>) -> Vec<Duel> {
    let per_load = (seeds.end - seeds.start) as usize;
    let jobs: Vec<(Load, u64, Scaler)> = loads
        .iter()
        .flat_map(|load| seeds.clone().flat_map(|seed| Scaler::BOTH.map(|scaler| (*load, seed, scaler))))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((load, seed, scaler)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            done.push((load, seed, scaler, run(scaler, load, seed)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    done.sort_by_key(|(_, seed, _, _)| *seed);
    let of = |load: &Load, wanted: Scaler| -> Vec<Report> {
        let own = done.iter().filter(|(other, _, scaler, _)| other == load && *scaler == wanted);
        own.map(|(_, _, _, report)| report.clone()).collect()
    };
    let duel = |load: &Load| Duel { load: *load, ours: of(load, Scaler::Mayfly), theirs: of(load, Scaler::Knative) };
    let duels: Vec<Duel> = loads.iter().map(duel).collect();
    assert!(duels.iter().all(|duel| duel.ours.len() == per_load && duel.theirs.len() == per_load), "a run panicked");
    duels
}

pub const HEAD: &str = "                         \
    cold starts over  wasted-s   inst-s (worst)  wait p99 (worst) ms";

impl fmt::Display for Duel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, reports) in [("Mayfly", &self.ours), ("Knative", &self.theirs)] {
            let median = |of: fn(&Report) -> f64| Spread::of(reports.iter().map(of)).median;
            let (cost, wait) = (Self::costs(reports), Self::waits(reports));
            writeln!(
                f,
                "{:24} {name:8} {:6.0} {:6.0} {:4.0} {:9.0} {:8.0} {:7.0} {:9.0} {:7.0}",
                self.load.to_string(),
                median(|report| report.cold as f64),
                median(|report| report.starts as f64),
                median(|report| report.overshoot() as f64),
                median(Report::wasted),
                cost.median,
                cost.worst,
                wait.median,
                wait.worst,
            )?;
        }
        let (ours, theirs) = (Self::costs(&self.ours).median, Self::costs(&self.theirs).median);
        let (wait, waits) = (Self::waits(&self.ours).median, Self::waits(&self.theirs).median);
        let (won, all) = (self.seeds_won(), self.ours.len());
        write!(
            f,
            "{:24} {:.2} x instance-seconds, {:.2} x p99, {won} of {all} seeds on both",
            "",
            ours / theirs,
            wait / waits
        )
    }
}
