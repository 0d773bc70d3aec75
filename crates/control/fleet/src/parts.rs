//! The minimum and the maximum of a function, shared by the traffic of its revisions.
//!
//! Otherwise a canary would double both, and each tag on an old revision would keep a whole minimum running.

use types::{AliasName, RevisionId, Scale};
use wire::{Snapshot, Weighted};

/// What one revision has of its function's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `live` doesn't send it anything: it is named by a tag, or by nothing any more.
    None,
    /// All of it.
    Whole,
    /// Some, in per cent of the whole.
    Some(u8),
}

/// Limits of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) part: Part,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Of what the open windows of the schedule keep.
    pub(crate) floor: u32,
}

/// What `revision` has of the limits in its manifest, and of `floor`, in `snapshot`.
pub(crate) fn limits(revision: &RevisionId, scale: &Scale, floor: u32, snapshot: &Snapshot) -> Limits {
    let target = snapshot.target(&revision.function, &AliasName::live());
    let revisions = target.map_or(&[][..], |target| &target.revisions);
    of(revision, scale, floor, revisions)
}

fn of(revision: &RevisionId, scale: &Scale, floor: u32, live: &[Weighted]) -> Limits {
    let own = live.iter().position(|weighted| weighted.revision.id == *revision && weighted.weight > 0);
    let Some(own) = own else {
        // Who calls the tag gets what it asks for, and nothing is kept for nobody.
        return Limits { part: Part::None, min: 0, max: scale.max, floor: 0 };
    };
    if live.iter().filter(|weighted| weighted.weight > 0).count() == 1 {
        return Limits { part: Part::Whole, min: scale.min, max: scale.max, floor };
    }
    let weights: Vec<u8> = live.iter().map(|weighted| weighted.weight).collect();
    let share = |total, least| shares(total, &weights, least).get(own).copied().unwrap_or(least);
    Limits {
        part: Part::Some(weights.get(own).copied().unwrap_or(0)),
        min: share(scale.min, 0),
        max: share(scale.max, 1),
        floor: share(floor, 0),
    }
}

/// `total` shared by `weights`: the sum holds, and each weight above 0 has at least `least`.
///
/// The sum is larger only where `total` is too small for `least`: a canary of a function with `max = 1` is to run, too.
fn shares(total: u32, weights: &[u8], least: u32) -> Vec<u32> {
    let whole = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>().max(1);
    // Rounded at the borders between the shares, so that what one loses another one has.
    let border = |weight: u64| ((u64::from(total) * weight * 2 + whole) / (whole * 2)) as u32;
    let mut before = 0;
    let mut shares: Vec<u32> = weights
        .iter()
        .map(|weight| {
            let from = border(before);
            before += u64::from(*weight);
            border(before) - from
        })
        .collect();
    for (own, weight) in weights.iter().enumerate() {
        let missing = shares.get(own).map_or(0, |share| least.saturating_sub(*share));
        if *weight == 0 || missing == 0 {
            continue;
        }
        if let Some(most) = shares.iter_mut().max() {
            *most = most.saturating_sub(missing).max(least);
        }
        if let Some(share) = shares.get_mut(own) {
            *share = least;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn shares_follow_the_weights_and_add_up() {
        for (total, weights, least, shared) in [
            (10, vec![70, 30], 0, vec![7, 3]),
            (50, vec![95, 5], 1, vec![48, 2]),
            (3, vec![50, 50], 0, vec![2, 1]),
            (1, vec![95, 5], 0, vec![1, 0]),
            (1, vec![5, 95], 0, vec![0, 1]),
            (0, vec![70, 30], 0, vec![0, 0]),
            (10, vec![99, 1], 0, vec![10, 0]),
            // Each may have one.
            (10, vec![99, 1], 1, vec![9, 1]),
            (10, vec![1, 99], 1, vec![1, 9]),
            (10, vec![100, 0], 1, vec![10, 0]),
            (1, vec![99, 1], 1, vec![1, 1]),
            (u32::MAX, vec![100, 0], 1, vec![u32::MAX, 0]),
        ] {
            assert_eq!(shares(total, &weights, least), shared, "{total} over {weights:?}, at least {least}");
        }
        for (total, weight) in (2..60).flat_map(|total| (1..100).map(move |weight| (total, weight))) {
            let shared = shares(total, &[weight, 100 - weight], 1);
            assert_eq!(shared.iter().sum::<u32>(), total, "{weight}: {shared:?}");
            assert!(shared.iter().all(|share| *share >= 1), "{total}, {weight}: {shared:?}");
        }
    }

    #[test]
    fn a_revision_has_its_part_of_what_live_sends() {
        let first = wire::sample::revision("hello", "[scale]\nmin=10\nmax=20").unwrap();
        let numbered = |number| {
            let mut revision = (*first).clone();
            revision.id.number = number;
            Arc::new(revision)
        };
        let (old, new, tagged) = (numbered(1), numbered(2), numbered(3));
        let both = |weight: u8| {
            let pairs = [(&old, weight), (&new, 100 - weight)];
            pairs.map(|(revision, weight)| Weighted { revision: Arc::clone(revision), weight })
        };
        for (revision, weight, part, min, max, floor) in [
            (&old, 70, Part::Some(70), 7, 14, 3),
            (&new, 70, Part::Some(30), 3, 6, 1),
            (&tagged, 70, Part::None, 0, 20, 0),
            (&old, 100, Part::Whole, 10, 20, 4),
            (&new, 100, Part::None, 0, 20, 0),
        ] {
            let limits = of(&revision.id, &revision.spec.scale, 4, &both(weight));
            assert_eq!(limits, Limits { part, min, max, floor }, "{} at {weight}", revision.id);
        }
        assert_eq!(of(&old.id, &old.spec.scale, 4, &[]).part, Part::None, "no `live`");
    }
}
