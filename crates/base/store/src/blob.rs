//! Blobs on disk by their SHA-256: written whole or not at all, checked whenever they are read.
//!
//! All calls block; async callers wrap them in `spawn_blocking`. One process owns the folder:
//! `ab/abcdef…` are blobs, `corrupt/abcdef…` are those that failed their check, `.put-…` are puts under way.

mod error;
mod put;
mod read;

pub use error::Error;

use error::at;
use parking_lot::Mutex;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use types::Digest;

const TEMP_PREFIX: &str = ".put-";
const CORRUPT_DIR: &str = "corrupt";

/// What a listing knows of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
    /// When it was last put: a collector spares what is younger than the record that will name it.
    pub put: SystemTime,
}

pub struct Blobs {
    dir: PathBuf,
    /// Held while a name appears or moves aside, so that a fresh put is not taken for the corrupt file it replaced.
    names: Mutex<()>,
}

impl Blobs {
    /// Opens or creates the folder and sweeps what puts left behind when their process died.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        fs::create_dir_all(dir.join(CORRUPT_DIR)).map_err(at(&dir))?;
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let entry = entry.map_err(at(&dir))?;
            if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
                fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(Self { dir, names: Mutex::new(()) })
    }

    pub fn exists(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// True if it was there. Readers that have it open keep it.
    pub fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true).map_err(at(&path)),
        }
    }

    /// All blobs, by digest. Names that are no blob's are passed over.
    pub fn list(&self) -> Result<Vec<Blob>, Error> {
        let mut blobs = Vec::new();
        for shard in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let shard = shard.map_err(at(&self.dir))?;
            if shard.file_name().len() == 2 {
                list_shard(&shard.path(), &mut blobs)?;
            }
        }
        blobs.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        Ok(blobs)
    }

    fn shard(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex().get(..2).unwrap_or_default())
    }
    fn path(&self, digest: &Digest) -> PathBuf {
        self.shard(digest).join(digest.hex())
    }
}

fn list_shard(dir: &Path, blobs: &mut Vec<Blob>) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let Ok(digest) = format!("sha256:{}", entry.file_name().to_string_lossy()).parse() else { continue };
        match entry.metadata().and_then(|meta| Ok((meta.len(), meta.modified()?))) {
            Ok((size, put)) => blobs.push(Blob { digest, size, put }),
            // Deleted since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&entry.path())(error)),
        }
    }
    Ok(())
}
