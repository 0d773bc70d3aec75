//! What builds leave for the next one: dependency trees by the digest of what asked for them, and the working folders
//! of compilers; bounded in size, the longest unused goes first.

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Inside an entry: what it holds, and its size as text.
const TREE: &str = "tree";
const SIZE: &str = "size";
/// Names of what is not an entry yet; a crash leaves them behind.
const UNFINISHED: &str = ".new-";

/// A folder of entries. Cheap to clone; one process owns the folder.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    /// Entries that a build reads or writes now, with how many do: they are not evicted.
    busy: Mutex<HashMap<String, usize>>,
}

impl Cache {
    /// Opens or makes the cache in `dir`, for at most `bytes_max` (compilers' folders may pass it while they are used).
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(dir: impl Into<PathBuf>, bytes_max: u64) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self(Arc::new(Inner { dir, bytes_max, busy: Mutex::default() })))
    }

    /// A home for tools where the platform's user has none.
    pub(super) fn home(&self) -> io::Result<PathBuf> {
        let home = self.0.dir.join("home");
        fs::create_dir_all(&home)?;
        Ok(home)
    }

    /// Copies the tree under `key` to `dest`, which must not exist; false where there is none. Blocks.
    pub(super) fn fetch(&self, key: &str, dest: &Path) -> io::Result<bool> {
        let _busy = self.hold(key);
        let entry = self.0.dir.join(key);
        if !entry.join(TREE).is_dir() {
            return Ok(false);
        }
        touch(&entry);
        let copied = copy_tree(&entry.join(TREE), dest);
        if copied.is_err() {
            let _ = fs::remove_dir_all(dest);
        }
        copied.map(|()| true)
    }

    /// Keeps a copy of `source` under `key`: whole or not at all. Blocks.
    pub(super) fn keep(&self, key: &str, source: &Path) -> io::Result<()> {
        let _busy = self.hold(key);
        let entry = self.0.dir.join(key);
        if entry.exists() {
            return Ok(());
        }
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&self.0.dir)?;
        copy_tree(source, &unfinished.path().join(TREE))?;
        fs::write(unfinished.path().join(SIZE), tree_size(&unfinished.path().join(TREE)).to_string())?;
        match fs::rename(unfinished.path(), &entry) {
            Ok(()) => drop(unfinished.keep()),
            // Somebody else was first, with the same.
            Err(_) if entry.exists() => {}
            Err(error) => return Err(error),
        }
        self.evict();
        Ok(())
    }

    /// A folder that a tool works in from build to build; kept at least until the [`Place`] is dropped. Blocks.
    pub(super) fn place(&self, key: &str) -> io::Result<Place> {
        let busy = self.hold(key);
        let entry = self.0.dir.join(key);
        fs::create_dir_all(entry.join(TREE))?;
        if !entry.join(SIZE).exists() {
            // Until it is known; an entry without a size would never be evicted.
            fs::write(entry.join(SIZE), "0")?;
        }
        touch(&entry);
        Ok(Place { path: entry.join(TREE), entry, busy: Some(busy) })
    }

    fn hold(&self, key: &str) -> Busy {
        *self.0.busy.lock().entry(key.to_owned()).or_default() += 1;
        Busy { cache: self.clone(), key: key.to_owned() }
    }

    /// Removes the longest unused entries until the rest fits.
    fn evict(&self) {
        let busy = self.0.busy.lock();
        let Ok(listing) = fs::read_dir(&self.0.dir) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = listing
            .flatten()
            .filter_map(|entry| {
                let size = fs::read_to_string(entry.path().join(SIZE)).ok()?.parse().ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, size, entry.path()))
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in entries {
            if total <= self.0.bytes_max {
                return;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if busy.contains_key(&*name) {
                continue;
            }
            // Renamed first: half an entry must never look like a whole one.
            let gone = self.0.dir.join(format!("{UNFINISHED}gone-{name}"));
            let removed = fs::rename(&path, &gone).and_then(|()| fs::remove_dir_all(&gone));
            match removed {
                Ok(()) => total -= size,
                Err(error) => tracing::warn!(path = %path.display(), %error, "a cached tree cannot be removed"),
            }
        }
    }
}

struct Busy {
    cache: Cache,
    key: String,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.cache.0.busy.lock();
        if let Some(count) = busy.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.key);
            }
        }
    }
}

/// A tool's working folder.
pub(super) struct Place {
    pub(super) path: PathBuf,
    entry: PathBuf,
    busy: Option<Busy>,
}

impl Place {
    /// Takes note of how large it has become and makes room. Blocks; without it the next build's end does so.
    pub(super) fn done(mut self) {
        let _ = fs::write(self.entry.join(SIZE), tree_size(&self.path).to_string());
        touch(&self.entry);
        if let Some(busy) = self.busy.take() {
            let cache = busy.cache.clone();
            drop(busy);
            cache.evict();
        }
    }
}

/// A key of what decides about a tree. The parts are told apart, so that no two lists give one key.
pub(super) fn key<'a>(kind: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{kind}-{}", hex::encode(hash.finalize()))
}

fn touch(entry: &Path) {
    // Only the order of eviction depends on it.
    let _ = fs::File::open(entry).and_then(|folder| folder.set_modified(SystemTime::now()));
}

/// Copies a tree with links and executable bits. Never by hard links: a build may write into its copy.
pub(super) fn copy_tree(source: &Path, dest: &Path) -> io::Result<()> {
    fs::create_dir_all(dest)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), dest.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else {
            // By reflink where the file system can.
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn tree_size(path: &Path) -> u64 {
    let Ok(listing) = fs::read_dir(path) else { return 0 };
    listing
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => tree_size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tree(root: &Path, name: &str, size: usize) -> PathBuf {
        let tree = root.join(name);
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/file"), "x".repeat(size)).unwrap();
        std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
        tree
    }

    /// Ages are set, not waited for.
    fn age(cache: &Cache, key: &str, seconds: u64) {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(cache.0.dir.join(key)).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_tree_is_kept_and_copied() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1 << 20).unwrap();
        let source = tree(dir.path(), "a", 10);
        let dest = dir.path().join("dest");
        assert!(!cache.fetch("k", &dest).unwrap());
        cache.keep("k", &source).unwrap();
        cache.keep("k", &source).unwrap();
        assert!(cache.fetch("k", &dest).unwrap());
        assert_eq!(fs::read_to_string(dest.join("link")).unwrap(), "x".repeat(10));
        assert_eq!(fs::read_link(dest.join("link")).unwrap(), Path::new("sub/file"));
        // The copy is the build's own.
        fs::write(dest.join("sub/file"), "changed").unwrap();
        let again = dir.path().join("again");
        assert!(cache.fetch("k", &again).unwrap());
        assert_eq!(fs::read_to_string(again.join("sub/file")).unwrap(), "x".repeat(10));
    }

    #[test]
    fn the_longest_unused_go_first_and_none_that_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 2600).unwrap();
        let source = tree(dir.path(), "a", 1000);
        let place = cache.place("compiler").unwrap();
        fs::write(place.path.join("object"), "x".repeat(500)).unwrap();
        place.done();
        let held = cache.place("compiler").unwrap();
        age(&cache, "compiler", 900);
        for (n, key) in ["one", "two"].into_iter().enumerate() {
            cache.keep(key, &source).unwrap();
            age(&cache, key, 500 - n as u64);
        }
        // Used just now, so it outlives `two`; the links count some bytes too.
        assert!(cache.fetch("one", &dir.path().join("x")).unwrap());
        cache.keep("three", &source).unwrap();
        let there = |key: &str| cache.0.dir.join(key).exists();
        assert_eq!(["compiler", "one", "two", "three"].map(there), [true, true, false, true]);
        // Not in use any more, it is the oldest; and `one` follows it, because it is too small.
        drop(held);
        cache.keep("four", &source).unwrap();
        assert_eq!(["compiler", "one", "three", "four"].map(there), [false, false, true, true]);
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".new-x/tree")).unwrap();
        fs::create_dir_all(dir.path().join("good/tree")).unwrap();
        let cache = Cache::open(dir.path(), 10).unwrap();
        assert!(!dir.path().join(".new-x").exists() && dir.path().join("good").exists());
        drop(cache);
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        assert_ne!(key("a", [&b"xy"[..], b"z"]), key("a", [&b"x"[..], b"yz"]));
        assert_eq!(key("a", [&b"x"[..]]), key("a", [&b"x"[..]]));
    }
}
