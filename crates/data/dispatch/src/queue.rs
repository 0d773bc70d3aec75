//! Who waits for a slot, and who is next: callers take turns, and calls that somebody waits for go first.
//!
//! **Invariant**: never more than `max` entries, and no caller without an entry is remembered.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasherDefault,
};

/// Where both wait, every so many-th turn is a deferred call's: sync goes first, and async never starves.
const DEFERRED_EVERY: u32 = 16;

/// Who calls, as a hash of whatever tells callers apart.
pub(crate) type Caller = u64;

/// Who comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Somebody waits for the answer.
    Sync,
    /// Nobody does: it is kept and can be tried again.
    Deferred,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    class: Class,
    caller: Caller,
    number: u64,
}

/// The places of one revision.
pub(crate) struct Queue<T> {
    sync: Line<T>,
    deferred: Line<T>,
    next: u64,
    /// Turns of sync calls since the last deferred one.
    turns: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { sync: Line::default(), deferred: Line::default(), next: 0, turns: 0 }
    }
}

/// A caller's key is a good hash already.
#[derive(Default)]
struct Same(u64);
impl std::hash::Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

struct Line<T> {
    callers: HashMap<Caller, VecDeque<(u64, T)>, BuildHasherDefault<Same>>,
    /// Callers with an entry, the next one first.
    turns: VecDeque<Caller>,
    len: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { callers: HashMap::default(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> Queue<T> {
    pub(crate) fn len(&self) -> usize {
        self.sync.len + self.deferred.len
    }

    /// Those that nobody waits for.
    pub(crate) fn deferred(&self) -> usize {
        self.deferred.len
    }

    /// The entry of each caller that has waited longest.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = &T> {
        let lines = [&self.sync, &self.deferred].into_iter();
        lines.flat_map(|line| line.callers.values()).filter_map(|calls| calls.front().map(|(_, entry)| entry))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place at the end of the caller's own line, and who lost theirs for it.
    ///
    /// Where the queue is full, the last entry of who has most gives way to a caller with less than an equal share; a
    /// deferred one to any call that somebody waits for.
    ///
    /// # Errors
    /// The value, where there is no place for it.
    pub(crate) fn push(
        &mut self,
        class: Class,
        caller: Caller,
        value: T,
        max: usize,
    ) -> Result<(Ticket, Option<T>), T> {
        let mut lost = None;
        if self.len() >= max {
            lost = match class {
                Class::Sync => self.deferred.pop_last().or_else(|| self.sync.make_room(caller)),
                Class::Deferred => self.deferred.make_room(caller),
            };
            if lost.is_none() {
                return Err(value);
            }
        }
        self.next += 1;
        let ticket = Ticket { class, caller, number: self.next };
        self.line(class).push(caller, ticket.number, value);
        Ok((ticket, lost))
    }

    /// Whoever is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let deferred_turn = self.turns + 1 >= DEFERRED_EVERY;
        if self.sync.len == 0 || (deferred_turn && self.deferred.len > 0) {
            self.turns = 0;
            return self.deferred.pop();
        }
        self.turns = if self.deferred.len > 0 { self.turns + 1 } else { 0 };
        self.sync.pop()
    }

    /// Gives up a place.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.line(ticket.class).remove(ticket.caller, ticket.number)
    }

    /// Everybody, in no order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let (sync, deferred) = (std::mem::take(&mut self.sync), std::mem::take(&mut self.deferred));
        let lines = sync.callers.into_values().chain(deferred.callers.into_values());
        lines.flatten().map(|(_, value)| value).collect()
    }

    fn line(&mut self, class: Class) -> &mut Line<T> {
        match class {
            Class::Sync => &mut self.sync,
            Class::Deferred => &mut self.deferred,
        }
    }
}

impl<T> Line<T> {
    fn push(&mut self, caller: Caller, number: u64, value: T) {
        let own = self.callers.entry(caller).or_default();
        if own.is_empty() {
            self.turns.push_back(caller);
        }
        own.push_back((number, value));
        self.len += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let own = self.callers.get_mut(&caller)?;
        let (_, value) = own.pop_front()?;
        self.len -= 1;
        match own.is_empty() {
            true => drop(self.callers.remove(&caller)),
            false => self.turns.push_back(caller),
        }
        Some(value)
    }

    fn remove(&mut self, caller: Caller, number: u64) -> Option<T> {
        let own = self.callers.get_mut(&caller)?;
        // Numbers grow along a line.
        let at = own.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, value) = own.remove(at)?;
        self.forget_empty(caller);
        Some(value)
    }

    /// One entry less, of `caller`.
    fn forget_empty(&mut self, caller: Caller) {
        self.len -= 1;
        if self.callers.get(&caller).is_some_and(VecDeque::is_empty) {
            self.callers.remove(&caller);
            self.turns.retain(|turn| *turn != caller);
        }
    }

    /// The last entry of who has most, where `caller` has less than an equal share.
    fn make_room(&mut self, caller: Caller) -> Option<T> {
        let own = self.callers.get(&caller).map_or(0, VecDeque::len);
        let sharers = self.callers.len() + usize::from(own == 0);
        if own + 1 > self.len / sharers.max(1) {
            return None;
        }
        self.pop_last()
    }

    fn pop_last(&mut self) -> Option<T> {
        let (caller, own) = self.callers.iter_mut().max_by_key(|(_, own)| own.len())?;
        let caller = *caller;
        let (_, value) = own.pop_back()?;
        self.forget_empty(caller);
        Some(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: Caller = 1;
    const B: Caller = 2;
    const C: Caller = 3;

    fn filled(entries: &[(Class, Caller, u32)]) -> Queue<u32> {
        let mut queue = Queue::default();
        for (class, caller, value) in entries {
            queue.push(*class, *caller, *value, 100).unwrap();
        }
        queue
    }
    fn order(mut queue: Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn callers_take_turns() {
        use Class::Sync;
        let queue = filled(&[(Sync, A, 1), (Sync, A, 2), (Sync, A, 3), (Sync, B, 4), (Sync, C, 5), (Sync, B, 6)]);
        assert_eq!(order(queue), [1, 4, 5, 2, 6, 3]);
        let alone = filled(&[(Sync, A, 1), (Sync, A, 2), (Sync, A, 3)]);
        assert_eq!(order(alone), [1, 2, 3]);
    }

    #[test]
    fn sync_goes_first_and_deferred_never_starves() {
        let mut entries = vec![(Class::Deferred, A, 100), (Class::Deferred, A, 101)];
        entries.extend((0..40).map(|n| (Class::Sync, B, n)));
        let order = order(filled(&entries));
        let at = |value| order.iter().position(|v| *v == value).unwrap();
        assert_eq!((at(0), at(100), at(101)), (0, 15, 31));
    }

    #[test]
    fn a_full_queue_makes_room_for_who_has_less_than_a_share() {
        let mut queue = filled(&[(Class::Sync, A, 1), (Class::Sync, A, 2), (Class::Sync, A, 3), (Class::Sync, A, 4)]);
        // Who has it all gets no more.
        assert_eq!(queue.push(Class::Sync, A, 5, 4), Err(5));
        // Another one gets half of it, and no more.
        assert_eq!(queue.push(Class::Sync, B, 6, 4).unwrap().1, Some(4));
        assert_eq!(queue.push(Class::Sync, B, 7, 4).unwrap().1, Some(3));
        assert_eq!(queue.push(Class::Sync, B, 8, 4), Err(8));
        assert_eq!(queue.push(Class::Deferred, B, 8, 4), Err(8));
        assert_eq!(order(queue), [1, 6, 2, 7]);
    }

    #[test]
    fn a_deferred_call_gives_way() {
        let mut queue = filled(&[(Class::Sync, A, 1), (Class::Deferred, B, 2)]);
        assert_eq!(queue.push(Class::Sync, A, 3, 2).unwrap().1, Some(2));
        assert_eq!(order(queue), [1, 3]);
    }

    #[test]
    fn a_place_is_given_up_once() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (0..5).map(|n| queue.push(Class::Sync, u64::from(n % 2), n, 9).unwrap().0).collect();
        assert_eq!((queue.remove(tickets[2]), queue.remove(tickets[2])), (Some(2), None));
        assert_eq!(queue.remove(tickets[1]), Some(1));
        assert_eq!(queue.remove(tickets[3]), Some(3));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.sync.callers.len(), 1, "who has no place is forgotten");
        assert_eq!(order(queue), [0, 4]);
    }

    #[test]
    fn nothing_is_lost_or_doubled() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut queue, mut inside) = (Queue::default(), std::collections::HashMap::new());
        for value in 0..20_000_u32 {
            let class = if random.bool() { Class::Sync } else { Class::Deferred };
            match random.u8(..4) {
                0 | 1 => {
                    if let Ok((ticket, lost)) = queue.push(class, random.u64(..5), value, 32) {
                        inside.insert(value, ticket);
                        lost.iter().for_each(|lost| assert!(inside.remove(lost).is_some()));
                    }
                }
                2 => queue.pop().iter().for_each(|value| assert!(inside.remove(value).is_some())),
                _ => {
                    let Some((value, ticket)) = inside.iter().next().map(|(v, t)| (*v, *t)) else { continue };
                    assert_eq!(queue.remove(ticket), Some(value));
                    inside.remove(&value);
                }
            }
            assert_eq!(queue.len(), inside.len());
            assert!(queue.len() <= 32);
        }
        assert_eq!(queue.drain().len(), inside.len());
        assert!(queue.is_empty());
    }
}
