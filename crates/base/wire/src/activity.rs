//! What calls did to a revision: sums from which fleet makes its windows.

use std::time::Duration;

/// Sums since the revision was first called. They only grow, so a look that nobody reads loses nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Calls that came, those that were refused among them.
    pub arrivals: u64,
    /// Calls that got no slot.
    pub rejected: u64,
    /// Calls that gave their slot back.
    pub ended: u64,
    /// Time that the ended calls had spent in their slots.
    pub served: Duration,
    /// Calls in flight and waiting, integrated over time: its growth by the time that passed is how many there were on
    /// average.
    pub area: Duration,
    /// The same of those in flight alone: the time that calls have spent in slots, those that still run among them.
    pub busy: Duration,
    /// Moving average of the start times; not a sum.
    pub usual_start: Duration,
    /// How long the first in the queue has waited; not a sum.
    pub oldest_wait: Duration,
}
