//! What a revision's owner wants of the dispatcher, with the platform's defaults filled in.

use crate::Options;
use std::time::Duration;
use types::{Spec, resilience::Circuit, traffic::Sticky};

/// Retries of all calls, in per cent.
const RETRIES: u8 = 20;

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Calls at once in one instance.
    pub slots: u32,
    /// Slots there are at most: what an estimate of a wait may count on.
    pub slots_max: u32,
    pub queue_max: usize,
    /// The wait's bound, where the owner set one.
    pub wait: Option<Duration>,
    pub adaptive: bool,
    pub eject: bool,
    pub retries: u8,
    pub circuit: Option<Circuit>,
    pub affinity: bool,
    pub hedge: Option<Duration>,
}

impl Policy {
    pub(crate) fn new(spec: &Spec, options: &Options) -> Self {
        let resilience = spec.resilience.clone().unwrap_or_default();
        let traffic = spec.traffic.clone().unwrap_or_default();
        Self {
            slots: spec.concurrency,
            slots_max: spec.concurrency.saturating_mul(spec.scale.max).max(1),
            queue_max: resilience.queue_max.map_or(options.queue_max, |max| max as usize),
            wait: resilience.wait.map(types::Millis::duration),
            // One call at a time leaves nothing to learn.
            adaptive: resilience.adaptive && spec.concurrency > 1,
            eject: resilience.eject,
            retries: resilience.retries.unwrap_or(RETRIES),
            circuit: resilience.circuit,
            affinity: traffic.affinity,
            hedge: traffic.hedge.map(types::Millis::duration),
        }
    }
}

/// What callers stick by; most revisions have nothing.
pub(crate) fn sticky(spec: &Spec) -> Option<&Sticky> {
    spec.traffic.as_ref()?.sticky.as_ref()
}
