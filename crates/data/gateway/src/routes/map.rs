//! A hash map whose copies share what a change did not touch: tables of a few entries below nodes of 64.
//!
//! A table is one piece of memory with the hashes beside the pointers, and an entry carries its own [`Label`]: a lookup in a
//! hundred thousand waits for memory twice, for its line of the table and for the entry that it finds.

use foldhash::fast::RandomState;
use std::{
    hash::BuildHasher,
    sync::{Arc, LazyLock},
};

/// Parts of a node.
const FAN: usize = 64;
const FAN_BITS: u32 = FAN.trailing_zeros();
/// A table with more entries becomes a node. Small, because a change copies a table.
const TABLE_MAX: usize = 64;
const SLOTS_MIN: usize = 4;
/// Bits of a hash: a table takes the lowest ones, nodes those from here on.
const FIRST: u32 = 16;
/// The last node's; below it a table has as many entries as there are.
const LAST: u32 = 58;

/// Seeded anew by each process, so that nobody can name functions such that they meet.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// What is found by its label.
pub(super) trait Labelled {
    fn label(&self) -> &Label;
}

/// The name of an entry: a short one, as nearly all are, lies in the entry itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Label {
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

/// As many bytes as give 32 with the length and the kind.
const SHORT: usize = 30;

impl Label {
    pub(super) fn new(text: &str) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(text.as_bytes());
                Self::Short(len, short)
            }
            _ => Self::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn is(&self, text: &str) -> bool {
        self.bytes() == text.as_bytes()
    }
}

impl Default for Label {
    fn default() -> Self {
        Self::Short(0, [0; SHORT])
    }
}

/// Where a text is looked for, in whichever map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) fn of(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self(HASHER.hash_one(bytes))
    }

    fn part(self, shift: u32) -> usize {
        (self.0 >> shift) as usize % FAN
    }
}

#[derive(Default)]
pub(super) enum Map<T> {
    #[default]
    Empty,
    One(Arc<T>),
    Table(Table<T>),
    Node(Arc<[Map<T>; FAN]>),
}

/// Entries in slots, each in the first that was free from its hash's own one on. A quarter at least is free, so a look ends.
pub(super) struct Table<T> {
    slots: Arc<[Option<Slot<T>>]>,
    len: usize,
}

pub(super) struct Slot<T> {
    hash: Hash,
    entry: Arc<T>,
}

impl<T> Clone for Map<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::One(one) => Self::One(Arc::clone(one)),
            Self::Table(table) => Self::Table(Table { slots: Arc::clone(&table.slots), len: table.len }),
            Self::Node(parts) => Self::Node(Arc::clone(parts)),
        }
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, entry: Arc::clone(&self.entry) }
    }
}

impl<T: Labelled> Map<T> {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn get(&self, text: &str) -> Option<&Arc<T>> {
        match self {
            Self::Empty => None,
            Self::One(one) => one.label().is(text).then_some(one),
            Self::Table(_) | Self::Node(_) => self.find(Hash::of(text), text),
        }
    }

    /// [`Self::get`] with the text's hash.
    pub(super) fn find(&self, hash: Hash, text: &str) -> Option<&Arc<T>> {
        self.find_from(hash, text, FIRST)
    }

    fn find_from(&self, hash: Hash, text: &str, mut shift: u32) -> Option<&Arc<T>> {
        let mut map = self;
        loop {
            map = match map {
                Self::Empty => return None,
                Self::One(one) => return one.label().is(text).then_some(one),
                Self::Table(table) => return table.find(hash, text),
                Self::Node(parts) => &parts[hash.part(shift)],
            };
            shift += FAN_BITS;
        }
    }

    /// Puts an entry in, in the place of one with the same label.
    pub(super) fn put(&mut self, entry: Arc<T>) {
        let hash = Hash::of_bytes(entry.label().bytes());
        self.put_at(Slot { hash, entry }, FIRST);
    }

    fn put_at(&mut self, slot: Slot<T>, shift: u32) {
        match self {
            Self::Empty => *self = Self::One(slot.entry),
            Self::One(one) if one.label() == slot.entry.label() => *one = slot.entry,
            Self::One(one) => {
                let first = Slot { hash: Hash::of_bytes(one.label().bytes()), entry: Arc::clone(one) };
                *self = Self::Table(Table::of([first, slot].into_iter()));
            }
            Self::Table(table) => {
                table.put(slot);
                if table.len > TABLE_MAX && shift < LAST {
                    let mut parts = std::array::from_fn(|_| Self::Empty);
                    for slot in table.slots.iter().flatten() {
                        parts[slot.hash.part(shift)].put_at(slot.clone(), shift + FAN_BITS);
                    }
                    *self = Self::Node(Arc::new(parts));
                }
            }
            Self::Node(parts) => Arc::make_mut(parts)[slot.hash.part(shift)].put_at(slot, shift + FAN_BITS),
        }
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, text: &str) -> Option<Arc<T>> {
        self.take_at(Hash::of(text), text, FIRST)
    }

    fn take_at(&mut self, hash: Hash, text: &str, shift: u32) -> Option<Arc<T>> {
        match self {
            Self::Empty => None,
            Self::One(one) => {
                let taken = one.label().is(text).then(|| Arc::clone(one))?;
                *self = Self::Empty;
                Some(taken)
            }
            Self::Table(table) => {
                let taken = table.find(hash, text).cloned()?;
                let others = table.slots.iter().flatten().filter(|slot| !Arc::ptr_eq(&slot.entry, &taken));
                *self = match table.len {
                    1 => Self::Empty,
                    _ => Self::Table(Table::of(others.cloned())),
                };
                Some(taken)
            }
            Self::Node(parts) => {
                // Nothing is copied for what is not there.
                parts[hash.part(shift)].find_from(hash, text, shift + FAN_BITS)?;
                let parts = Arc::make_mut(parts);
                let taken = parts[hash.part(shift)].take_at(hash, text, shift + FAN_BITS);
                if parts.iter().all(Self::is_empty) {
                    *self = Self::Empty;
                }
                taken
            }
        }
    }
}

impl<T: Labelled> Table<T> {
    fn of(slots: impl Iterator<Item = Slot<T>>) -> Self {
        let mut table = Self { slots: free(SLOTS_MIN), len: 0 };
        slots.for_each(|slot| table.put(slot));
        table
    }

    /// The slot of the text, or the free one that a look for it ends at.
    fn at(&self, hash: Hash, is: impl Fn(&T) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash.0 as usize & mask;
        while let Some(slot) = &self.slots[at] {
            if slot.hash == hash && is(&slot.entry) {
                break;
            }
            at = (at + 1) & mask;
        }
        at
    }

    fn find(&self, hash: Hash, text: &str) -> Option<&Arc<T>> {
        self.slots[self.at(hash, |entry| entry.label().is(text))].as_ref().map(|slot| &slot.entry)
    }

    fn put(&mut self, slot: Slot<T>) {
        let mut at = self.at(slot.hash, |entry| entry.label() == slot.entry.label());
        if self.slots[at].is_none() {
            self.len += 1;
            if self.len * 4 > self.slots.len() * 3 {
                self.grow();
                at = self.at(slot.hash, |_| false);
            }
        }
        Arc::make_mut(&mut self.slots)[at] = Some(slot);
    }

    fn grow(&mut self) {
        let larger = free(self.slots.len() * 2);
        let old = std::mem::replace(&mut self.slots, larger);
        for slot in old.iter().flatten() {
            let at = self.at(slot.hash, |_| false);
            Arc::make_mut(&mut self.slots)[at] = Some(slot.clone());
        }
    }
}

fn free<T>(count: usize) -> Arc<[Option<Slot<T>>]> {
    std::iter::repeat_with(|| None).take(count).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug)]
    struct Entry(Label, u32);

    impl std::fmt::Debug for Label {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&String::from_utf8_lossy(self.bytes()))
        }
    }

    impl Labelled for Entry {
        fn label(&self) -> &Label {
            &self.0
        }
    }

    fn same(map: &Map<Entry>, model: &BTreeMap<String, u32>, names: u32) {
        for n in 0..names {
            let name = name(n);
            assert_eq!(map.get(&name).map(|entry| entry.1), model.get(&name).copied(), "{name}");
        }
        assert_eq!(map.is_empty(), model.is_empty());
    }

    /// Some longer than what lies in an entry.
    fn name(n: u32) -> String {
        format!("{}{n}", "x".repeat(if n.is_multiple_of(7) { 40 } else { 2 }))
    }

    #[test]
    fn a_map_agrees_with_a_tree_and_its_copies_stay_as_they_were() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for names in [1, 3, 70, 9000] {
            let (mut map, mut model) = (Map::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for step in 0..names * 4 {
                let n = random.u32(..names);
                if random.u8(..3) == 0 {
                    assert_eq!(map.take(&name(n)).map(|entry: Arc<Entry>| entry.1), model.remove(&name(n)));
                } else {
                    map.put(Arc::new(Entry(Label::new(&name(n)), step)));
                    model.insert(name(n), step);
                }
                if step % names == 0 {
                    kept.push((map.clone(), model.clone()));
                }
            }
            kept.push((map.clone(), model.clone()));
            kept.iter().for_each(|(map, model)| same(map, model, names));
            for n in 0..names {
                map.take(&name(n));
            }
            assert!(map.is_empty());
        }
    }

    #[test]
    fn a_change_copies_one_table_and_the_nodes_above_it() {
        let mut map = Map::default();
        for n in 0..100_000 {
            map.put(Arc::new(Entry(Label::new(&name(n)), 0)));
        }
        let before = map.clone();
        map.put(Arc::new(Entry(Label::new(&name(5)), 1)));
        let shared = (0..100_000).filter(|n| Arc::ptr_eq(map.get(&name(*n)).unwrap(), before.get(&name(*n)).unwrap()));
        assert_eq!(shared.count(), 99_999);
        let (Map::Node(now), Map::Node(then)) = (&map, &before) else { panic!("100,000 entries are no table") };
        let copied = now.iter().zip(then.iter()).filter(|pair| match pair {
            (Map::Node(now), Map::Node(then)) => !Arc::ptr_eq(now, then),
            _ => false,
        });
        assert_eq!(copied.count(), 1);
    }
}
