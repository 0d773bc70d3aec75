//! From an uploaded folder to a live revision.
//!
//! unpack → manifest → known content? → build → pack → store → start one and probe it → commit, and the alias moves.
//! Until the commit nothing is changed but the story of the attempt, so a deploy is whole or absent whenever it is cut off.
//!
//! Reading order: [`upload`] receives the archive; [`pipeline`] is the walk above; [`log`] keeps what it says;
//! [`sweep`] clears away what nobody refers to; [`Deployer`] is the way in.

pub(crate) mod log;
mod pipeline;
mod sweep;
mod upload;

use crate::{
    publish::{Cache, Tools},
    registry::{Registry, Stored},
};
use futures_util::FutureExt;
use log::{BuildLog, Logs};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Weak},
    time::SystemTime,
};
use store::Blobs;
use sweep::Pins;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use toolchain::Toolchain;
use types::{
    Bytes, Code, Deployment, Fault, FunctionName, TenantName, Timestamp, canary::Way, id::DeploymentId, record::Stage,
};
use upload::Upload;
use wire::Scaler;

/// Builds at once: each takes a core or more and several hundred MiB.
const BUILDS_MAX: usize = 2;
/// Largest cache of dependency trees and compilers' folders, on disk.
const BUILD_CACHE_MAX: Bytes = Bytes(4 << 30);
/// Uploads and deployments that are under way or wait; the next is refused.
const QUEUE_MAX: usize = 64;

/// What a deploy needs from others.
pub(crate) struct Parts {
    pub registry: Registry,
    pub blobs: Arc<Blobs>,
    pub scaler: Arc<dyn Scaler>,
    pub toolchain: Toolchain,
    /// Folder of our own below the data directory.
    pub dir: PathBuf,
    /// Before a function's name in its URL.
    pub gateway_url: String,
    pub shutdown: CancellationToken,
}

/// Takes deployments. Each runs in a task of its own: a client that hangs up stops nothing.
pub(crate) struct Deployer {
    parts: Parts,
    logs: Logs,
    pins: Pins,
    tools: Tools,
    queue: Arc<Semaphore>,
    builds: Semaphore,
    /// Deployments of one function come one after the other.
    turns: Mutex<HashMap<FunctionName, Weak<tokio::sync::Mutex<()>>>>,
    /// Ends that could not be recorded, because the disk is full: shown from here until they can.
    unrecorded: Mutex<HashMap<DeploymentId, Deployment>>,
    tasks: TaskTracker,
}

/// A place in the queue.
pub(crate) struct Place(OwnedSemaphorePermit);

impl Deployer {
    /// Clears away what an earlier process left: half uploads, interrupted attempts, artifacts of no revision.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, Fault> {
        sweep::private_dir(&parts.dir).map_err(|error| io_fault("the folder of deployments", error))?;
        let logs = Logs::open(parts.dir.join("logs")).map_err(|error| io_fault("the deployments' logs", error))?;
        let work = parts.dir.join("work");
        sweep::fresh_dir(&work).map_err(|error| io_fault("the folder for builds", error))?;
        let cache = Cache::open(parts.dir.join("cache"), BUILD_CACHE_MAX.0);
        let tools = Tools::new(parts.toolchain.clone(), cache.map_err(|error| io_fault("the cache of builds", error))?);
        let cut = parts.registry.fail_interrupted().await?;
        if cut > 0 {
            tracing::warn!(count = cut, "deployments were interrupted by the restart");
        }
        let deployer = Arc::new(Self {
            parts,
            logs,
            pins: Pins::default(),
            tools,
            queue: Arc::new(Semaphore::new(QUEUE_MAX)),
            builds: Semaphore::new(BUILDS_MAX),
            turns: Mutex::default(),
            unrecorded: Mutex::default(),
            tasks: TaskTracker::new(),
        });
        deployer.sweep_all().await?;
        Ok(deployer)
    }

    /// # Errors
    /// `queue_full`, `shutting_down`.
    pub fn enter(&self) -> Result<Place, Fault> {
        if self.parts.shutdown.is_cancelled() {
            return Err(Fault::new(Code::ShuttingDown, "no deployment is begun any more"));
        }
        let full = |_| Fault::new(Code::QueueFull, format!("{QUEUE_MAX} deployments are under way or wait already"));
        Arc::clone(&self.queue).try_acquire_owned().map(Place).map_err(full)
    }

    /// Receives an archive to disk.
    ///
    /// # Errors
    /// `archive_too_large`, `archive_invalid` where it broke off, `storage_full`, `shutting_down`.
    pub async fn receive(&self, body: axum::body::Body) -> Result<Upload, Fault> {
        let dir = self.parts.dir.join("work");
        tokio::select! {
            received = upload::receive(&dir, body) => received,
            () = self.parts.shutdown.cancelled() => Err(stopping()),
        }
    }

    /// Begins a deployment; what it is now can be asked for by its id from here on.
    ///
    /// # Errors
    /// `tenant_not_found`, `tenant_mismatch`, `storage_full`, `internal`.
    pub async fn begin(
        self: &Arc<Self>,
        place: Place,
        name: FunctionName,
        upload: Upload,
        way: Way,
        tenant: Option<TenantName>,
    ) -> Result<Deployment, Fault> {
        self.parts.registry.check_tenant(&name, tenant.as_ref())?;
        let deployment = Deployment {
            id: DeploymentId::random(),
            function: name,
            stage: Stage::Building,
            revision: None,
            unchanged: false,
            canary: None,
            fault: None,
            started: now(),
            ended: None,
            phases: Default::default(),
            url: None,
        };
        self.record_late().await;
        let log = self.logs.create(deployment.id).map_err(|error| io_fault("the deployment's log", error))?;
        self.parts.registry.note(&deployment).await?;
        let (this, begun) = (Arc::clone(self), deployment.clone());
        let run = self.tasks.track_future(async move {
            this.run(deployment, upload, (way, tenant), log).await;
            drop(place.0);
        });
        chassis::task::spawn("deployment", run);
        Ok(begun)
    }

    /// The whole of one attempt, from its turn to its end. Whatever happens, the attempt ends.
    async fn run(
        self: &Arc<Self>,
        deployment: Deployment,
        upload: Upload,
        asked: (Way, Option<TenantName>),
        log: BuildLog,
    ) {
        let turn = self.turn(&deployment.function);
        let turn = match turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => {
                log.step(&format!("Waiting for another deployment of {} to end", deployment.function));
                turn.lock().await
            }
        };
        let (id, function, begun) = (deployment.id, deployment.function.clone(), deployment.clone());
        let walk = pipeline::run(self, deployment, upload, asked, &log);
        let ended = match AssertUnwindSafe(walk).catch_unwind().await {
            Ok(ended) => ended,
            Err(_) => pipeline::fail(self, begun, Fault::internal("the deployment panicked"), &log).await,
        };
        tracing::info!(%id, %function, stage = ?ended.stage, fault = ended.fault.as_ref().map(tracing::field::display), "a deployment ended");
        log.end();
        drop(turn);
        self.forget_old().await;
    }

    fn turn(&self, name: &FunctionName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(name.clone(), Arc::downgrade(&turn));
        turn
    }

    /// How an attempt stands.
    ///
    /// # Errors
    /// `deployment_not_found`.
    pub fn deployment(&self, id: &DeploymentId) -> Result<Deployment, Fault> {
        let recorded = self.parts.registry.deployment(id)?;
        Ok(self.unrecorded.lock().get(id).cloned().unwrap_or(recorded))
    }

    /// All attempts that are remembered, newest first.
    ///
    /// # Errors
    /// `internal`.
    pub fn deployments(&self) -> Result<Vec<Deployment>, Fault> {
        let mut all = self.parts.registry.deployments()?;
        let unrecorded = self.unrecorded.lock();
        for deployment in &mut all {
            if let Some(ended) = unrecorded.get(&deployment.id) {
                deployment.clone_from(ended);
            }
        }
        Ok(all)
    }

    /// Records an attempt's end, or keeps it until that can be done. A record that says otherwise until a restart
    /// finds it is at most one per place in the queue, since nothing begins while nothing can be written.
    async fn note_end(&self, ended: &Deployment) {
        if let Err(fault) = self.parts.registry.note(ended).await {
            tracing::error!(id = %ended.id, %fault, "a deployment's end cannot be recorded yet");
            self.unrecorded.lock().insert(ended.id, ended.clone());
        }
    }

    async fn record_late(&self) {
        let late: Vec<Deployment> = self.unrecorded.lock().values().cloned().collect();
        for ended in late {
            if self.parts.registry.note(&ended).await.is_err() {
                return;
            }
            self.unrecorded.lock().remove(&ended.id);
        }
    }

    /// The story so far, as NDJSON; goes on until the attempt ended where `follow` is set.
    ///
    /// # Errors
    /// `deployment_not_found`.
    pub fn log(&self, id: DeploymentId, follow: bool) -> Result<axum::body::Body, Fault> {
        self.parts.registry.deployment(&id)?;
        self.logs.read(id, follow, self.parts.shutdown.clone()).map_err(|error| io_fault("the deployment's log", error))
    }

    /// Waits until no deployment runs. Those that have not been committed end as failed once `shutdown` is cancelled.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Where a function answers by default.
    pub fn url(&self, name: &FunctionName) -> String {
        format!("{}/{name}/", self.parts.gateway_url.trim_end_matches('/'))
    }

    /// When the function was created, where there is one.
    fn since(&self, name: &FunctionName) -> Option<Timestamp> {
        self.parts.registry.function(name).ok().map(|Stored { value, .. }| value.created)
    }
}

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

fn stopping() -> Fault {
    Fault::new(Code::ShuttingDown, "the platform stopped before the deployment was done: deploy again")
}

/// What a failed read or write of the platform's own files means to the user.
pub(crate) fn io_fault(what: &str, error: std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Fault::new(Code::StorageFull, format!("{what} cannot be written: {error}"))
        }
        _ => Fault::internal(format!("{what}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_defect() {
        for (kind, code) in [
            (std::io::ErrorKind::StorageFull, Code::StorageFull),
            (std::io::ErrorKind::QuotaExceeded, Code::StorageFull),
            (std::io::ErrorKind::PermissionDenied, Code::Internal),
        ] {
            let fault = io_fault("the archive", kind.into());
            assert_eq!(fault.code, code);
            assert!(fault.detail.contains("the archive"), "{fault}");
        }
    }
}
