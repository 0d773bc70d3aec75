//! The last calls of a revision, in a ring that grows only as calls come.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};
use types::{InstanceId, Invocation, RevisionId, Timestamp};
use wire::{CallInfo, End};

struct Entry {
    info: CallInfo,
    instance: Option<InstanceId>,
    ended: Instant,
    end: End,
}

#[derive(Default)]
pub(crate) struct History(VecDeque<Entry>);

impl History {
    pub(crate) fn push(&mut self, max: usize, instance: Option<InstanceId>, info: &CallInfo, end: End, now: Instant) {
        if self.0.len() >= max {
            self.0.pop_front();
        }
        self.0.push_back(Entry { info: *info, instance, ended: now, end });
    }

    /// Newest first.
    pub(crate) fn recent(&self, limit: usize, revision: &RevisionId) -> Vec<Invocation> {
        let (wall, now) = (SystemTime::now(), chassis::clock::now());
        let at = |instant: Instant| Timestamp::from(wall - now.saturating_duration_since(instant));
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let entries = self.0.iter().rev().take(limit);
        let invocation = |entry: &Entry| Invocation {
            id: entry.info.id,
            revision: revision.clone(),
            instance: entry.instance,
            started: at(entry.info.arrived),
            duration_us: us(entry.ended - entry.info.arrived),
            waited_us: us(entry.info.waited),
            cold: entry.info.cold,
            outcome: entry.end.outcome,
            status: entry.end.status,
            code: entry.end.code.map(|code| code.to_string()),
        };
        entries.map(invocation).collect()
    }
}
