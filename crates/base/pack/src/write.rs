//! Writes a folder as a compressed archive and tells its digest.

use crate::{
    Limits, archive,
    walk::{self, Choice, Item, Kind},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};
use types::{Code, Digest, Fault};

/// zstd's own default: 200 MB/s and more, and nearly as small as the slow levels on code.
const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the compressed stream.
    pub digest: Digest,
    /// Files, without folders and links.
    pub files: usize,
    /// Of all files together.
    pub unpacked_bytes: u64,
    /// Of the stream that was written.
    pub packed_bytes: u64,
}

/// How a folder is packed.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("index.js"), "exports.handler = async () => 1").unwrap();
/// let mut stream = Vec::new();
/// let packed = mayfly_pack::Pack::source().write(dir.path(), &mut stream).unwrap();
/// assert_eq!(packed.files, 1);
/// ```
pub struct Pack<'a> {
    choice: Choice<'a>,
    limits: Limits,
    progress: Option<&'a dyn Fn(u64)>,
}

impl<'a> Pack<'a> {
    /// A folder as its author keeps it: without what `.gitignore` and `.mayflyignore` name (the latter has the last
    /// word, so `!dist` brings back what git ignores), and without `.git`. Hidden files belong to it.
    pub fn source() -> Self {
        Self { choice: Choice { ignore_rules: true, keep: None }, limits: Limits::default(), progress: None }
    }

    /// A folder as a build left it: everything.
    pub fn built() -> Self {
        Self { choice: Choice { ignore_rules: false, keep: None }, limits: Limits::default(), progress: None }
    }

    /// Takes only the files and links for which `keep` is true, asked by relative path; folders that this empties
    /// are left out.
    pub fn keep(mut self, keep: &'a dyn Fn(&Path) -> bool) -> Self {
        self.choice.keep = Some(keep);
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// `progress` hears the unpacked bytes done so far, after each piece of at most 64 KiB.
    pub fn progress(mut self, progress: &'a dyn Fn(u64)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The unpacked bytes that [`Pack::write`] would read: what a progress bar needs first.
    ///
    /// # Errors
    /// As [`Pack::write`].
    pub fn measure(&self, folder: &Path) -> Result<u64, Fault> {
        let items = walk::items(folder, &self.choice, self.limits)?;
        Ok(items.iter().map(|item| if let Kind::File { size, .. } = item.kind { size } else { 0 }).sum())
    }

    /// Writes `folder` to `writer`. Blocks; `writer` needs no buffer of its own.
    ///
    /// # Errors
    /// `archive_unsafe` for links that lead out, special files and names that are not UTF-8; `archive_too_large`
    /// naming the biggest files; `bad_request` for what can't be read; `archive_invalid` where a file changes
    /// meanwhile; `storage_full`, `internal` where `writer` fails.
    pub fn write(&self, folder: &Path, writer: impl Write) -> Result<Packed, Fault> {
        let items = walk::items(folder, &self.choice, self.limits)?;
        let mut encoder =
            zstd::Encoder::new(Hashing { inner: writer, hash: Sha256::new(), bytes: 0 }, LEVEL).map_err(not_written)?;
        encoder.include_checksum(true).map_err(not_written)?;
        let mut done = 0;
        for item in &items {
            self.write_item(folder, item, &mut encoder, &mut done)?;
        }
        archive::write_end(&mut encoder).map_err(not_written)?;
        let mut hashing = encoder.finish().map_err(not_written)?;
        hashing.flush().map_err(not_written)?;
        Ok(Packed {
            digest: Digest::from_sha256(&hashing.hash.finalize().into()),
            files: items.iter().filter(|item| matches!(item.kind, Kind::File { .. })).count(),
            unpacked_bytes: done,
            packed_bytes: hashing.bytes,
        })
    }

    fn write_item(&self, folder: &Path, item: &Item, out: &mut impl Write, done: &mut u64) -> Result<(), Fault> {
        archive::write_header(out, item).map_err(not_written)?;
        let Kind::File { size, .. } = item.kind else { return Ok(()) };
        let path = Path::new(&item.path);
        let file = File::open(folder.join(path)).map_err(|e| walk::unreadable(path, &e))?;
        // One byte more than expected, to see that the file has grown.
        let mut file = file.take(size + 1);
        let mut buffer = vec![0; 64 << 10];
        let mut left = size;
        loop {
            let n = file.read(&mut buffer).map_err(|e| walk::unreadable(path, &e))?;
            let changed = n as u64 > left || (n == 0 && left > 0);
            if changed {
                return Err(Fault::new(Code::ArchiveInvalid, format!("`{}` changed while it was packed", item.path)));
            }
            let Some(piece) = buffer.get(..n).filter(|piece| !piece.is_empty()) else { break };
            out.write_all(piece).map_err(not_written)?;
            left -= n as u64;
            *done += n as u64;
            if let Some(progress) = self.progress {
                progress(*done);
            }
        }
        archive::write_padding(out, size).map_err(not_written)
    }
}

/// Hashes and counts what goes by.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hash.update(buffer.get(..n).unwrap_or(buffer));
        self.bytes += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn not_written(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Fault::new(Code::StorageFull, format!("no space left to write the archive: {error}"))
        }
        _ => Fault::internal(format_args!("cannot write the archive: {error}")),
    }
}
