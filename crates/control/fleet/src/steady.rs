//! Since when the arrivals have been as they are: the longest time whose average still says something about now.
//!
//! Over a fixed window, an average is either late or noisy. This one goes back for as long as what it meets could be
//! chance, and stops at a change. Source of the idea: Bifet and Gavaldà, "Learning from time-changing data with adaptive
//! windowing", 2007; here on blocks that double, which is a dozen comparisons.

use crate::window::Sums;

/// Seconds with which it begins.
const FIRST: f32 = 0.9;
/// Standard deviations by which two rates differ that are not the same any more.
const CHANGED: f32 = 3.0;

/// The sum of the newest of `seconds`, which come newest first, back to the last change.
pub(crate) fn since<'a>(mut seconds: impl Iterator<Item = &'a Sums>) -> Sums {
    let mut sums = Sums::default();
    let mut next = |span: f32| {
        let mut block = Sums::default();
        while block.span < span
            && let Some(second) = seconds.next()
        {
            // A second in which nobody looked is a part of the one after it.
            block.add(second);
        }
        (block.span > 0.0).then_some(block)
    };
    if let Some(first) = next(FIRST) {
        sums.add(&first);
    }
    while let Some(block) = next((sums.span / 2.0).max(FIRST)) {
        if differ(&sums, &block) {
            break;
        }
        sums.add(&block);
    }
    sums
}

/// True where two counts of independent arrivals are hardly of one rate. By their square roots, whose variance does not
/// depend on the rate (Anscombe 1948).
fn differ(one: &Sums, other: &Sums) -> bool {
    let root = |sums: &Sums| ((sums.arrivals as f32 + 0.375) / sums.span).sqrt();
    let deviation = (1.0 / one.span + 1.0 / other.span).sqrt() / 2.0;
    (root(one) - root(other)).abs() > CHANGED * deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(arrivals: &[u32]) -> f32 {
        let seconds: Vec<Sums> =
            arrivals.iter().map(|count| Sums { span: 1.0, arrivals: *count, ..Sums::default() }).collect();
        since(seconds.iter()).span
    }

    #[test]
    fn it_goes_back_to_the_last_change() {
        let chance = [20, 17, 25, 14, 22, 19, 28, 16, 21, 20];
        let of = |parts: &[(u32, usize)]| -> Vec<u32> {
            parts.iter().flat_map(|(count, seconds)| std::iter::repeat_n(*count, *seconds)).collect()
        };
        for (what, newest_first, want) in [
            ("nothing known", vec![], 0.0),
            ("nothing at all", of(&[(0, 60)]), 60.0),
            ("always the same", of(&[(20, 60)]), 60.0),
            ("by chance", chance.repeat(6), 60.0),
            ("five seconds ago from nothing", of(&[(20, 5), (0, 55)]), 5.0),
            ("a second ago to nothing", of(&[(0, 1), (20, 59)]), 1.0),
            ("three seconds ago ten times as many", of(&[(100, 3), (10, 57)]), 3.0),
            ("few calls: the pause says nothing", of(&[(0, 3), (1, 1), (0, 2), (1, 1), (0, 2)]), 9.0),
        ] {
            assert_eq!(span(&newest_first), want, "{what}");
        }
    }
}
