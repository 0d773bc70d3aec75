//! Holds instances to their memory by looking at it.
//!
//! A limit on address space would be exact, but Node, Java and Wasm reserve far more than they use. Between two looks
//! a process may pass its limit; cgroups close that gap when the full sandbox comes.

use crate::Inner;
use chassis::task;
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use wire::Exit;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Where there are so many instances that a look takes long.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// A look takes at most this part of the time, until [`LOOK_MAX`].
const SHARE: u32 = 100;

/// Looks until the agent is dropped.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    let inner = Arc::downgrade(inner);
    task::spawn("memory watch", watch(inner));
}

async fn watch(inner: Weak<Inner>) {
    let mut took = Duration::ZERO;
    loop {
        tokio::time::sleep(pause(took)).await;
        let Some(inner) = inner.upgrade() else { return };
        // Of a thousand instances it takes a while, and is all in the kernel.
        let looked = tokio::task::spawn_blocking(move || look(&inner)).await;
        took = looked.unwrap_or(LOOK_MAX);
    }
}

fn pause(took: Duration) -> Duration {
    (took * SHARE).clamp(LOOK, LOOK_MAX)
}

/// Ends whoever is over its memory; how long that took.
fn look(inner: &Inner) -> Duration {
    let begun = Instant::now();
    let instances: Vec<_> = inner.instances.lock().values().cloned().collect();
    for instance in instances {
        let Some(process) = &instance.process else { continue };
        let limit = instance.revision.spec.memory.0;
        if let Some(used) = process.memory_over(limit) {
            tracing::info!(instance = %instance.id, revision = %instance.revision.id, used, limit, "over its memory");
            instance.end(Exit::Memory { used, limit });
        }
    }
    begun.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_instances_are_looked_at_less_often() {
        let millis = Duration::from_millis;
        for (took, pauses) in [(0, 200), (1, 200), (4, 400), (40, 1000)] {
            assert_eq!(pause(millis(took)), millis(pauses), "{took}");
        }
    }
}
