//! Who decides on a data directory: the one process that holds its lock, its records and the API.
//!
//! A [`Term`] can end while this process goes on serving: gateway, dispatch and fleet live on the last picture, and
//! another process (see [`super::handover`]), or this one again, begins the next.

use super::data::DataDir;
use anyhow::Context;
use chassis::Shutdown;
use control::Registry;
use std::{fs::File, path::PathBuf, sync::Arc};
use store::{Blobs, Records, record};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use toolchain::Toolchain;
use wire::{Host, Invocations, Invoke, Logs, Scaler, Snapshot};

/// What every term stands on.
pub(super) struct Leader {
    pub(super) data: Arc<DataDir>,
    pub(super) picture: watch::Sender<Arc<Snapshot>>,
    pub(super) options: control::Options,
    pub(super) roles: Roles,
}

/// The roles that control speaks to.
pub(super) struct Roles {
    pub(super) blobs: Arc<Blobs>,
    pub(super) invoke: Arc<dyn Invoke>,
    pub(super) scaler: Arc<dyn Scaler>,
    pub(super) host: Arc<dyn Host>,
    pub(super) logs: Arc<dyn Logs>,
    pub(super) invocations: Arc<dyn Invocations>,
    pub(super) toolchain: Toolchain,
    pub(super) canary_metrics: control::CanaryMetrics,
}

/// The records, and the right to write them: what a term begins with.
pub(super) struct Office {
    registry: Registry,
    lock: File,
}

/// A time of deciding; the API answers.
pub(super) struct Term {
    stop: Shutdown,
    api: JoinHandle<std::io::Result<()>>,
    lock: File,
}

impl Office {
    /// Takes the data directory's lock and reads the records.
    ///
    /// # Errors
    /// Where another process has it, or the records cannot be read.
    pub(super) async fn take(data: &DataDir, picture: watch::Sender<Arc<Snapshot>>) -> anyhow::Result<Self> {
        let lock = data.lock()?;
        let path: PathBuf = data.records();
        let records = tokio::task::spawn_blocking(move || {
            record::Store::sqlite(&path, record::Options::default())
                .with_context(|| format!("cannot open {}", path.display()))
        })
        .await??;
        let registry = Registry::publish_to(Arc::new(records) as Arc<dyn Records>, picture)?;
        Ok(Self { registry, lock })
    }
}

impl Leader {
    /// Begins a term in an office that was taken.
    ///
    /// # Errors
    /// Where what an earlier term left cannot be cleared away.
    pub(super) async fn begin(&self, office: Office, api: &std::net::TcpListener) -> anyhow::Result<Term> {
        let Roles { blobs, invoke, scaler, host, logs, invocations, toolchain, canary_metrics } = &self.roles;
        let deps = control::Deps {
            registry: office.registry,
            blobs: Arc::clone(blobs),
            invoke: Arc::clone(invoke),
            scaler: Arc::clone(scaler),
            host: Arc::clone(host),
            logs: Arc::clone(logs),
            invocations: Arc::clone(invocations),
            toolchain: toolchain.clone(),
            canary_metrics: canary_metrics.clone(),
        };
        let service = control::Service::new(self.options.clone(), deps).await?;
        let listener = TcpListener::from_std(api.try_clone()?)?;
        let stop = Shutdown::new();
        let api = tokio::spawn(service.run(listener, stop.clone()));
        Ok(Term { stop, api, lock: office.lock })
    }

    /// Takes the office again and goes on, after nobody else did.
    ///
    /// # Errors
    /// Those of [`Office::take`] and [`Leader::begin`].
    pub(super) async fn resume(&self, api: &std::net::TcpListener) -> anyhow::Result<Term> {
        self.begin(Office::take(&self.data, self.picture.clone()).await?, api).await
    }
}

impl Term {
    /// Ends it in an orderly way: answers end, deployments that are not committed fail, and then the lock is free.
    ///
    /// # Errors
    /// Where the API had failed.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = self.api.await?;
        drop(self.lock);
        ended.context("the API cannot serve")
    }
}
