//! Holds instances to their memory by looking at it.
//!
//! A limit on address space would be exact, but Node, Java and Wasm reserve far more than they use. Between two looks
//! a process may pass its limit; cgroups close that gap when the full sandbox comes.

use crate::Inner;
use chassis::task;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use wire::Exit;

const LOOK: Duration = Duration::from_millis(200);

/// Looks until the agent is dropped.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    let inner = Arc::downgrade(inner);
    task::spawn("memory watch", watch(inner));
}

async fn watch(inner: Weak<Inner>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let instances: Vec<_> = inner.instances.lock().values().cloned().collect();
        for instance in instances {
            let Some(process) = &instance.process else { continue };
            let (used, limit) = (process.memory(), instance.revision.spec.memory.0);
            if used > limit {
                tracing::info!(instance = %instance.id, revision = %instance.revision.id, used, limit, "over its memory");
                instance.end(Exit::Memory { used, limit });
            }
        }
    }
}
