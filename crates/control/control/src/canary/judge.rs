//! What becomes of a canary's step: plain data in, a verdict out.
//!
//! Failures are looked at all the time, since a bad revision should go as soon as that is certain; times only at the step's
//! end, since the first calls of fresh instances are slow. What has too few calls to be certain waits, and is judged in the
//! end by what there is.

use std::{fmt, time::Duration};
use types::Canary;
use wire::Tally;

/// A share is worse where it differs by so many standard errors: looked at each second, an equally good revision is sent
/// back in two of a hundred steps at most. Source: the two-proportion z-test.
const CERTAIN: f64 = 3.0;
/// A percentile is compared where both revisions have so many successful calls: the tail needs more than the middle.
const PERCENTILES: [(u64, u64); 3] = [(99, 1000), (95, 100), (50, 20)];
/// Fast calls are never worse by their factor alone.
const SLOWER_MIN: Duration = Duration::from_millis(5);

/// What both revisions did in the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub old: Tally,
    pub new: Tally,
    /// Since the step began.
    pub lasted: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The step goes on.
    Stay,
    On,
    Back(Reason),
}

impl Verdict {
    /// All of [`Verdict::as_str`].
    pub(super) const WORDS: [&'static str; 4] = ["stay", "on", "errors", "slower"];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::On => "on",
            Self::Back(Reason::Errors) => "errors",
            Self::Back(Reason::Slower { .. }) => "slower",
        }
    }
}

/// Why a revision is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Errors,
    Slower { percent: u64, old: Duration, new: Duration },
}

/// The verdict on a step that lasts `lasts`.
pub(super) fn judge(window: &Window, lasts: Duration, plan: &Canary) -> Verdict {
    let Window { old, new, lasted } = window;
    let least = u64::from(plan.calls_min);
    if new.calls >= least && more_errors(old, new, plan.errors, CERTAIN) {
        return Verdict::Back(Reason::Errors);
    }
    let thin = new.calls < least || old.calls < least;
    let patience = if thin { plan.wait.duration() } else { Duration::ZERO };
    if *lasted < lasts + patience {
        return Verdict::Stay;
    }
    // Nothing makes it more certain than it is now: where there is little, each failure counts against the new one.
    if thin && more_errors(old, new, plan.errors, 0.0) {
        return Verdict::Back(Reason::Errors);
    }
    slower(old, new, plan.latency).map_or(Verdict::On, Verdict::Back)
}

/// True where the new share of failed calls is larger by more than `margin` percentage points, and by so many standard
/// errors.
fn more_errors(old: &Tally, new: &Tally, margin: u8, certain: f64) -> bool {
    if new.calls == 0 {
        return false;
    }
    // An old revision that nobody called is taken for one good call.
    let (old_calls, new_calls) = (old.calls.max(1) as f64, new.calls as f64);
    let (old_failed, new_failed) = (old.failed as f64, new.failed as f64);
    let worse = new_failed / new_calls - old_failed / old_calls;
    let pooled = (old_failed + new_failed) / (old_calls + new_calls);
    let error = (pooled * (1.0 - pooled) * (1.0 / old_calls + 1.0 / new_calls)).sqrt();
    worse * 100.0 > f64::from(margin) && worse >= certain * error
}

/// The first percentile that is worse by the factor, in per cent.
fn slower(old: &Tally, new: &Tally, factor: u32) -> Option<Reason> {
    let enough = |least: u64| old.succeeded() >= least && new.succeeded() >= least;
    PERCENTILES.iter().filter(|(_, least)| enough(*least)).find_map(|(percent, _)| {
        let (old, new) = (old.percentile(*percent)?, new.percentile(*percent)?);
        let limit = (old * factor / 100).max(old + SLOWER_MIN);
        (new > limit).then_some(Reason::Slower { percent: *percent, old, new })
    })
}

/// What was seen, for people.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, lasted } = self;
        write!(f, "in {lasted:.0?} {}; the old one: {}", Said(new), Said(old))
    }
}

struct Said<'a>(&'a Tally);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.0;
        if tally.calls == 0 {
            return f.write_str("no calls");
        }
        write!(f, "{} of {} calls failed", tally.failed, tally.calls)?;
        tally.percentile(95).map_or(Ok(()), |p95| write!(f, ", 95 % took less than {p95:.1?}"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors => f.write_str("more calls fail"),
            Self::Slower { percent, old, new } => {
                write!(f, "{percent} % of its calls took less than {new:.1?}, and {old:.1?} before")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Millis;

    const MS: Duration = Duration::from_millis(1);

    /// So many calls, failed ones among them; the others took `took` but for one in twenty-five, which took `tail`.
    fn calls(calls: u64, failed: u64, took: Duration, tail: Duration) -> Tally {
        let mut tally = Tally::default();
        for n in 0..calls {
            tally.add(n < failed, if n % 25 == 0 { tail } else { took });
        }
        tally
    }

    fn verdict(old: Tally, new: Tally, secs: u64) -> Verdict {
        let plan = Canary { wait: Millis::secs(100), ..Canary::default() };
        judge(&Window { old, new, lasted: Duration::from_secs(secs) }, Duration::from_secs(60), &plan)
    }

    #[test]
    fn failures_send_it_back() {
        use Verdict::{Back, On, Stay};
        let errors = Back(Reason::Errors);
        // Old calls and failures, new ones, after seconds.
        for (old, new, secs, want) in [
            ((400, 0), (20, 20), 1, errors),
            // Too few to say.
            ((400, 0), (19, 19), 1, Stay),
            ((400, 0), (19, 19), 159, Stay),
            ((400, 0), (19, 19), 160, errors),
            ((400, 0), (5, 1), 160, errors),
            ((400, 0), (5, 0), 60, Stay),
            ((400, 0), (5, 0), 160, On),
            ((400, 0), (0, 0), 160, On),
            ((0, 0), (0, 0), 160, On),
            // All well.
            ((400, 0), (40, 0), 59, Stay),
            ((400, 0), (40, 0), 60, On),
            // Within the margin of five points.
            ((4000, 0), (400, 19), 60, On),
            ((4000, 0), (400, 21), 1, errors),
            // Equally bad is not worse; better neither.
            ((400, 80), (40, 8), 60, On),
            ((400, 400), (40, 40), 60, On),
            ((400, 80), (40, 0), 60, On),
            // More than the margin, and by chance: one standard error is 6.6 points.
            ((400, 80), (40, 12), 60, On),
            ((400, 80), (40, 18), 30, errors),
            // Nobody calls the old one.
            ((0, 0), (40, 40), 1, errors),
            ((0, 0), (40, 20), 60, Stay),
            ((0, 0), (40, 20), 160, errors),
            ((0, 0), (40, 0), 160, On),
        ] {
            let tally = |(n, failed)| calls(n, failed, MS, MS);
            assert_eq!(verdict(tally(old), tally(new), secs), want, "{old:?} {new:?} after {secs} s");
        }
    }

    #[test]
    fn slowness_sends_it_back_at_the_end() {
        use Verdict::{Back, On, Stay};
        // Old calls, what they took and their tail; the new ones; after seconds; the verdict, or the percentile that is worse.
        for (old, new, secs, want) in [
            ((400, 10, 10), (400, 10, 10), 60, Ok(On)),
            ((400, 10, 10), (400, 19, 19), 60, Ok(On)),
            ((400, 10, 10), (400, 30, 30), 60, Err(95)),
            ((400, 10, 10), (400, 30, 30), 59, Ok(Stay)),
            // Faster is no harm.
            ((400, 30, 30), (400, 10, 10), 60, Ok(On)),
            // A factor alone is none for fast calls.
            ((400, 1, 1), (400, 4, 4), 60, Ok(On)),
            // The tail counts where there are enough calls to see it: 4 % of the calls are beyond 95 %.
            ((5000, 10, 10), (5000, 10, 90), 60, Err(99)),
            ((5000, 10, 10), (900, 10, 90), 60, Ok(On)),
            ((5000, 10, 90), (5000, 10, 90), 60, Ok(On)),
            // Few calls are compared by their middle.
            ((400, 10, 10), (30, 10, 900), 60, Ok(On)),
            ((400, 10, 10), (30, 30, 30), 60, Err(50)),
            // Too few for that.
            ((400, 10, 10), (10, 90, 90), 60, Ok(Stay)),
            ((400, 10, 10), (10, 90, 90), 160, Ok(On)),
        ] {
            let tally = |(n, took, tail)| calls(n, 0, Duration::from_millis(took), Duration::from_millis(tail));
            let found = match verdict(tally(old), tally(new), secs) {
                Back(Reason::Slower { percent, .. }) => Err(percent),
                other => Ok(other),
            };
            assert_eq!(found, want, "{old:?} {new:?} after {secs} s");
        }
    }

    #[test]
    fn an_equally_good_one_is_seldom_sent_back() {
        // A thousand steps of sixty looks at revisions that both fail one call in ten, with a fixed seed.
        let (mut seed, mut back) = (7_u64, 0);
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % 10 == 0
        };
        for _ in 0..1000 {
            let (mut old, mut new) = (Tally::default(), Tally::default());
            let mut sent_back = false;
            for second in 0..=60 {
                (0..19).for_each(|_| old.add(random(), MS));
                (0..2).for_each(|_| new.add(random(), MS));
                sent_back |= matches!(verdict(old, new, second), Verdict::Back(_));
            }
            back += u32::from(sent_back);
        }
        assert!(back <= 20, "{back} of 1000");
    }

    #[test]
    fn what_was_seen_is_told() {
        let window = Window { old: Tally::default(), new: calls(40, 3, MS, MS), lasted: Duration::from_secs(60) };
        assert_eq!(window.to_string(), "in 60s 3 of 40 calls failed, 95 % took less than 1.0ms; the old one: no calls");
    }
}
