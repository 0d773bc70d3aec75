//! Sides take turns: round by round, so that whatever else the machine does falls on all of them alike.

use crate::{
    cpu::Meter,
    load::{self, Address, Sample},
    options::Options,
    report::Row,
};
use anyhow::Context;
use std::time::Duration;

/// Each side once before the first round counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// A round begins uncounted, so that connections and caches are where they stay.
const RUN_UP: Duration = Duration::from_millis(200);

/// One of those who do the same work.
pub struct Side {
    pub name: String,
    pub address: Address,
    pub request: Vec<u8>,
    pub meter: Option<Meter>,
}

/// What is taken of a sample.
pub type Read = fn(&Sample) -> f64;

pub fn cpu(sample: &Sample) -> f64 {
    sample.cpu_us
}
pub fn p50(sample: &Sample) -> f64 {
    sample.p50_us
}
pub fn rate(sample: &Sample) -> f64 {
    sample.per_second
}

/// Rounds of one side, in the order in which they were run.
#[derive(Debug, Clone)]
pub struct Rounds(Vec<Sample>);

impl Rounds {
    /// Median over the rounds of what `read` takes of one.
    pub fn median(&self, read: impl Fn(&Sample) -> f64) -> f64 {
        median(self.0.iter().map(read).collect())
    }

    /// Median of the rounds' ratios: neighbours in time are compared with each other.
    pub fn ratio(&self, other: &Self, read: impl Fn(&Sample) -> f64) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(own, other)| read(own) / read(other)).collect())
    }

    /// Median of the rounds' differences.
    pub fn difference(&self, other: &Self, read: impl Fn(&Sample) -> f64) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(own, other)| read(own) - read(other)).collect())
    }

    /// How far the rounds lie apart: the middle half's width over the median.
    pub fn spread(&self, read: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(&read).collect();
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values.get(((values.len() - 1) as f64 * part).round() as usize).copied().unwrap_or(0.0);
        (at(0.75) - at(0.25)) / at(0.5)
    }

    /// A row of the median, beside another side's in the same rounds.
    pub fn row(&self, what: impl Into<String>, unit: &'static str, name: &str, other: &Self, read: Read) -> Row {
        Row::new(what, self.median(read), unit)
            .against(name, other.median(read), self.ratio(other, read))
            .spread(self.spread(read))
    }

    pub fn line(&self, name: &str, connections: usize) -> String {
        let user = self.median(|s| s.user * s.cpu_us);
        let cpu = self.median(|s| s.cpu_us);
        format!(
            "  {name:<28} c={connections:<3} {:>7.0}/s  p50 {:>7.1} µs  p99 {:>8.1} µs  CPU {cpu:>6.2} µs (user {user:.2}, \
             kernel {:.2}; spread {:.0} %)",
            self.median(|s| s.per_second),
            self.median(|s| s.p50_us),
            self.median(|s| s.p99_us),
            cpu - user,
            self.spread(|s| s.cpu_us) * 100.0,
        )
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// All sides' rounds, in the order of the sides. Prints a line for each side.
pub async fn run(sides: &[&Side], connections: usize, options: &Options) -> anyhow::Result<Vec<Rounds>> {
    let mut rounds: Vec<Vec<Sample>> = vec![Vec::new(); sides.len()];
    for number in 0..=options.rounds {
        for (side, samples) in sides.iter().zip(&mut rounds) {
            let (warm, round) = if number == 0 { (Duration::ZERO, WARM_UP) } else { (RUN_UP, options.round) };
            let sample = load::run(&side.address, &side.request, connections, warm, round, side.meter.as_ref())
                .await
                .with_context(|| side.name.clone())?;
            if number > 0 {
                samples.push(sample);
            }
        }
    }
    let rounds: Vec<Rounds> = rounds.into_iter().map(Rounds).collect();
    for (side, rounds) in sides.iter().zip(&rounds) {
        println!("{}", rounds.line(&side.name, connections));
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(cpu: &[f64]) -> Rounds {
        Rounds(
            cpu.iter()
                .map(|us| Sample { requests: 1, per_second: 1.0, cpu_us: *us, user: 0.5, p50_us: *us, p99_us: *us })
                .collect(),
        )
    }

    #[test]
    fn rounds_are_compared_with_their_neighbours() {
        // The machine was slow in the second round: for both.
        let (own, other) = (rounds(&[15.0, 30.0, 15.0]), rounds(&[10.0, 20.0, 10.0]));
        assert_eq!(own.ratio(&other, |s| s.cpu_us), 1.5);
        assert_eq!(own.difference(&other, |s| s.cpu_us), 5.0);
        assert_eq!(own.median(|s| s.cpu_us), 15.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
