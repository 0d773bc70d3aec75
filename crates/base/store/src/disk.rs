//! What records and blobs both need to know about a file system: when it is full, and how a new name becomes durable.

use std::{
    fs::File,
    io::{Error, ErrorKind},
    path::Path,
};

/// True where freeing space would cure the error: ENOSPC, EDQUOT.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Makes names created, renamed or removed in `dir` survive a power cut; fsync of the file alone does not.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir)?.sync_all()
}
