//! The driver that ends leases in time; without it they end when the next commit comes.

use super::Records;
use std::{pin::pin, sync::Arc, time::Duration};

/// A lease's keys outlive it by at most this, unless the disk is full.
const PERIOD: Duration = Duration::from_millis(250);

/// Ticks `records` until `shutdown` ends.
pub async fn run(records: Arc<dyn Records>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let mut failing = false;
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let result = records.tick().await;
        // Told once, not four times a second.
        match &result {
            Err(error) if !failing => tracing::warn!(%error, "leases that are due cannot end; will try again"),
            Ok(_) if failing => tracing::info!("leases end again"),
            Ok(_) | Err(_) => {}
        }
        failing = result.is_err();
    }
}
