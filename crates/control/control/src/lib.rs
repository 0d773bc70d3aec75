//! The control plane: the API of record, publishing, and the picture that everybody else serves from.
//!
//! Reading order: `registry` holds the records and changes them, each change whole or not at all; `snapshot` turns
//! them into what gateway and dispatch serve from; `deploy` takes an uploaded folder to a live revision by means of
//! [`publish`], and `canary` moves its traffic by steps; `api` is the REST surface; [`Service`] assembles them.
//!
//! **Invariant**: never on the path of a request. Gateway and dispatch live on pushed snapshots; when this plane is
//! gone they keep serving the last one.

mod registry;
mod snapshot;

mod canary;
mod deploy;
pub mod publish;

mod api;
mod serve;
mod service;

pub use canary::Metrics as CanaryMetrics;
pub use registry::{Registry, Release, Verdict};
pub use service::{Deps, Options, Service};
