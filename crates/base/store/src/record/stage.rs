//! Decides what a write does to the store, as a pure function of what is there and what is asked.

use super::{
    Change, Check, Entry, Error, Kind, LeaseId, Op, Reason, Txn,
    log::Batch,
    table::{State, under},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// A lease shorter than this would end between two ticks; the database keeps whole milliseconds.
const TTL_MIN: Duration = Duration::from_millis(1);
/// Keeps `now + ttl` far from overflow.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The effect of `txn`, or the first check that fails.
pub(super) fn txn(state: &State, txn: Txn, now: Instant) -> Result<Batch, Error> {
    for check in &txn.checks {
        holds(state, check)?;
    }
    let mut batch = Batch::after(state.version);
    let mut staged = BTreeMap::new();
    for op in txn.ops {
        apply(state, &mut staged, op, &batch, now)?;
    }
    // What is created and deleted again in one transaction leaves no trace.
    staged.retain(|key, after| after.is_some() || state.entries.contains_key(key));
    batch.changes = staged
        .into_iter()
        .map(|(key, after)| Change { version: batch.version, kind: after.map_or(Kind::Delete { key }, Kind::Put) })
        .collect();
    Ok(batch)
}

fn holds(state: &State, check: &Check) -> Result<(), Error> {
    let found = |key: &str| state.entries.get(key).map(|entry| entry.version);
    let (key, reason) = match check {
        Check::Absent(key) => (key, found(key).map(Reason::Exists)),
        Check::Exists(key) => (key, found(key).is_none().then_some(Reason::Absent)),
        Check::Version(key, wanted) => match found(key) {
            None => (key, Some(Reason::Absent)),
            Some(found) => (key, (found != *wanted).then_some(Reason::Changed { wanted: *wanted, found })),
        },
    };
    reason.map_or(Ok(()), |reason| Err(Error::Conflict { key: key.clone(), reason }))
}

/// Applies one step on top of the steps before it; `None` in `staged` is a deleted key.
fn apply(
    state: &State,
    staged: &mut BTreeMap<Arc<str>, Option<Entry>>,
    op: Op,
    batch: &Batch,
    now: Instant,
) -> Result<(), Error> {
    match op {
        Op::Put { key, value, lease } => {
            if let Some(id) = lease {
                state.lease_alive(id, now)?;
            }
            let key: Arc<str> = key.into();
            staged.insert(key.clone(), Some(Entry { key, value: value.into(), version: batch.version, lease }));
        }
        Op::Delete { key } => {
            staged.insert(key.into(), None);
        }
        Op::DeletePrefix { prefix } => {
            staged.iter_mut().filter(|(key, _)| key.starts_with(&prefix)).for_each(|(_, after)| *after = None);
            staged.extend(under(&state.entries, &prefix).map(|entry| (entry.key.clone(), None)));
        }
    }
    Ok(())
}

/// A new lease, named by its own version.
pub(super) fn grant(state: &State, ttl: Duration) -> (LeaseId, Batch) {
    let mut batch = Batch::after(state.version);
    let id = LeaseId(batch.version.0);
    batch.granted = Some((id, ttl.clamp(TTL_MIN, TTL_MAX)));
    (id, batch)
}

/// The end of `leases` and of all their keys.
pub(super) fn end(state: &State, leases: Vec<LeaseId>) -> Batch {
    let mut batch = Batch::after(state.version);
    let mut keys: Vec<_> = leases.iter().filter_map(|id| state.leases.get(id)).flat_map(|lease| &lease.keys).collect();
    keys.sort_unstable();
    batch.changes = keys
        .into_iter()
        .map(|key| Change { version: batch.version, kind: Kind::Delete { key: key.clone() } })
        .collect();
    batch.ended = leases;
    batch
}
