//! The platform in one process: every role on embedded stores.
//!
//! [`start`] assembles the house in reading order: what is kept → who serves → who runs code → who decides.

mod artifacts;
mod compile;
mod data;
mod demo;
mod handover;
mod leader;
mod listeners;
mod outage;
mod roles;
mod up;

pub use compile::compile;
pub use up::up;

use listeners::Listeners;
use std::{net::SocketAddr, path::PathBuf};
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
    /// Threads that serve requests; `None` is one for every two cores.
    pub lanes: Option<u16>,
    /// Take the sockets over from the platform that serves this data directory, where one does.
    pub take_over: bool,
    /// Where functions answer over HTTPS, if the gateway has certificates.
    pub tls_listen: SocketAddr,
    pub gateway: gateway::Options,
    /// Most calls at once of the functions of tenant `default`.
    pub calls_max: Option<u32>,
    pub wasm: sandbox_wasm::Options,
    /// SIGUSR1 begins and ends an outage of control and fleet.
    pub rehearse_outages: bool,
}

/// A platform that runs.
pub struct Handle {
    pub gateway_addr: SocketAddr,
    /// Where functions answer over HTTPS.
    pub tls_addr: Option<SocketAddr>,
    pub admin_addr: SocketAddr,
    /// `http://HOST:PORT`, without `/v1`.
    pub api_url: String,
    pub token: String,
    /// Reads certificates and opens the access log again.
    pub reload: gateway::Reload,
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
pub async fn start(options: Options) -> anyhow::Result<Handle> {
    roles::start(options).await
}
