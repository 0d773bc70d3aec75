//! Cold starts while the fleet is silent: nobody else would start what calls wait for.
//!
//! The fleet looks at the directory once a second. Where it has not for [`crate::Options::silent_after`], it is stuck or
//! gone, and a call that waits for a revision without any instance has one started right here. Nothing is retired then;
//! a fleet that comes back finds the instances in the directory.

use crate::{Dispatcher, pool::Pool, ring};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};
use tokio::time::Instant;
use types::{Happening, RevisionId};
use wire::{Directory, Host, Started};

/// Starts at once.
const STARTS_MAX: usize = 4;

pub(crate) struct Emergency {
    silent_after: Duration,
    looked: Mutex<Instant>,
    help: OnceLock<(Arc<dyn Host>, Weak<crate::Inner>)>,
    starting: Mutex<HashSet<RevisionId>>,
}

impl Emergency {
    pub(crate) fn new(silent_after: Duration) -> Self {
        Self { silent_after, looked: Mutex::new(Instant::now()), help: OnceLock::new(), starting: Mutex::default() }
    }

    pub(crate) fn stand_by(&self, host: Arc<dyn Host>, dispatcher: Weak<crate::Inner>) {
        let _ = self.help.set((host, dispatcher));
    }

    /// The fleet looked at the directory.
    pub(crate) fn fleet_looked(&self) {
        *self.looked.lock() = Instant::now();
    }

    /// A call of the pool waits: is there anybody who sees to it?
    pub(crate) fn look(&self, pool: &Pool) {
        if self.looked.lock().elapsed() < self.silent_after || !pool.is_stranded() {
            return;
        }
        let Some((host, dispatcher)) = self.help.get() else { return };
        let Some(dispatcher) = dispatcher.upgrade().map(Dispatcher) else { return };
        let id = pool.revision.id.clone();
        {
            let mut starting = self.starting.lock();
            if starting.len() >= STARTS_MAX || !starting.insert(id.clone()) {
                return;
            }
        }
        let (host, revision) = (Arc::clone(host), Arc::clone(&pool.revision));
        let text = "the fleet is silent, and calls wait".to_owned();
        pool.tell(ring::event(&id, None, Happening::EmergencyStart, text));
        chassis::task::spawn("start an instance without the fleet", async move {
            let started = host.start(Arc::clone(&revision)).await;
            dispatcher.0.house.emergency.starting.lock().remove(&id);
            match started {
                Ok(started) => {
                    dispatcher.add(&revision, &started);
                    follow(&dispatcher, started).await;
                }
                Err(fault) => dispatcher.fail(&id, &fault),
            }
        });
    }
}

/// Forgets the instance as soon as it is gone.
async fn follow(dispatcher: &Dispatcher, started: Started) {
    let (id, mut exit) = (started.id, started.exit);
    // An error is the end of the agent, and so of the instance.
    let _ = exit.wait_for(Option::is_some).await;
    dispatcher.remove(id);
}
