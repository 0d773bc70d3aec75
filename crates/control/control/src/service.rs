//! Assembles the plane: options and what others give go in, a server comes out.

use crate::{
    api, canary,
    deploy::{Deployer, Parts},
    registry::Registry,
    serve::Connections,
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use store::Blobs;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use toolchain::Toolchain;
use types::Fault;
use wire::{Host, Invocations, Invoke, Logs, Scaler};

/// After shutdown, answers that are under way have this long. Streams that follow end at once.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How this plane is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a client has to send as `Authorization: Bearer …`.
    pub token: String,
    /// Holds everything; this plane keeps its files below `deploy` in it.
    pub data_dir: PathBuf,
    /// Where the gateway answers, as users reach it: `http://127.0.0.1:8080`.
    pub gateway_url: String,
    /// How instances are held apart in this installation, in words.
    pub isolation: String,
    /// The limits of tenant `default`, as the dispatcher and the gateway were told.
    pub limits: types::tenant::TenantLimits,
}

/// What this plane needs of others.
#[derive(Clone)]
pub struct Deps {
    /// Opened before: fleet and dispatch live on its picture, and this plane on them.
    pub registry: Registry,
    pub blobs: Arc<Blobs>,
    pub invoke: Arc<dyn Invoke>,
    pub scaler: Arc<dyn Scaler>,
    pub host: Arc<dyn Host>,
    pub logs: Arc<dyn Logs>,
    pub invocations: Arc<dyn Invocations>,
    pub toolchain: Toolchain,
    /// Registered once, however often this plane begins anew.
    pub canary_metrics: canary::Metrics,
}

/// The control plane, ready to serve.
pub struct Service {
    state: api::State,
    shutdown: CancellationToken,
}

impl Service {
    /// Clears away what an earlier process left half done.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub async fn new(options: Options, deps: Deps) -> Result<Self, Fault> {
        let shutdown = CancellationToken::new();
        let parts = Parts {
            registry: deps.registry.clone(),
            blobs: Arc::clone(&deps.blobs),
            scaler: Arc::clone(&deps.scaler),
            toolchain: deps.toolchain.clone(),
            dir: options.data_dir.join("deploy"),
            gateway_url: options.gateway_url.clone(),
            shutdown: shutdown.clone(),
        };
        let deployer = Deployer::open(parts).await?;
        Ok(Self { state: api::State::new(options, deps, deployer, shutdown.clone()), shutdown })
    }

    /// The picture for those who serve.
    pub fn snapshots(&self) -> wire::Snapshots {
        self.state.deps.registry.snapshots()
    }

    /// The API without a socket: for tests, and for who brings a server.
    pub fn router(&self) -> axum::Router {
        api::router(self.state.clone())
    }

    /// Serves until `shutdown`: then nothing new is accepted, deployments that are not committed fail, streams that
    /// follow end, and what else is being answered has ten seconds.
    ///
    /// # Errors
    /// Where the listener is none.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        tracing::info!(address = %listener.local_addr()?, "the API listens");
        let connections = Connections::new();
        let canaries = canary::Watcher::new(&self.state.deps, self.state.canaries.clone());
        let canaries = chassis::task::spawn("canaries", canaries.run(self.shutdown.clone()));
        let router = self.router();
        // Connections heed our own token, so that a service that is dropped ends them too.
        tokio::select! {
            () = connections.accept(&listener, &router, &self.shutdown) => {}
            () = shutdown.cancelled() => {}
        }
        drop(listener);
        self.shutdown.cancel();
        self.state.deployer.join().await;
        if let Err(error) = canaries.await {
            tracing::error!(%error, "the watch over canaries did not end well");
        }
        let cut = connections.drain(DRAIN_MAX).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "answers of the API took longer than {DRAIN_MAX:?} and were cut off");
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
