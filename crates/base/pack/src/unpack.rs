//! Reads a compressed archive into a new folder, bounded while it reads.

use crate::{
    Limits,
    archive::{self, BLOCK, Head, cut, invalid},
    tree::{self, Node, Tree, refused},
};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};
use tar::EntryType;
use types::{Code, Fault};

/// Largest window that a stream may ask the decoder to hold, as a power of two: 32 MiB, what zstd's levels up to 20 use.
const WINDOW_LOG_MAX: u32 = 25;
/// What may follow the end of the archive: the record that tar fills up, 10 KiB by default and 1 MiB at most.
const TRAILER_MAX: u64 = 1 << 20;

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    pub files: usize,
    /// Of all files together.
    pub bytes: u64,
}

/// Reads a tar archive compressed with zstd into `dest`, which must not exist yet; its parent must.
///
/// The tree appears at `dest` whole or not at all: it grows in a hidden folder `.unpack-*` beside it and is renamed at
/// the end. Files get mode 0644 or 0755, folders 0755, the time of writing and this process' owner. Blocks.
///
/// # Errors
/// `archive_invalid` for a stream that is damaged, cut off or no archive; `archive_unsafe` names an entry that is
/// absolute, climbs, links out, goes through a link, comes twice or is a device; `archive_too_large` before a byte over
/// the limits is written; `storage_full`; `internal` where the disk fails otherwise or `dest` exists.
pub fn unpack(reader: impl Read, dest: &Path, limits: Limits) -> Result<Unpacked, Fault> {
    let parent = dest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let growing = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent).map_err(|e| disk("the folder", e))?;
    let mut decoder = zstd::Decoder::new(reader).map_err(Fault::internal)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(Fault::internal)?;

    let mut stream = Bounded { left: stream_max(limits), inner: decoder };
    let unpacked = Unpacking { root: growing.path(), tree: Tree::new(limits), files: 0 }.run(&mut stream)?;

    std::fs::set_permissions(growing.path(), Permissions::from_mode(0o755)).map_err(|e| disk("the folder", e))?;
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        growing.path(),
        rustix::fs::CWD,
        dest,
        rustix::fs::RenameFlags::NOREPLACE,
    )
    .map_err(|e| disk(&dest.display().to_string(), e.into()))?;
    // It has another name now: there is nothing left to remove.
    let _ = growing.keep();
    Ok(unpacked)
}

/// The longest stream within `limits`: each entry has a header, padding and a short extended header. Without it a bomb
/// could be made of headers alone.
fn stream_max(limits: Limits) -> u64 {
    (limits.entries as u64)
        .saturating_mul(4 * BLOCK as u64)
        .saturating_add(limits.bytes)
        .saturating_add(2 * TRAILER_MAX)
}

/// Fails with `FileTooLarge` after `left` bytes.
struct Bounded<R> {
    left: u64,
    inner: R,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.inner.read(buffer.get_mut(..want).unwrap_or_default())?;
        self.left -= n as u64;
        Ok(n)
    }
}

struct Unpacking<'a> {
    root: &'a Path,
    tree: Tree,
    files: usize,
}

impl Unpacking<'_> {
    fn run(mut self, reader: &mut impl Read) -> Result<Unpacked, Fault> {
        while let Some(head) = archive::read_head(reader)? {
            self.entry(&head, reader)?;
        }
        // The rest is read too: the stream's checksum stands at its end.
        let trailer = io::copy(&mut reader.take(TRAILER_MAX + 1), &mut io::sink()).map_err(|e| cut(&e))?;
        if trailer > TRAILER_MAX {
            return Err(invalid(format!("more than {TRAILER_MAX} bytes follow the archive's end")));
        }
        Ok(Unpacked { files: self.files, bytes: self.tree.bytes() })
    }

    fn entry(&mut self, head: &Head, reader: &mut impl Read) -> Result<(), Fault> {
        let path = tree::clean_path(&head.path)?;
        let is_file = matches!(head.kind, EntryType::Regular | EntryType::Continuous);
        if head.size > 0 && !is_file {
            return Err(refused(format!("`{path}` is no file but has contents")));
        }
        if path.is_empty() {
            return match head.kind {
                EntryType::Directory => Ok(()),
                _ => Err(refused("an entry has no name".to_owned())),
            };
        }
        match head.kind {
            EntryType::Directory => self.folder(&path),
            EntryType::Regular | EntryType::Continuous => self.file(&path, head, reader),
            EntryType::Symlink => self.symlink(&path, &head.link),
            EntryType::Link => self.hard_link(&path, &head.link),
            EntryType::GNUSparse => Err(refused(format!("`{path}` is a sparse file"))),
            EntryType::Char | EntryType::Block => Err(refused(format!("`{path}` is a device"))),
            EntryType::Fifo => Err(refused(format!("`{path}` is a pipe"))),
            other => Err(refused(format!("`{path}` is of the unknown kind {:?}", char::from(other.as_byte())))),
        }
    }

    /// Makes room for `path`: notes it and creates the folders above it.
    fn add(&mut self, path: &str, node: Node) -> Result<(), Fault> {
        let missing = self.tree.add(path, node)?;
        missing.into_iter().try_for_each(|folder| self.make_folder(folder))
    }

    fn folder(&mut self, path: &str) -> Result<(), Fault> {
        let there = self.tree.get(path) == Some(Node::Folder);
        self.add(path, Node::Folder)?;
        if there { Ok(()) } else { self.make_folder(path) }
    }

    fn make_folder(&self, path: &str) -> Result<(), Fault> {
        let full = self.root.join(path);
        std::fs::create_dir(&full).map_err(|e| disk(path, e))?;
        // Apart from `create_dir`, because the umask takes bits away from that.
        std::fs::set_permissions(&full, Permissions::from_mode(0o755)).map_err(|e| disk(path, e))
    }

    fn file(&mut self, path: &str, head: &Head, reader: &mut impl Read) -> Result<(), Fault> {
        self.add(path, Node::File)?;
        self.tree.grow(path, head.size)?;
        let mut file = self.create(path)?;
        copy_exactly(reader, &mut file, head.size, path)?;
        archive::skip_padding(reader, head.size)?;
        let mode = if head.mode & 0o111 == 0 { 0o644 } else { 0o755 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(|e| disk(path, e))?;
        self.files += 1;
        Ok(())
    }

    /// A new file and nothing but that: no link is followed, nothing is overwritten. The tree knows this already;
    /// the kernel holds it too, on file systems where two names are one.
    fn create(&self, path: &str) -> Result<File, Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(self.root.join(path), flags, Mode::RUSR | Mode::WUSR).map_err(|e| disk(path, e.into()))?;
        Ok(File::from(fd))
    }

    fn symlink(&mut self, path: &str, target: &[u8]) -> Result<(), Fault> {
        let target =
            std::str::from_utf8(target).map_err(|_| refused(format!("the target of link `{path}` is not UTF-8")))?;
        tree::check_link(path, target)?;
        self.add(path, Node::Link)?;
        std::os::unix::fs::symlink(target, self.root.join(path)).map_err(|e| disk(path, e))
    }

    /// A second name for a file that came before.
    fn hard_link(&mut self, path: &str, target: &[u8]) -> Result<(), Fault> {
        let target = tree::clean_path(target)?;
        if self.tree.get(&target) != Some(Node::File) {
            return Err(refused(format!("the hard link `{path}` -> `{target}` names no file that came before it")));
        }
        self.add(path, Node::File)?;
        std::fs::hard_link(self.root.join(target), self.root.join(path)).map_err(|e| disk(path, e))?;
        self.files += 1;
        Ok(())
    }
}

/// Copies `size` bytes, telling a stream that ends from a disk that fails.
fn copy_exactly(reader: &mut impl Read, file: &mut File, size: u64, path: &str) -> Result<(), Fault> {
    let mut buffer = vec![0; (64 << 10).min(size as usize)];
    let mut left = size;
    while left > 0 {
        let want = buffer.len().min(left as usize);
        let piece = buffer.get_mut(..want).unwrap_or_default();
        reader.read_exact(piece).map_err(|e| cut(&e))?;
        file.write_all(piece).map_err(|e| disk(path, e))?;
        left -= want as u64;
    }
    Ok(())
}

fn disk(path: &str, error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Fault::new(Code::StorageFull, format!("no space left to unpack `{path}`: {error}"))
        }
        io::ErrorKind::InvalidFilename => invalid(format!("`{path}` is no name for this file system: {error}")),
        _ => Fault::internal(format_args!("cannot unpack `{path}`: {error}")),
    }
}
