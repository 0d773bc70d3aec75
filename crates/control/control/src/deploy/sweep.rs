//! Clears away what nobody refers to: artifacts, old logs, half uploads.

use super::{Deployer, io_fault};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};
use types::{Digest, Fault};

/// Artifacts that are stored but not yet committed: no sweep takes them.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<HashMap<Digest, usize>>);

/// Holds an artifact until dropped.
pub(super) struct Pin<'a> {
    pins: &'a Pins,
    digest: Digest,
}

impl Pins {
    pub fn pin(&self, digest: &Digest) -> Pin<'_> {
        *self.0.lock().entry(digest.clone()).or_default() += 1;
        Pin { pins: self, digest: digest.clone() }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.digest);
            }
        }
    }
}

/// Makes a folder that only the platform's user can enter: functions run as others and must not read each other's source.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// Makes an empty folder at `dir`.
pub(super) fn fresh_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(dir),
    }
}

impl Deployer {
    /// Deletes every artifact and log that no record refers to: once, at the start.
    ///
    /// # Errors
    /// `internal`.
    pub(super) async fn sweep_all(&self) -> Result<(), Fault> {
        let known: HashSet<_> =
            self.parts.registry.deployments()?.into_iter().map(|deployment| deployment.id).collect();
        let logs = self.logs.ids().map_err(|error| io_fault("the deployments' logs", error))?;
        logs.into_iter().filter(|id| !known.contains(id)).for_each(|id| self.logs.delete(id));

        let blobs = self.parts.blobs.list().map_err(Fault::internal)?;
        self.sweep(blobs.into_iter().map(|blob| blob.digest).collect());
        Ok(())
    }

    /// Deletes these artifacts, unless a revision still has them.
    pub(crate) async fn sweep_artifacts(self: &Arc<Self>, gone: Vec<Digest>) {
        if gone.is_empty() {
            return;
        }
        let this = Arc::clone(self);
        if tokio::task::spawn_blocking(move || this.sweep(gone)).await.is_err() {
            tracing::error!("artifacts of no revision stay until the next start");
        }
    }

    fn sweep(&self, candidates: Vec<Digest>) {
        // Held over look and deletion: a pin comes before, and then it is seen, or after, and then its put comes after too.
        let pins = self.pins.0.lock();
        let used = match self.parts.registry.artifacts() {
            Ok(used) => used,
            Err(fault) => return tracing::error!(%fault, "no artifact is swept"),
        };
        for digest in candidates.iter().filter(|digest| !used.contains(*digest) && !pins.contains_key(*digest)) {
            match self.parts.blobs.delete(digest) {
                Ok(_) => tracing::debug!(%digest, "an artifact of no revision is deleted"),
                Err(error) => tracing::warn!(%digest, %error, "an artifact of no revision cannot be deleted"),
            }
        }
    }

    /// Forgets the oldest attempts.
    pub(super) async fn forget_old(&self) {
        match self.parts.registry.forget_old_deployments().await {
            Ok(old) => old.into_iter().for_each(|id| self.logs.delete(id)),
            Err(fault) => tracing::warn!(%fault, "old deployments are kept"),
        }
    }
}
