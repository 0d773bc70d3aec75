//! Loads of published shapes: when each call comes and how long it takes, from a seed.

use fastrand::Rng;
use std::{fmt, time::Duration};

/// One call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    pub at: Duration,
    pub takes: Duration,
}

/// How many calls a second there are, by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// From nothing to a level, and it stays.
    Step,
    /// Steadily more, from a tenth to all of it.
    Ramp,
    /// A level with a burst of ten times as much for a quarter of a minute, twice.
    Spike,
    /// Two days of an hour each: a sine from a tenth to all, as request counts of large FaaS fleets have it (Shahrad et
    /// al., "Serverless in the Wild", 2020, fig. 4).
    Diurnal,
    /// Half a minute of work, a minute of nothing.
    OnOff,
    /// As many as one person makes: long pauses, and a few at once.
    Sparse,
}

impl Shape {
    pub const ALL: [Self; 6] = [Self::Step, Self::Ramp, Self::Spike, Self::Diurnal, Self::OnOff, Self::Sparse];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Ramp => "ramp",
            Self::Spike => "spike",
            Self::Diurnal => "diurnal",
            Self::OnOff => "on/off",
            Self::Sparse => "sparse",
        }
    }

    pub const fn seconds(self) -> u64 {
        match self {
            Self::Step | Self::Ramp | Self::Spike => 600,
            Self::Diurnal => 7200,
            Self::OnOff => 1800,
            Self::Sparse => 3600,
        }
    }

    /// Share of the top rate in this second.
    fn level(self, second: u64) -> f64 {
        let time = second as f64;
        match self {
            Self::Step => f64::from(second >= 60),
            Self::Ramp => (0.1 + 0.9 * time / 500.0).min(1.0),
            Self::Spike => {
                if matches!(second, 180..195 | 420..435) {
                    1.0
                } else {
                    0.1
                }
            }
            Self::Diurnal => 0.55 - 0.45 * (time / 3600.0 * std::f64::consts::TAU).cos(),
            Self::OnOff => f64::from(second % 90 < 30),
            Self::Sparse => 0.02,
        }
    }
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub shape: Shape,
    /// Calls a second at the top.
    pub rate: f64,
    /// Mean time of a call. The times are log-normal with a median of 0.6 of it and a long tail, as measured on Azure
    /// Functions (Shahrad et al. 2020, fig. 7).
    pub mean: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/s {} ms", self.shape.as_str(), self.rate, self.mean.as_millis())
    }
}

impl Load {
    /// Calls come independently of each other at the rate of their second.
    pub fn arrivals(&self, seed: u64) -> Vec<Arrival> {
        let mut rng = Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        let (mut at, end) = (0.0, self.shape.seconds() as f64);
        // By thinning: candidates at the top rate, kept with the level's probability.
        while at < end {
            at -= (1.0 - rng.f64()).ln() / self.rate;
            if at < end && rng.f64() < self.shape.level(at as u64) {
                arrivals.push(Arrival { at: Duration::from_secs_f64(at), takes: self.takes(&mut rng) });
            }
        }
        arrivals
    }

    fn takes(&self, rng: &mut Rng) -> Duration {
        // Box and Muller; sigma 1: the mean of a log-normal is exp(0.5) times its median.
        let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        self.mean.mul_f64((normal - 0.5).exp().clamp(0.02, 20.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_what_it_says_and_the_same_each_time() {
        let load = Load { shape: Shape::Step, rate: 50.0, mean: Duration::from_millis(200) };
        let arrivals = load.arrivals(7);
        assert_eq!(arrivals, load.arrivals(7));
        assert_ne!(arrivals, load.arrivals(8));
        let (count, want) = (arrivals.len() as f64, 50.0 * 540.0);
        assert!((count / want - 1.0).abs() < 0.05, "{count} calls");
        assert!(arrivals.first().unwrap().at >= Duration::from_secs(60));
        let mean = arrivals.iter().map(|one| one.takes.as_secs_f64()).sum::<f64>() / count;
        assert!((mean / 0.2 - 1.0).abs() < 0.1, "{mean} s on average");
    }
}
