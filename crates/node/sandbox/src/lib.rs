//! The socket for process runtimes: how an instance is started, watched and ended, whatever holds it.
//!
//! [`Sandbox`] is what an agent calls; [`Process`] is the one implementation now: a guest process beside the code,
//! an own user, no new privileges, limits, a clean environment. What comes with namespaces and cgroups fits behind the
//! same trait and passes the same suite (`tests/conformance`).
//!
//! ```no_run
//! # async fn example(plan: sandbox::Plan) -> Result<(), sandbox::Error> {
//! use sandbox::{Options, Process, Sandbox, Users};
//! let sandbox = Process::new(Options {
//!     guest: vec!["/proc/self/exe".into(), "guest".into()],
//!     run_dir: "/var/lib/mayfly/run".into(),
//!     users: Users::detect(),
//! })?;
//! sandbox.sweep().await?; // Ends what an earlier platform left.
//! let running = sandbox.start(plan).await?;
//! running.instance.terminate();
//! println!("{:?}", running.instance.wait().await);
//! # Ok(()) }
//! ```
//!
//! **Invariant**: this crate knows nothing about contracts beyond the frames of [`command`], and nothing about HTTP.

pub mod command;
mod control;
mod error;
mod evidence;
mod launch;
mod plan;
mod process;
mod reach;
mod record;
mod remove;
mod supervise;
mod sweep;
mod table;
mod users;

pub use error::Error;
pub use plan::{Exit, Instance, Isolation, Limits, Mode, Plan, Running, Sandbox};
pub use process::{Options, Process};
pub use sweep::Swept;
pub use users::{Pool, Users};

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
