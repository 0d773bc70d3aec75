//! Writing a blob: stream into a temporary file, make it durable, then give it its name.

use super::{Blobs, Error, TEMP_PREFIX, error::at};
use crate::disk::sync_dir;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};
use tempfile::NamedTempFile;
use types::Digest;

pub(super) const CHUNK_BYTES: usize = 64 << 10;

impl Blobs {
    /// Stores what `source` gives, at most `max` bytes; durable when it returns. Gives its digest and size.
    ///
    /// Putting what is there already is no error, and heals a blob that has become corrupt.
    pub fn put(&self, source: impl Read, max: u64) -> Result<(Digest, u64), Error> {
        // Removes itself when dropped, so every early return below leaves nothing behind.
        let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(&self.dir).map_err(at(&self.dir))?;
        let (digest, size) = copy(source, &mut temp, max)?;
        temp.as_file().sync_all().map_err(at(temp.path()))?;
        self.name(temp, &digest)?;
        Ok((digest, size))
    }

    /// As [`Self::put`], from a file.
    pub fn put_file(&self, path: &Path, max: u64) -> Result<(Digest, u64), Error> {
        self.put(File::open(path).map_err(Error::Source)?, max)
    }

    /// Replaces an older file of that name: it has the same content, or is corrupt.
    fn name(&self, temp: NamedTempFile, digest: &Digest) -> Result<(), Error> {
        let shard = self.shard(digest);
        let _names = self.names.lock();
        match fs::create_dir(&shard) {
            Ok(()) => sync_dir(&self.dir).map_err(at(&self.dir))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&shard)(error)),
        }
        let path = self.path(digest);
        temp.persist(&path).map_err(|failed| at(&path)(failed.error))?;
        sync_dir(&shard).map_err(at(&shard))
    }
}

fn copy(mut source: impl Read, temp: &mut NamedTempFile, max: u64) -> Result<(Digest, u64), Error> {
    let (mut hash, mut size) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Source(error)),
        };
        size += chunk.len() as u64;
        if size > max {
            return Err(Error::TooLarge { max });
        }
        hash.update(chunk);
        temp.write_all(chunk).map_err(at(temp.path()))?;
    }
    Ok((Digest::from_sha256(&hash.finalize().into()), size))
}
