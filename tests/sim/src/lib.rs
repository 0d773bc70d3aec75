//! The real dispatcher and the real fleet in virtual time, over hosts that only pretend to start something.
//!
//! [`shape`] makes the calls of a load from a seed; [`host`] takes the time of starts and calls; [`world`] puts them
//! together with a [`world::Scaler`] and runs; [`knative`] is the other scaler; [`report`] is what came of it,
//! [`compare`] runs both over many seeds. All time
//! is tokio's paused clock: an hour of load takes seconds, and two runs of a seed are the same.

pub mod compare;
pub mod host;
pub mod knative;
pub mod report;
pub mod shape;
pub mod world;
