//! Whose start is next: no revision, however long its starts hang, keeps the others from theirs.
//!
//! Three rules. A revision may start as many instances at once as there are places free beside them: the first that asks
//! for all gets half, the second half of the rest, and one that asks late finds a place. Source: Choudhury & Hahne 1998,
//! "Dynamic queue length thresholds for shared-memory packet switches", with α = 1. Those that wait take turns by
//! revision, not by when they asked. Probes have a reserve that no other start takes, and go first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What a start is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody deploys or rolls back, and waits.
    Probe,
    /// Calls, or a minimum. Given up where it is wanted no more before its turn.
    Scale,
}

/// Starts under way and those that wait, by revision. `T` is whom to tell that it is his turn.
///
/// Invariant: no more than `max` starts are under way, with probes `max + reserve`.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    max: usize,
    reserve: usize,
    busy: HashMap<K, usize>,
    total: usize,
    probes: VecDeque<(K, T)>,
    waiting: HashMap<K, VecDeque<T>>,
    /// The keys of `waiting`, in the order of their turns.
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, T> Turns<K, T> {
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            reserve: (max / 4).max(1),
            busy: HashMap::new(),
            total: 0,
            probes: VecDeque::new(),
            waiting: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Joins those that wait.
    pub(crate) fn ask(&mut self, key: K, purpose: Purpose, ticket: T) {
        match purpose {
            Purpose::Probe => self.probes.push_back((key, ticket)),
            Purpose::Scale => {
                let queue = self.waiting.entry(key.clone()).or_default();
                if queue.is_empty() {
                    self.order.push_back(key);
                }
                queue.push_back(ticket);
            }
        }
    }

    /// Those whose turn it is now; each holds its place until [`Self::done`].
    pub(crate) fn begin(&mut self) -> Vec<(K, T)> {
        let mut begun = Vec::new();
        for _ in 0..self.probes.len() {
            let Some((key, ticket)) = self.probes.pop_front() else { break };
            if self.has_place(&key, self.max + self.reserve) {
                self.occupy(&key);
                begun.push((key, ticket));
            } else {
                self.probes.push_back((key, ticket));
            }
        }
        let mut passed = 0;
        while passed < self.order.len() && self.total < self.max {
            let Some(key) = self.order.pop_front() else { break };
            let ticket = match self.has_place(&key, self.max) {
                true => self.waiting.get_mut(&key).and_then(VecDeque::pop_front),
                false => None,
            };
            passed = if ticket.is_some() { 0 } else { passed + 1 };
            if let Some(ticket) = ticket {
                self.occupy(&key);
                begun.push((key.clone(), ticket));
            }
            match self.waiting.get(&key).is_some_and(|queue| !queue.is_empty()) {
                true => self.order.push_back(key),
                false => drop(self.waiting.remove(&key)),
            }
        }
        begun
    }

    /// A start has ended, either way.
    pub(crate) fn done(&mut self, key: &K) {
        if let Some(busy) = self.busy.get_mut(key) {
            *busy -= 1;
            self.total -= 1;
            if *busy == 0 {
                self.busy.remove(key);
            }
        }
    }

    /// Takes back up to `count` starts of `key` that still wait, the last to come first.
    pub(crate) fn give_up(&mut self, key: &K, count: usize) -> Vec<T> {
        let Some(queue) = self.waiting.get_mut(key) else { return Vec::new() };
        let given_up: Vec<T> = queue.drain(queue.len().saturating_sub(count)..).collect();
        if queue.is_empty() {
            self.waiting.remove(key);
            self.order.retain(|other| other != key);
        }
        given_up
    }

    /// Its own starts are fewer than the places that are left.
    fn has_place(&self, key: &K, limit: usize) -> bool {
        self.busy.get(key).copied().unwrap_or(0) < limit.saturating_sub(self.total)
    }

    fn occupy(&mut self, key: &K) {
        *self.busy.entry(key.clone()).or_default() += 1;
        self.total += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step: so many asks of a revision, so many ends, so many given up, and which begin then, in their order.
    enum Step {
        Ask(char, usize),
        Probe(char),
        Done(char, usize),
        GiveUp(char, usize, usize),
    }
    use Step::{Ask, Done, GiveUp, Probe};

    /// What it shows, how many places, and the steps with those that begin after each.
    type Case = (&'static str, usize, &'static [(Step, &'static str)]);

    #[test]
    fn everybody_has_a_turn() {
        let cases: [Case; 8] = [
            ("alone, it gets half", 8, &[(Ask('a', 20), "aaaa")]),
            (
                "others find places",
                8,
                &[(Ask('a', 20), "aaaa"), (Ask('b', 20), "bb"), (Ask('c', 9), "c"), (Ask('d', 1), "d")],
            ),
            (
                "hung ones keep nobody out",
                8,
                &[(Ask('a', 20), "aaaa"), (Ask('b', 1), "b"), (Done('b', 1), ""), (Ask('b', 1), "b")],
            ),
            (
                "turns, not who came first",
                2,
                &[
                    (Ask('a', 3), "a"),
                    (Ask('b', 2), "b"),
                    (Ask('c', 1), ""),
                    (Done('a', 1), "a"),
                    (Done('b', 1), "b"),
                    (Done('a', 1), "c"),
                ],
            ),
            (
                "a probe is not behind them",
                4,
                &[
                    (Ask('a', 9), "aa"),
                    (Ask('b', 9), "b"),
                    (Ask('c', 9), "c"),
                    (Probe('d'), "d"),
                    (Probe('e'), ""),
                    (Done('c', 1), "e"),
                ],
            ),
            ("a probe of the one that hangs", 4, &[(Ask('a', 9), "aa"), (Probe('a'), "a")]),
            (
                "given up before its turn",
                4,
                &[
                    (Ask('a', 9), "aa"),
                    (GiveUp('a', 5, 5), ""),
                    (GiveUp('a', 9, 2), ""),
                    (Done('a', 2), ""),
                    (Ask('a', 1), "a"),
                ],
            ),
            (
                "one place at least",
                0,
                &[
                    (Ask('a', 2), "a"),
                    (Ask('b', 1), ""),
                    (Probe('c'), "c"),
                    (Done('c', 1), ""),
                    (Done('a', 1), "a"),
                    (Done('a', 1), "b"),
                ],
            ),
        ];
        for (what, max, steps) in cases {
            let mut turns = Turns::new(max);
            for (number, (step, want)) in steps.iter().enumerate() {
                match step {
                    Ask(key, count) => (0..*count).for_each(|_| turns.ask(*key, Purpose::Scale, ())),
                    Probe(key) => turns.ask(*key, Purpose::Probe, ()),
                    Done(key, count) => (0..*count).for_each(|_| turns.done(key)),
                    GiveUp(key, count, gone) => assert_eq!(turns.give_up(key, *count).len(), *gone, "{what}, {number}"),
                }
                let begun: String = turns.begin().into_iter().map(|(key, ())| key).collect();
                assert_eq!(begun, *want, "{what}, step {number}");
                assert!(turns.total <= turns.max + turns.reserve, "{what}, step {number}");
            }
        }
    }

    #[test]
    fn what_ended_leaves_nothing() {
        let mut turns = Turns::new(8);
        for key in 0..100 {
            turns.ask(key, Purpose::Scale, ());
        }
        let mut begun = 0;
        loop {
            let now = turns.begin();
            assert!(turns.total <= 8);
            if now.is_empty() {
                break;
            }
            begun += now.len();
            now.iter().for_each(|(key, ())| turns.done(key));
        }
        assert_eq!(begun, 100);
        assert!(turns.busy.is_empty() && turns.waiting.is_empty() && turns.order.is_empty() && turns.total == 0);
    }
}
