//! The platform in one process: every role on embedded stores.

use crate::cli::args::{Global, UpArgs};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a platform is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds everything; made where it is not there.
    pub data_dir: PathBuf,
    /// Where functions answer; port 0 takes a free one.
    pub listen: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
    /// Threads that serve requests; `None` is one for each core.
    pub lanes: Option<u16>,
}

/// A platform that runs.
pub struct Handle {
    pub gateway_addr: SocketAddr,
    /// `http://HOST:PORT`, without `/v1`.
    pub api_url: String,
    pub token: String,
    /// Begins the orderly stop.
    pub shutdown: CancellationToken,
    /// Ends when the last role has.
    pub done: JoinHandle<anyhow::Result<()>>,
}

impl Handle {
    /// Stops in an orderly way: nothing of it is left when this returns.
    ///
    /// # Errors
    /// That of the role that failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.done.await?
    }
}

/// Starts every role; returns once the platform serves.
///
/// # Errors
/// Where a port is taken, the data directory can't be used, or a role fails to start.
pub async fn start(_options: Options) -> anyhow::Result<Handle> {
    anyhow::bail!("the platform's roles are not assembled yet")
}

/// `mayfly up`: starts every role and serves until a signal ends it.
pub fn up(_global: &Global, _args: &UpArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the platform's roles are not assembled yet")
}
