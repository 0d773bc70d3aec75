//! A folder as one stream of bytes with a digest, and back: a deterministic tar archive compressed with zstd.
//!
//! [`Pack`] walks a folder and writes the stream; [`unpack`] reads it into a new folder, trusting nothing in it.
//! Both keep [`Limits`], so that what was packed can be unpacked. The same folder gives the same bytes: entries are
//! sorted, and owners, times and umasks are left out; the executable bit is all that remains of a file's mode.
//!
//! **Invariant**: whatever the archive says, [`unpack`] writes nothing outside its destination, and a link in the
//! tree that it leaves never leads out of it. This crate knows nothing about functions, stores or HTTP.

mod archive;
mod tree;
mod unpack;
mod walk;
mod write;

pub use unpack::{Unpacked, unpack};
pub use write::{Pack, Packed};

/// How large a tree may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All files together, unpacked.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: usize,
}

impl Default for Limits {
    /// 250 MiB (as Lambda's unpacked code) and 100,000 entries.
    fn default() -> Self {
        Self { bytes: 250 << 20, entries: 100_000 }
    }
}

/// Longest path of an entry, in bytes. Source: Linux' PATH_MAX.
const PATH_MAX: usize = 4096;
