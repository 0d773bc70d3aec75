//! What happened to a revision's instances and circuit, the last few of it.

use std::{collections::VecDeque, time::SystemTime};
use types::{Event, Happening, InstanceId, RevisionId};

const KEPT: usize = 50;

#[derive(Default)]
pub(crate) struct Ring(VecDeque<Event>);

impl Ring {
    /// Newest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.0.iter().rev()
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }
}

pub(crate) fn event(revision: &RevisionId, instance: Option<InstanceId>, what: Happening, text: String) -> Event {
    Event { time: SystemTime::now().into(), revision: revision.clone(), instance, what, text }
}
