//! Holds a number up: the most that was asked for within the delay.

/// Steps remembered: beyond them, neighbours are joined, which holds a little longer and never shorter.
const STEPS_MAX: usize = 32;

/// The maximum over a sliding time, by the second.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Second and number: the seconds rise, the numbers fall.
    steps: Vec<(u64, u32)>,
}

impl Held {
    /// Takes in what is asked in `second` and says the most within the last `delay` seconds.
    pub(crate) fn most(&mut self, second: u64, asked: u32, delay: u64) -> u32 {
        while self.steps.last().is_some_and(|(_, number)| *number <= asked) {
            self.steps.pop();
        }
        if self.steps.len() == STEPS_MAX {
            // The two newest become one: as large as the larger, as late as the later.
            if let Some((late, _)) = self.steps.pop()
                && let Some(last) = self.steps.last_mut()
            {
                last.0 = late;
            }
        }
        self.steps.push((second, asked));
        let gone = self.steps.iter().take_while(|(at, _)| at + delay < second).count();
        self.steps.drain(..gone);
        if self.steps.len() == 1 && asked == 0 {
            // Idle: nothing to hold, nothing to keep.
            self.steps = Vec::new();
        }
        self.steps.first().map_or(asked, |(_, number)| *number)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<(u64, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_held_for_the_delay() {
        let mut held = Held::default();
        for (second, asked, want) in
            [(0, 5, 5), (1, 3, 5), (9, 1, 5), (10, 0, 5), (11, 0, 3), (12, 0, 1), (20, 0, 0), (21, 7, 7), (22, 9, 9)]
        {
            assert_eq!(held.most(second, asked, 10), want, "{asked} in second {second}");
        }
        let mut none = Held::default();
        assert_eq!((none.most(0, 5, 0), none.most(1, 2, 0)), (5, 2), "without a delay, at once");
    }

    #[test]
    fn a_long_fall_is_held_in_bounded_memory() {
        let mut held = Held::default();
        for second in 0..1000 {
            let asked = 1000 - second as u32;
            let most = held.most(second, asked, 500);
            assert!(most >= asked + second.min(500) as u32, "{second}: {most} is less than what was asked 500 s ago");
        }
        assert!(held.steps.len() <= STEPS_MAX);
        assert_eq!(held.most(3000, 0, 500), 0);
        assert_eq!(held.bytes(), 0);
    }
}
