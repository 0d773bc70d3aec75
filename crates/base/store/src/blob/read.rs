//! Reading a blob: its content is checked against its digest before a byte of it is served.

use super::{Blobs, CORRUPT_DIR, Error, error::at, put::CHUNK_BYTES};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
    path::Path,
};
use types::Digest;

impl Blobs {
    /// The blob, checked from end to end and then rewound: reading it costs two passes, the second from the cache.
    pub fn get(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        let mut file = self.file(digest)?;
        let mut hash = Sha256::new();
        each_chunk(&mut file, |chunk| hash.update(chunk)).map_err(at(&path))?;
        self.check(digest, hash, &file)?;
        file.rewind().map_err(at(&path))?;
        Ok(file)
    }

    /// The whole checked content, at most `max` bytes.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let file = self.file(digest)?;
        let mut content = Vec::new();
        // One byte more than allowed tells too much from just enough.
        (&file).take(max.saturating_add(1)).read_to_end(&mut content).map_err(at(&path))?;
        if content.len() as u64 > max {
            return Err(Error::TooLarge { max });
        }
        self.check(digest, Sha256::new_with_prefix(&content), &file)?;
        Ok(content)
    }

    fn file(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing(digest.clone()),
            _ => at(&path)(error),
        })
    }

    fn check(&self, digest: &Digest, hash: Sha256, file: &File) -> Result<(), Error> {
        if Digest::from_sha256(&hash.finalize().into()) == *digest {
            return Ok(());
        }
        let aside = self.dir.join(CORRUPT_DIR).join(digest.hex());
        self.move_aside(&self.path(digest), &aside, file).map_err(at(&aside))?;
        tracing::error!(%digest, aside = %aside.display(), "a blob is corrupt and was moved aside");
        Err(Error::Corrupt { digest: digest.clone(), aside })
    }

    /// Takes `file` out of service, unless its name was given to another file or removed meanwhile.
    fn move_aside(&self, path: &Path, aside: &Path, file: &File) -> io::Result<()> {
        let _names = self.names.lock();
        let same = match fs::metadata(path) {
            Ok(now) => now.ino() == file.metadata()?.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        // Not made durable: after a power cut the next read finds the same again.
        if same { fs::rename(path, aside) } else { Ok(()) }
    }
}

fn each_chunk(source: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
