//! The instances that take calls: what fleet adds, drains and removes.

use crate::{Dispatcher, pool};
use std::sync::Arc;
use types::{Fault, InstanceId, Revision, RevisionId};
use wire::{BoxFuture, Directory, Load, Started};

impl Directory for Dispatcher {
    fn add(&self, revision: &Arc<Revision>, started: &Started) {
        self.pool(revision).add(started);
    }

    fn drain(&self, id: InstanceId) -> BoxFuture<'_, ()> {
        let drained = self.pools().iter().find_map(|pool| pool.drain(id));
        Box::pin(pool::drained(drained))
    }

    fn remove(&self, id: InstanceId) {
        self.pools().iter().any(|pool| pool.remove(id));
    }

    fn fail(&self, revision: &RevisionId, fault: &Fault) {
        let pool = self.0.pools.read().get(revision).cloned();
        if let Some(pool) = pool {
            pool.fail(fault);
        }
    }

    fn load(&self) -> Vec<Load> {
        self.0.house.emergency.fleet_looked();
        self.pools().iter().filter(|pool| !pool.is_unused()).map(|pool| pool.load()).collect()
    }

    fn load_of(&self, revision: &RevisionId) -> Option<Load> {
        let pool = self.0.pools.read().get(revision).cloned()?;
        (!pool.is_unused()).then(|| pool.load())
    }

    fn retain(&self, keep: &dyn Fn(&RevisionId) -> bool) {
        self.0.pools.write().retain(|id, pool| keep(id) || !pool.is_unused());
        self.0.limits.sweep();
    }
}
