//! An instance as the dispatcher sees it, and which one of several gets the next call.

use crate::eject::Health;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;
use types::InstanceId;
use wire::{InstanceLoad, Link};

/// From so many instances on, the less loaded of two random ones is as good as the least loaded of all, and found in a
/// time that does not grow. Source: Mitzenmacher 2001, "The power of two choices".
const MANY: usize = 16;

/// One instance: at most `limit` calls at once.
pub(crate) struct Slot {
    pub id: InstanceId,
    pub link: Arc<dyn Link>,
    pub busy: u32,
    pub draining: bool,
    pub idle_since: Instant,
    pub health: Health,
    /// Told when the last call of a draining instance ended.
    pub drained: Vec<oneshot::Sender<()>>,
}

impl Slot {
    pub(crate) fn load(&self) -> InstanceLoad {
        InstanceLoad {
            id: self.id,
            in_flight: self.busy,
            idle_since: (self.busy == 0).then_some(self.idle_since),
            draining: self.draining,
        }
    }
}

/// Which instance a call wants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// This one, if it has a free slot.
    pub near: Option<InstanceId>,
    /// Any but this one.
    pub not: Option<InstanceId>,
}

/// Index of an instance with less than `limit` calls: the one that is wished for, else a little loaded one.
pub(crate) fn pick(slots: &[Slot], limit: u32, wish: Wish) -> Option<usize> {
    let free = |slot: &Slot| !slot.draining && slot.busy < limit && wish.not != Some(slot.id);
    if let Some(near) = wish.near
        && let Some(index) = slots.iter().position(|slot| slot.id == near && free(slot))
    {
        return Some(index);
    }
    if slots.len() >= MANY
        && let Some(index) = of_two(slots, free)
    {
        return Some(index);
    }
    let free = slots.iter().enumerate().filter(|(_, slot)| free(slot));
    free.min_by_key(|(_, slot)| slot.busy).map(|(index, _)| index)
}

/// The less loaded of two random ones, or the one of them that is free.
fn of_two(slots: &[Slot], free: impl Fn(&Slot) -> bool) -> Option<usize> {
    let first = fastrand::usize(..slots.len());
    let second = (first + fastrand::usize(1..slots.len())) % slots.len();
    match (free(&slots[first]), free(&slots[second])) {
        (true, true) if slots[second].busy < slots[first].busy => Some(second),
        (true, _) => Some(first),
        (false, true) => Some(second),
        (false, false) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use wire::{Body, BoxFuture, Call, Permit, Refusal};

    struct Nobody;

    impl Link for Nobody {
        fn call<'a>(&'a self, _: Call, _: Permit) -> BoxFuture<'a, Result<http::Response<Body>, Refusal>> {
            unreachable!("only picked, never called")
        }
    }

    fn slots(busy: impl Iterator<Item = u32>) -> Vec<Slot> {
        let slot = |busy| Slot {
            id: InstanceId::random(),
            link: Arc::new(Nobody),
            busy,
            draining: false,
            idle_since: Instant::now(),
            health: Health::default(),
            drained: Vec::new(),
        };
        busy.map(slot).collect()
    }

    /// Throws as many balls as there are bins, and twice as many again; the fullest bin.
    fn fullest(bins: usize, choose: impl Fn(&[Slot]) -> usize) -> u32 {
        let mut slots = slots(std::iter::repeat_n(0, bins));
        for _ in 0..bins * 3 {
            let index = choose(&slots);
            slots[index].busy += 1;
        }
        slots.iter().map(|slot| slot.busy).max().unwrap()
    }

    /// Mitzenmacher 2001, theorem 1: with two choices the fullest of n bins has ln ln n / ln 2 balls more than the mean, with
    /// one it has ln n / ln ln n times the mean and more.
    #[test]
    fn two_choices_spread_calls_far_better_than_one() {
        let bins = 10_000;
        let two = fullest(bins, |slots| pick(slots, u32::MAX, Wish::default()).unwrap());
        let one = fullest(bins, |slots| fastrand::usize(..slots.len()));
        // The mean is 3, ln ln n / ln 2 is 3.2; a dozen runs of one choice had 12 to 15.
        assert!(two <= 3 + 4, "{two} calls in the fullest of two choices");
        assert!(one >= two + 3, "{one} with one choice, {two} with two");
    }

    #[test]
    fn each_of_many_gets_its_share() {
        let all = slots(std::iter::repeat_n(0, 2 * MANY));
        let (calls, mut hits) = (320_000_u32, vec![0_u32; all.len()]);
        (0..calls).for_each(|_| hits[pick(&all, 1, Wish::default()).unwrap()] += 1);
        let want = calls / all.len() as u32;
        // Five standard deviations of a binomial distribution: sqrt(n p q) = 98.
        assert!(hits.iter().all(|hit| hit.abs_diff(want) < 5 * 98), "{hits:?}");
    }

    #[test]
    fn what_is_full_or_leaves_is_never_taken() {
        for count in [3, 2 * MANY] {
            let mut all = slots((0..count).map(|n| u32::from(n % 3 == 0)));
            all[1].draining = true;
            let not = all[2].id;
            for _ in 0..1000 {
                // The last one that is left of three is none: full, leaving, unwanted.
                let wish = Wish { near: Some(all[0].id), not: Some(not) };
                match pick(&all, 1, wish) {
                    Some(index) => assert!(count > 3 && index > 2 && index % 3 != 0, "{index} of {count}"),
                    None => assert_eq!(count, 3),
                }
            }
            assert_eq!(
                pick(&all, 2, Wish { near: Some(all[0].id), not: None }),
                Some(0),
                "near, and room for one more"
            );
        }
    }
}
