//! The process's metrics in Prometheus' text format: one registry that roles register with.

use parking_lot::Mutex;
pub use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Metric, Registry};
use std::sync::Arc;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry; clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("mayfly"))))
    }
}

impl Metrics {
    /// Registers a metric under `mayfly_<name>` and hands it back.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.0.lock().register(name, help, metric.clone());
        metric
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.lock());
        text
    }
}

/// Upper bounds for durations in seconds: 0.25 ms to 16 s, doubling.
pub fn latency_buckets() -> impl Iterator<Item = f64> {
    (0..17).map(|i| 0.00025 * f64::from(1 << i))
}
