//! How many calls at once functions without a limit of their own have together.

/// What functions without a limit of their own have at least, whatever others have guaranteed: a tenth of all. Source:
/// Lambda's 100 of 1,000.
pub const fn unreserved_min(calls_max: u32) -> u32 {
    if calls_max < 10 { 1 } else { calls_max / 10 }
}

/// What is left of all calls at once for functions without a limit of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreserved {
    pub left: u32,
    /// More is guaranteed than there is: the operator has less now than when the limits were set.
    pub overbooked: bool,
}

/// `calls_max` less what is guaranteed, and never less than [`unreserved_min`].
pub fn unreserved(calls_max: u32, reserved: impl Iterator<Item = u32>) -> Unreserved {
    let left = calls_max.saturating_sub(reserved.fold(0, u32::saturating_add));
    let least = unreserved_min(calls_max);
    Unreserved { left: left.max(least), overbooked: left < least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_stays_unreserved() {
        for (max, reserved, left, overbooked) in [
            (1000, &[][..], 1000, false),
            (1000, &[900], 100, false),
            (1000, &[901], 100, true),
            (1000, &[u32::MAX, u32::MAX], 100, true),
            (4, &[3], 1, false),
            (4, &[4], 1, true),
        ] {
            assert_eq!(
                unreserved(max, reserved.iter().copied()),
                Unreserved { left, overbooked },
                "{max} {reserved:?}"
            );
        }
    }
}
