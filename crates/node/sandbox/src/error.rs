//! Why an instance did not start.

use std::{io, path::PathBuf};
use types::{Code, Fault};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be executed; `why` says which file or folder is to blame.
    #[error("`{}` does not start: {why}", program.display())]
    Program { program: PathBuf, why: String },
    /// A plan that no process can be made of.
    #[error("the plan is not valid: {0}")]
    Plan(String),
    /// A folder that the instance's user cannot pass through.
    #[error("{0}")]
    Unreachable(String),
    #[error("all {0} users for instances are taken")]
    NoUser(u32),
    #[error(
        "no users for instances: each block of {size} from {base} on belongs to another platform on this machine \
         (locks in {}) or has processes; free them, or choose another range", locks.display()
    )]
    NoBlock { base: u32, size: u32, locks: PathBuf },
    /// Another platform uses the same folder.
    #[error("{} belongs to a platform that runs: stop it, or choose another data directory", .0.display())]
    Locked(PathBuf),
    /// The guest did not do its duty.
    #[error("the guest failed: {0}")]
    Guest(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The platform's runtime is shutting down.
    #[error("the platform is stopping")]
    Stopping,
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same, as users see it.
    pub fn fault(&self) -> Fault {
        let code = match self {
            Self::Program { .. } => Code::StartFailed,
            Self::NoUser(_) => Code::CapacityExhausted,
            Self::Stopping => Code::ShuttingDown,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Code::StorageFull,
            Self::Plan(_)
            | Self::Unreachable(_)
            | Self::NoBlock { .. }
            | Self::Locked(_)
            | Self::Guest(_)
            | Self::Io { .. } => Code::Internal,
        };
        Fault::new(code, self.to_string())
    }
}
