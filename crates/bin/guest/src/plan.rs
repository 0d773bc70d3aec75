//! The documents of the control socket: what the platform asks for and what it is told.
//!
//! Each is JSON behind its length (`u32`, little-endian). `sandbox::control` has the platform's half.

use serde::{Deserialize, Serialize};

/// Longest document taken: the environment of a process is limited by the kernel to less.
pub const DOCUMENT_MAX: usize = 8 << 20;

/// What to run, complete: nothing is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// A path; nothing is looked up.
    pub program: String,
    /// Without the program's own name.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    /// User and group of user code; absent: the guest's own.
    pub uid: Option<u32>,
    /// Most file descriptors (`RLIMIT_NOFILE`).
    pub files: u64,
    /// Most processes and threads of the user (`RLIMIT_NPROC`).
    pub processes: u64,
    pub mode: Mode,
    /// From SIGTERM to SIGKILL.
    pub grace_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One process that serves until it ends.
    Serve,
    /// A process per call: see [`crate::frame`].
    Command {
        /// Where to listen; only the guest's user may connect.
        socket: String,
        /// Most calls at once.
        slots: u32,
    },
}

/// What the platform asks for later. To kill, it closes its sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// SIGTERM to the code's process group; what is left after the grace is killed.
    Terminate,
}

/// What the platform is told: `started` then `exited`, or `exec_failed` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// User code runs (`Serve`), or calls are taken (`Command`, with the guest's own pid).
    Started { pid: i32 },
    /// It does not run.
    ExecFailed(Failure),
    /// It ended, and nothing that it started is left.
    Exited(End),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Status(i32),
    Signal(i32),
}

/// Why a process did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed: `chdir`, `exec`, `setuid`, …
    pub step: String,
    pub errno: i32,
    /// The kernel's word for it.
    pub text: String,
}

impl Failure {
    pub(crate) fn new(step: &str, error: &std::io::Error) -> Self {
        Self { step: step.to_owned(), errno: error.raw_os_error().unwrap_or(0), text: error.to_string() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.text)
    }
}
