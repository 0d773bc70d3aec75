//! Archives by hand, with entries that no honest packer writes.

use std::io::Write;
use tar::{EntryType, Header};

/// Grows a tar archive entry by entry.
#[derive(Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// One that would be a good function by itself.
    pub fn function(name: &str) -> Self {
        Self::default()
            .file(
                "mayfly.toml",
                format!("name = \"{name}\"\nruntime = \"python\"\nentry = \"app.handler\"\n").as_bytes(),
            )
            .file("app.py", b"def handler(event, context):\n    return {'ok': True}\n")
    }

    #[must_use]
    pub fn entry(mut self, name: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // The tar crate's own setters refuse what a test wants to send.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    #[must_use]
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, "", data)
    }

    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, target, b"")
    }

    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, target, b"")
    }

    /// As it is sent.
    pub fn zstd(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        zstd::encode_all(&*self.0, 1).unwrap()
    }
}

/// A good function's archive with one more file of `bytes` zeros: a few kB on the wire, whatever it claims to be.
pub fn bomb(name: &str, bytes: u64) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(&Archive::function(name).0).unwrap();
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    let block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len() as u64);
        encoder.write_all(&block[..count as usize]).unwrap();
        left -= count;
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}
