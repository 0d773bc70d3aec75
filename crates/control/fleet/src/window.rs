//! The demand of one revision by the second, for the last minute.
//!
//! A revision that nobody calls costs [`Windows`] itself, some bytes; the buckets are there while it has traffic, and go
//! a minute after the last of it.

use crate::steady;
use std::time::Duration;

/// Seconds remembered.
pub const SECONDS: usize = 60;

/// What happened in some time: a look's news, or the sum of many.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Seconds that this is about.
    pub span: f32,
    /// Calls in flight and waiting, times the seconds that they were there.
    pub area: f32,
    /// Calls in flight alone, times the seconds: what they held slots for.
    pub busy: f32,
    /// Most calls at once.
    pub peak: u32,
    pub arrivals: u32,
    pub rejected: u32,
    /// Calls that gave their slot back.
    pub ended: u32,
    /// Core seconds used.
    pub cpu: f32,
    /// The longest start that ended in it, in seconds.
    pub start: f32,
}

impl Sums {
    pub(crate) fn add(&mut self, other: &Self) {
        self.span += other.span;
        self.area += other.area;
        self.peak = self.peak.max(other.peak);
        self.arrivals = self.arrivals.saturating_add(other.arrivals);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.ended = self.ended.saturating_add(other.ended);
        self.busy += other.busy;
        self.cpu += other.cpu;
        self.start = self.start.max(other.start);
    }

    fn is_quiet(&self) -> bool {
        *self == Self { span: self.span, ..Self::default() }
    }

    fn per_second(&self, sum: f32) -> f32 {
        if self.span > 0.0 { sum / self.span } else { 0.0 }
    }

    /// Calls at once, on average.
    pub fn calls(&self) -> f32 {
        self.per_second(self.area)
    }

    /// Calls that came each second.
    pub fn rate(&self) -> f32 {
        self.per_second(self.arrivals as f32)
    }

    /// Cores used on average.
    pub fn cores(&self) -> f32 {
        self.per_second(self.cpu)
    }
}

/// A minute of demand in buckets of a second.
#[derive(Debug, Default)]
pub struct Windows {
    buckets: Option<Box<[Sums; SECONDS]>>,
    /// The second of the newest bucket, counted from any fixed point.
    newest: u64,
    /// The last second in which anything happened.
    loud: u64,
}

impl Windows {
    /// Takes in what happened since the last look. `second` never goes back.
    pub fn add(&mut self, second: u64, news: &Sums) {
        if !news.is_quiet() {
            self.loud = second;
        } else if self.buckets.is_none() {
            return;
        } else if second.saturating_sub(self.loud) >= SECONDS as u64 {
            self.buckets = None;
            return;
        }
        let buckets = match &mut self.buckets {
            Some(buckets) => {
                // Seconds without a look: what they had comes with this one.
                let skipped = second.saturating_sub(self.newest).min(SECONDS as u64);
                for missed in 0..skipped {
                    buckets[index(second - missed)] = Sums::default();
                }
                buckets
            }
            none => none.insert(Box::new([Sums::default(); SECONDS])),
        };
        self.newest = second.max(self.newest);
        buckets[index(self.newest)].add(news);
    }

    /// The sum of `seconds` buckets, of which the last one is `back` seconds before the newest.
    pub fn sum(&self, seconds: usize, back: usize) -> Sums {
        let mut sums = Sums::default();
        let Some(buckets) = &self.buckets else { return sums };
        for age in back..(back + seconds).min(SECONDS) {
            if let Some(second) = self.newest.checked_sub(age as u64) {
                sums.add(&buckets[index(second)]);
            }
        }
        sums
    }

    /// The sum of the newest seconds in which as many calls came each second as in the last, `seconds` at most.
    pub fn steady(&self, seconds: usize) -> Sums {
        let Some(buckets) = &self.buckets else { return Sums::default() };
        let newest = self.newest;
        let by_age = (0..seconds.min(SECONDS) as u64).map_while(|age| newest.checked_sub(age));
        steady::since(by_age.map(|second| &buckets[index(second)]))
    }

    /// What it costs in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.buckets.as_ref().map_or(0, |buckets| size_of_val(&**buckets))
    }
}

fn index(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

/// Seconds as what the buckets hold.
pub(crate) fn seconds(time: Duration) -> f32 {
    time.as_secs_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(area: f32) -> Sums {
        Sums { span: 1.0, area, peak: area as u32, arrivals: area as u32, ..Sums::default() }
    }

    #[test]
    fn sums_are_over_the_seconds_asked_for() {
        let mut windows = Windows::default();
        for second in 100..200 {
            windows.add(second, &calls(second as f32));
        }
        for (seconds, back, average, peak) in
            [(1, 0, 199.0, 199), (6, 0, 196.5, 199), (6, 6, 190.5, 193), (60, 0, 169.5, 199), (60, 50, 144.5, 149)]
        {
            let sums = windows.sum(seconds, back);
            assert_eq!((sums.calls(), sums.peak), (average, peak), "{seconds} s, {back} s ago");
        }
    }

    #[test]
    fn two_looks_in_a_second_are_one_bucket() {
        let mut windows = Windows::default();
        let half = Sums { span: 0.5, area: 2.0, peak: 4, ended: 3, busy: 1.5, ..Sums::default() };
        windows.add(7, &half);
        windows.add(7, &Sums { peak: 2, ..half });
        let sums = windows.sum(6, 0);
        assert_eq!((sums.span, sums.calls(), sums.peak, sums.ended, sums.busy), (1.0, 4.0, 4, 6, 3.0));
    }

    #[test]
    fn a_gap_leaves_no_old_second_behind() {
        let mut windows = Windows::default();
        (0..60).for_each(|second| windows.add(second, &calls(9.0)));
        windows.add(89, &calls(1.0));
        assert_eq!(windows.sum(60, 0).area, 9.0 * 30.0 + 1.0, "30 old seconds and the new one");
        windows.add(1000, &calls(2.0));
        assert_eq!(windows.sum(60, 0).area, 2.0);
    }

    #[test]
    fn a_quiet_minute_gives_the_memory_back() {
        let mut windows = Windows::default();
        let quiet = Sums { span: 1.0, ..Sums::default() };
        windows.add(0, &quiet);
        assert_eq!(windows.bytes(), size_of::<Windows>(), "a look at nothing costs nothing");
        windows.add(1, &calls(1.0));
        assert!(windows.bytes() > size_of::<Windows>());
        (2..61).for_each(|second| windows.add(second, &quiet));
        assert_eq!(windows.sum(60, 0).area, 1.0);
        windows.add(61, &quiet);
        assert_eq!((windows.bytes(), windows.sum(60, 0)), (size_of::<Windows>(), Sums::default()));
    }
}
