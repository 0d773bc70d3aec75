//! The store's content in memory: every back end reads from it.

use super::{Change, Entry, Error, Kind, LeaseId, Version, Watch, WatchError, history::History, log::Batch};
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

pub(super) struct Lease {
    pub ttl: Duration,
    pub deadline: Instant,
    pub keys: BTreeSet<Arc<str>>,
}

impl Lease {
    pub fn new(ttl: Duration, now: Instant) -> Self {
        Self { ttl, deadline: now + ttl, keys: BTreeSet::new() }
    }
}

/// Invariant: a key is in a lease's `keys` exactly if its entry names that lease.
#[derive(Default)]
pub(super) struct State {
    pub version: Version,
    pub entries: BTreeMap<Arc<str>, Entry>,
    pub leases: BTreeMap<LeaseId, Lease>,
}

/// The entries whose key begins with `prefix`, by key.
pub(super) fn under<'a>(
    entries: &'a BTreeMap<Arc<str>, Entry>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a Entry> + 'a {
    entries
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .map(|(_, entry)| entry)
        .take_while(move |entry| entry.key.starts_with(prefix))
}

impl State {
    /// A lease is over at its deadline, not when somebody gets round to deleting its keys.
    pub fn lease_alive(&self, id: LeaseId, now: Instant) -> Result<(), Error> {
        self.leases.get(&id).filter(|lease| lease.deadline > now).map(|_| ()).ok_or(Error::NoLease(id))
    }

    pub fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.leases.iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, _)| *id).collect()
    }

    pub fn put(&mut self, entry: Entry) {
        self.forget(&entry.key);
        if let Some(lease) = entry.lease.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.insert(entry.key.clone());
        }
        self.entries.insert(entry.key.clone(), entry);
    }

    /// Puts many at once into an empty state: sorted first, they need half the time and less room.
    pub fn fill(&mut self, mut entries: Vec<Entry>) {
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for entry in &entries {
            if let Some(lease) = entry.lease.and_then(|id| self.leases.get_mut(&id)) {
                lease.keys.insert(entry.key.clone());
            }
        }
        self.entries = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    }

    fn forget(&mut self, key: &str) {
        let lease = self.entries.remove(key).and_then(|entry| entry.lease);
        if let Some(lease) = lease.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.remove(key);
        }
    }

    fn apply(&mut self, batch: &Batch, now: Instant) {
        self.version = batch.version;
        if let Some((id, ttl)) = batch.granted {
            self.leases.insert(id, Lease::new(ttl, now));
        }
        for change in &batch.changes {
            match &change.kind {
                Kind::Put(entry) => self.put(entry.clone()),
                Kind::Delete { key } => self.forget(key),
            }
        }
        for id in &batch.ended {
            self.leases.remove(id);
        }
    }
}

pub(super) struct Table {
    state: RwLock<State>,
    history: History,
}

impl Table {
    pub fn new(state: State, len_max: usize, bytes_max: usize) -> Self {
        let history = History::new(state.version, len_max, bytes_max);
        Self { state: RwLock::new(state), history }
    }

    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    pub fn list(&self, prefix: &str) -> Vec<Entry> {
        self.read(|state| under(&state.entries, prefix).cloned().collect())
    }

    /// Makes a durable batch visible: first to readers, then to watchers.
    pub fn apply(&self, batch: Batch, now: Instant) {
        let mut state = self.state.write();
        state.apply(&batch, now);
        // Under the lock, so that `list_and_watch` sees both or neither.
        self.history.push(batch.changes, batch.version);
    }

    pub fn keep_alive(&self, id: LeaseId, now: Instant) -> Result<(), Error> {
        let mut state = self.state.write();
        state.lease_alive(id, now)?;
        if let Some(lease) = state.leases.get_mut(&id) {
            lease.deadline = now + lease.ttl;
        }
        Ok(())
    }

    pub fn watch(&self, prefix: &str, from: Option<Version>) -> Result<Watch, WatchError> {
        self.history.watch(prefix, from)
    }

    pub fn list_and_watch(&self, prefix: &str) -> (Vec<Entry>, Watch) {
        let state = self.state.read();
        (under(&state.entries, prefix).cloned().collect(), self.history.watch_from_now(prefix))
    }
}

/// About what a change costs to remember, in bytes.
pub(super) fn weight(change: &Change) -> usize {
    let value = match &change.kind {
        Kind::Put(entry) => entry.value.len(),
        Kind::Delete { .. } => 0,
    };
    size_of::<Change>() + change.key().len() + value
}
