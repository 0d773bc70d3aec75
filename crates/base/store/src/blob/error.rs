//! Why a blob cannot be written or read.

use crate::disk::is_full;
use std::{
    io,
    path::{Path, PathBuf},
};
use types::Digest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("more than {max} bytes")]
    TooLarge { max: u64 },
    /// Nothing is left of the put; it can be tried again once there is space.
    #[error("the disk or the quota is full")]
    Full,
    #[error("there is no blob {0}")]
    Missing(Digest),
    /// Nothing of it was served. Put the same content again to heal it.
    #[error("blob {digest} is corrupt; it was moved to {}", aside.display())]
    Corrupt { digest: Digest, aside: PathBuf },
    /// What was to be stored could not be read: the sender's fault, not the disk's.
    #[error("cannot read the content to store: {0}")]
    Source(#[source] io::Error),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Says where an I/O error happened, and sorts out the full disk.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| if is_full(&source) { Error::Full } else { Error::Io { path: path.to_owned(), source } }
}
