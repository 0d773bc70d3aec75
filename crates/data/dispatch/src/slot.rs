//! An instance as the dispatcher sees it, and which one of several gets the next call.

use crate::eject::Health;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;
use types::InstanceId;
use wire::{InstanceLoad, Link};

/// From so many instances on, the less loaded of two random ones is as good as the least loaded of all, and found in a
/// time that does not grow. Source: Mitzenmacher 2001, "The power of two choices".
const MANY: usize = 16;

/// One instance: at most `limit` calls at once.
pub(crate) struct Slot {
    pub id: InstanceId,
    pub link: Arc<dyn Link>,
    pub busy: u32,
    pub draining: bool,
    pub idle_since: Instant,
    pub health: Health,
    /// Told when the last call of a draining instance ended.
    pub drained: Vec<oneshot::Sender<()>>,
}

impl Slot {
    pub(crate) fn load(&self) -> InstanceLoad {
        InstanceLoad {
            id: self.id,
            in_flight: self.busy,
            idle_since: (self.busy == 0).then_some(self.idle_since),
            draining: self.draining,
        }
    }
}

/// Which instance a call wants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// This one, if it has a free slot.
    pub near: Option<InstanceId>,
    /// Any but this one.
    pub not: Option<InstanceId>,
}

/// Index of an instance with less than `limit` calls: the one that is wished for, else a little loaded one.
pub(crate) fn pick(slots: &[Slot], limit: u32, wish: Wish) -> Option<usize> {
    let free = |slot: &Slot| !slot.draining && slot.busy < limit && wish.not != Some(slot.id);
    if let Some(near) = wish.near
        && let Some(index) = slots.iter().position(|slot| slot.id == near && free(slot))
    {
        return Some(index);
    }
    if slots.len() >= MANY
        && let Some(index) = of_two(slots, free)
    {
        return Some(index);
    }
    let free = slots.iter().enumerate().filter(|(_, slot)| free(slot));
    free.min_by_key(|(_, slot)| slot.busy).map(|(index, _)| index)
}

/// The less loaded of two random ones, or the one of them that is free.
fn of_two(slots: &[Slot], free: impl Fn(&Slot) -> bool) -> Option<usize> {
    let first = fastrand::usize(..slots.len());
    let second = (first + fastrand::usize(1..slots.len())) % slots.len();
    match (free(&slots[first]), free(&slots[second])) {
        (true, true) if slots[second].busy < slots[first].busy => Some(second),
        (true, _) => Some(first),
        (false, true) => Some(second),
        (false, false) => None,
    }
}
