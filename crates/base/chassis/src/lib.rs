//! What every role stands on: lanes to run on, metrics, logs, the admin port, orderly shutdown.
//!
//! **Invariant**: it knows nothing about functions; any server could be built on it.

pub mod admin;
pub mod clock;
pub mod lane;
pub mod metrics;
pub mod task;
pub mod telemetry;

pub use lane::Lanes;
pub use tokio_util::sync::CancellationToken as Shutdown;
