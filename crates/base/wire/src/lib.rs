//! The traits that roles meet in: what a gateway may ask of a dispatcher, a dispatcher of a host, and so on.
//!
//! A warm call walks forward through them: gateway → [`Invoke`] (dispatch) → [`Link`] (agent) → user code.
//! [`Snapshot`] flows from control to everybody who serves; [`Host`], [`Directory`] and [`Demand`] are how fleet,
//! dispatch and agent start and stop instances together.
//!
//! **Invariant**: this crate holds no logic that decides anything; it knows nothing about stores, processes or Wasm.

pub mod activity;
pub mod admitted;
pub mod body;
pub mod call;
pub mod host;
pub mod record;
pub mod sample;
pub mod snapshot;

pub use activity::Activity;
pub use admitted::{Authorizer, Matched};
pub use body::{Body, BodyError};
pub use call::{Call, CallInfo, Caller, Deferred, End, Invoke, Lease, Permit, Shape};
pub use host::{
    Demand, Directory, Ensured, Exit, Hold, Host, InstanceLoad, Link, Load, Refusal, Scaler, Share, Started, Stop,
};
pub use record::{Artifacts, Invocations, LogFilter, Logs, TOOK_CLASSES, Tally};
pub use snapshot::{FunctionView, Snapshot, Snapshots, Target, Weighted};

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
