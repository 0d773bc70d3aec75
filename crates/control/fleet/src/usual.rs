//! How long a call usually takes: remembered for longer than the window, since it changes less often than how many come.

use crate::window::Sums;

/// Calls that the mean is over: an error of 1.5 % with times that vary as much as those of real functions do.
const CALLS: f32 = 10_000.0;
/// Variance of a call's time by the square of its mean, as measured on Azure Functions (Shahrad et al. 2020, fig. 7).
const VARIANCE: f32 = 2.0;
/// Standard deviations by which lately is not as usual any more.
const CHANGED: f32 = 4.0;
/// Fewer calls say nothing about a change.
const ENDED_MIN: u32 = 20;

/// Seconds in slots, and calls that ended. Their quotient is the mean with those that still run counted in, which is why
/// the first short calls of a new function do not pass for all (maximum likelihood under censoring).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usual {
    busy: f32,
    ended: f32,
}

impl Usual {
    /// Takes in a look's news; `lately` is what happened since the arrivals changed.
    pub(crate) fn add(&mut self, news: &Sums, lately: &Sums) {
        self.busy += news.busy;
        self.ended += news.ended as f32;
        if self.ended > CALLS.max(lately.ended as f32) {
            let keep = CALLS.max(lately.ended as f32) / self.ended;
            self.busy *= keep;
            self.ended *= keep;
        }
        if self.is_over(lately) {
            *self = Self { busy: lately.busy, ended: lately.ended as f32 };
        }
    }

    /// The calls of lately take another time than those remembered.
    fn is_over(&self, lately: &Sums) -> bool {
        let ended = lately.ended as f32;
        if lately.ended < ENDED_MIN || ended >= self.ended {
            return false;
        }
        let (now, usual) = (lately.busy / ended, self.busy / self.ended);
        (now - usual).abs() > CHANGED * usual * (VARIANCE / ended).sqrt()
    }

    /// `None` where no call has had a slot yet.
    pub(crate) fn duration(&self) -> Option<f32> {
        // One more than ended: with few, the quotient is anything.
        (self.busy > 0.0).then(|| self.busy / (self.ended + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(ended: u32, each: f32) -> Sums {
        Sums { span: 1.0, ended, busy: ended as f32 * each, arrivals: ended, ..Sums::default() }
    }

    /// A minute and more of it.
    fn live(usual: &mut Usual, seconds: usize, ended: u32, each: f32) {
        let mut lately = Sums::default();
        for _ in 0..seconds {
            lately.add(&second(ended, each));
            usual.add(&second(ended, each), &lately);
        }
    }

    #[test]
    fn it_is_the_mean_of_many_and_follows_a_change() {
        let mut usual = Usual::default();
        assert_eq!(usual.duration(), None);
        usual.add(&Sums { busy: 3.0, ..Sums::default() }, &Sums::default());
        assert_eq!(usual.duration(), Some(3.0), "nothing has ended yet: as long as they run already");
        live(&mut usual, 200, 20, 0.2);
        assert!((usual.duration().unwrap() - 0.2).abs() < 0.002, "{usual:?}");
        usual.add(&second(10, 0.3), &second(10, 0.3));
        assert!(usual.duration().unwrap() < 0.202, "ten calls are nothing: {usual:?}");
        live(&mut usual, 10, 20, 0.6);
        assert!(usual.duration().unwrap() > 0.55, "a new version is slower: {usual:?}");
    }
}
