//! Receives an archive: streamed to disk, never held in memory, bounded.

use super::io_fault;
use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use std::path::Path;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use types::{Bytes, Code, Fault};

/// Largest archive as it is sent. The tree in it may have 250 MiB (see `pack`), which zstd makes a third or less.
const UPLOAD_MAX: Bytes = Bytes::mib(100);

/// An archive on disk; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    pub file: NamedTempFile,
    pub size: u64,
}

/// # Errors
/// `archive_too_large`, `archive_invalid` where the sender broke off, `storage_full`, `internal`.
pub(super) async fn receive(dir: &Path, mut body: Body) -> Result<Upload, Fault> {
    // Where the length is told, what is too large is refused before a byte is read.
    check(body.size_hint().lower())?;
    let disk = |error| io_fault("the uploaded archive", error);
    let file = tempfile::Builder::new().prefix("upload-").tempfile_in(dir).map_err(disk)?;
    let mut writer = tokio::fs::File::from_std(file.reopen().map_err(disk)?);
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let broke =
            |error| Fault::new(Code::ArchiveInvalid, format!("the upload broke off after {size} bytes: {error}"));
        let Ok(data) = frame.map_err(broke)?.into_data() else { continue };
        size += data.len() as u64;
        check(size)?;
        writer.write_all(&data).await.map_err(disk)?;
    }
    writer.flush().await.map_err(disk)?;
    if size == 0 {
        return Err(Fault::new(Code::ArchiveInvalid, "the request has no body: send the folder as a tar.zst archive"));
    }
    Ok(Upload { file, size })
}

fn check(size: u64) -> Result<(), Fault> {
    if size <= UPLOAD_MAX.0 {
        return Ok(());
    }
    Err(Fault::new(Code::ArchiveTooLarge, format!("the archive is over {UPLOAD_MAX}, the most that may be uploaded")))
}
