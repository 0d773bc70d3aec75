//! What is asked of a sandbox, and what it gives back.

use crate::{BoxFuture, Error};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::unix::pipe, sync::watch};
use types::InstanceId;

/// An instance to start, complete: nothing is inherited from the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub id: InstanceId,
    /// A path, absolute or from `cwd`; a bare name is looked up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<String>,
    /// All of the environment.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// The instance's own folder: made for it, removed with all it holds once the instance is gone. Its parent must
    /// exist, and be one that the instance's user may pass through.
    pub tmp: PathBuf,
    pub limits: Limits,
    pub mode: Mode,
    /// From [`Instance::terminate`]'s SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// What one instance may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub files: u64,
    /// Processes and threads (`RLIMIT_NPROC`). The kernel counts them per user: exact where each instance has a user
    /// of its own, else on top of what the user runs when the instance starts.
    pub processes: u64,
}

impl Default for Limits {
    /// What Lambda allows: 1,024 of each.
    fn default() -> Self {
        Self { files: 1024, processes: 1024 }
    }
}

/// How the program is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Once; it serves until it ends.
    Serve,
    /// Once per call, by the frames of [`crate::command`].
    Command {
        /// Where the guest listens; only the platform's user may connect.
        socket: PathBuf,
        /// Most connections, and so calls, at once.
        slots: u32,
    },
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

/// Starts instances.
pub trait Sandbox: Send + Sync {
    /// Starts an instance; returns once its program was executed (`Mode::Serve`) or calls are taken
    /// (`Mode::Command`). Dropping the future ends what was begun.
    ///
    /// # Errors
    /// [`Error::fault`] has the code. Nothing is left of an instance that did not start.
    fn start(&self, plan: Plan) -> BoxFuture<'_, Result<Running, Error>>;

    /// What holds in this installation.
    fn isolation(&self) -> Isolation;
}

/// An instance that was started.
#[derive(Debug)]
pub struct Running {
    pub instance: Arc<dyn Instance>,
    /// The standard output of all its processes; ends once all are gone. `AsFd`, so `FIONREAD` tells what is unread.
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
}

/// The way to a running instance. Dropping the last handle kills it.
pub trait Instance: Send + Sync + fmt::Debug {
    fn id(&self) -> InstanceId;

    /// The program's process; the guest where a process per call is started.
    fn pid(&self) -> u32;

    /// The user that its processes run as.
    fn user(&self) -> u32;

    /// SIGTERM to the program's process group; what is left after the grace is killed.
    fn terminate(&self);

    /// Kills all of its processes.
    fn kill(&self);

    /// Turns `Some` once no process of it is left.
    fn exits(&self) -> watch::Receiver<Option<Exit>>;

    /// Bytes of memory that its processes hold alone: anonymous and shared-memory pages (RssAnon + RssShmem). Pages of
    /// files can be taken back and do not count, nor does the platform's own part. Processes begun in
    /// the last second may be missing.
    fn memory(&self) -> u64;
    /// The same, where it is over `limit`: much cheaper to ask again and again.
    fn memory_over(&self, limit: u64) -> Option<u64>;

    /// CPU time of its processes, ended ones that were waited for included. At most 100 ms old; 0 once it is gone.
    fn cpu(&self) -> Duration;

    /// Waits until no process of it is left.
    fn wait(&self) -> BoxFuture<'static, Exit> {
        let mut exits = self.exits();
        Box::pin(async move {
            match exits.wait_for(Option::is_some).await.map(|exit| *exit) {
                Ok(Some(exit)) => exit,
                // The runtime that watched it is gone, and so is the guest's socket: it is killed.
                _ => Exit::Signal(libc::SIGKILL),
            }
        })
    }
}

/// How instances are held apart, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    pub holds: Vec<String>,
    pub lacks: Vec<String>,
    /// Whether code of several tenants may run side by side.
    pub tenants: bool,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "holds: {}; lacks: {}", self.holds.join(", "), self.lacks.join(", "))?;
        f.write_str(if self.tenants { "" } else { "; for one tenant only" })
    }
}
