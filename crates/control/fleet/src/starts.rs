//! The places for starts on this host, by [`turns`](crate::turns).

use crate::turns::{Purpose, Turns};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;
use types::RevisionId;

/// The places. Clones share them.
#[derive(Clone)]
pub(crate) struct Starts(Arc<Mutex<Turns<RevisionId, oneshot::Sender<Place>>>>);

/// One start may be under way until this is dropped.
pub(crate) struct Place {
    starts: Starts,
    revision: RevisionId,
}

impl Starts {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Turns::new(max))))
    }

    /// Joins those that wait for a place; it is counted from now on, not from when the result is awaited. `None` comes
    /// where it was given up.
    pub(crate) fn place(&self, revision: &RevisionId, purpose: Purpose) -> impl Future<Output = Option<Place>> + use<> {
        let (sender, turn) = oneshot::channel();
        self.0.lock().ask(revision.clone(), purpose, sender);
        self.grant();
        async move { turn.await.ok() }
    }

    /// Gives up to `count` starts up that wait for their turn; says how many.
    pub(crate) fn give_up(&self, revision: &RevisionId, count: u32) -> u32 {
        self.0.lock().give_up(revision, count as usize).len() as u32
    }

    /// Who has hung up drops the place that he is sent, which comes back here: so not under the lock.
    fn grant(&self) {
        let begun = self.0.lock().begin();
        for (revision, sender) in begun {
            drop(sender.send(Place { starts: self.clone(), revision }));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.starts.0.lock().done(&self.revision);
        self.starts.grant();
    }
}
