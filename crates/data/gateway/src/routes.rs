//! From host, path, method and headers to an alias, in a time that does not grow with the number of routes.
//!
//! [`table`] is the routes of one snapshot; [`tree`] has the paths of a host, [`host`] the hosts, [`map`] what they are
//! looked up in, and [`seat`] is what is found. A new snapshot makes a new table out of what changed; all lanes share it,
//! and each looks things up in the one that it holds.

mod host;
mod map;
mod seat;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tree;

use parking_lot::Mutex;
pub use seat::Seat;
use std::sync::Arc;
pub use table::{Ask, Match, Table};
use types::{ApiKey, Fault, edge::Tempo};
use wire::Snapshots;

/// The newest table, made by whichever lane sees a new snapshot first.
pub(crate) struct Newest(Mutex<(Snapshots, Arc<Table>)>);

impl Newest {
    /// `rate` is that of tenant `default`, unless its record says otherwise.
    pub(crate) fn new(mut snapshots: Snapshots, rate: Option<Tempo>) -> Arc<Self> {
        let table = Arc::new(Table::with_rate(Arc::clone(&snapshots.borrow_and_update()), rate));
        Arc::new(Self(Mutex::new((snapshots, table))))
    }

    fn table(&self) -> Arc<Table> {
        let mut current = self.0.lock();
        let (snapshots, table) = &mut *current;
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        if !Arc::ptr_eq(&snapshot, table.snapshot()) {
            *table = Arc::new(table.next(snapshot));
        }
        Arc::clone(table)
    }
}

/// One lane's routes, always those of the last snapshot: a change is seen by the next request, not by a task's.
pub(crate) struct Routes {
    newest: Arc<Newest>,
    /// The lock is the lane's own: nobody waits for it.
    current: Mutex<(Snapshots, Arc<Table>)>,
}

impl Routes {
    pub(crate) fn new(newest: Arc<Newest>) -> Self {
        let mut snapshots = newest.0.lock().0.clone();
        snapshots.mark_unchanged();
        let table = newest.table();
        Self { newest, current: Mutex::new((snapshots, table)) }
    }

    /// An API key of the last snapshot by its SHA-256.
    pub(crate) fn key(&self, hash: &[u8; 32]) -> Option<Arc<ApiKey>> {
        self.current.lock().1.snapshot().keys.get(hash).cloned()
    }

    /// [`Table::find`] in the table of now, with the limit of the function's tenant.
    pub(crate) fn find(&self, ask: Ask<'_>) -> Result<Match, Fault> {
        let mut current = self.current.lock();
        let (snapshots, table) = &mut *current;
        // An error says that control is gone: the last good table stays.
        if snapshots.has_changed().unwrap_or(false) {
            snapshots.mark_unchanged();
            *table = self.newest.table();
        }
        let mut found = table.find(ask)?;
        found.tenant = table.tenant(&found);
        Ok(found)
    }
}
