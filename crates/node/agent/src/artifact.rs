//! Artifacts on this host: each is fetched and unpacked once, however many instances want it at once.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};
use types::{Code, Digest, Fault};
use wire::Artifacts;

pub(crate) struct Cache {
    folder: PathBuf,
    source: Arc<dyn Artifacts>,
    /// One lock for each artifact that is being unpacked.
    busy: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Cache {
    /// Unpacked trees live in `folder`, by digest. What a crash left half unpacked is removed.
    pub(crate) fn open(folder: PathBuf, source: Arc<dyn Artifacts>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "partial") && !is_being_written(&path) {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(Self { folder, source, busy: Mutex::default() })
    }

    /// The unpacked tree of an artifact.
    ///
    /// # Errors
    /// Those of [`Artifacts::open`] and of unpacking: `storage_full` on a full disk.
    pub(crate) async fn tree(&self, digest: &Digest) -> Result<PathBuf, Fault> {
        let tree = self.folder.join(digest.hex());
        if tree.is_dir() {
            return Ok(tree);
        }
        let lock = self.lock(digest);
        let _turn = lock.lock().await;
        if tree.is_dir() {
            return Ok(tree);
        }
        let (source, digest, target) = (Arc::clone(&self.source), digest.clone(), tree.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            let partial = target.with_extension(format!("{}.partial", std::process::id()));
            pack::unpack(source.open(&digest)?, &partial, pack::Limits::default())?;
            fs::rename(&partial, &target).map_err(|error| io_fault(&error))
        });
        unpacked.await.map_err(Fault::internal)??;
        Ok(tree)
    }

    fn lock(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock();
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        busy.insert(digest.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// True where the process in the name `DIGEST.PID.partial` lives and is another one: a platform that is taken over.
fn is_being_written(partial: &Path) -> bool {
    let pid = partial.file_stem().map(Path::new).and_then(|stem| stem.extension()?.to_str()?.parse::<u32>().ok());
    pid.is_some_and(|pid| pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists())
}

/// A full disk is the operator's to mend; anything else is a defect.
pub(crate) fn io_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::new(Code::StorageFull, error.to_string()),
        _ => Fault::internal(error),
    }
}
