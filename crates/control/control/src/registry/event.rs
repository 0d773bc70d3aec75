//! What the platform did about a function's aliases by itself, kept with them: a restart does not forget why an alias is
//! where it is.

use super::{Registry, encode, key};
use store::Txn;
use types::{Event, Fault, FunctionName};

/// Of one function; the oldest go first.
const EVENTS_MAX: usize = 50;

impl Registry {
    /// A function's events, newest first.
    ///
    /// # Errors
    /// `internal`.
    pub(crate) fn events(&self, name: &FunctionName) -> Result<Vec<Event>, Fault> {
        let mut events = self.get::<Vec<Event>>(&key::events(name))?.map(|stored| stored.value).unwrap_or_default();
        events.reverse();
        Ok(events)
    }

    /// Adds an event to what the transaction writes.
    pub(super) fn note_event(&self, txn: Txn, event: &Event) -> Result<Txn, Fault> {
        let path = key::events(&event.revision.function);
        let stored = self.get::<Vec<Event>>(&path)?;
        let txn = txn.unchanged(&path, stored.as_ref().map(|stored| stored.version));
        let mut events = stored.map(|stored| stored.value).unwrap_or_default();
        events.push(event.clone());
        events.drain(..events.len().saturating_sub(EVENTS_MAX));
        Ok(txn.put(path, encode(&events)?))
    }
}
