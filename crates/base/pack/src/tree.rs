//! What a tree may hold: which paths, which links, and what may be added to what is there.

use crate::{Limits, PATH_MAX};
use std::collections::HashMap;
use types::{Bytes, Code, Fault};

/// Average length of a path over a whole archive. With it, and not only with [`PATH_MAX`], a hostile archive of
/// deep paths is refused before the memory for its names grows beyond some 25 MB.
const PATH_MEAN_MAX: usize = 256;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File,
    Link,
}

/// The paths of a tree that grows, and its size.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<String, Node>,
    name_bytes: usize,
    bytes: u64,
    limits: Limits,
}

impl Tree {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { nodes: HashMap::new(), name_bytes: 0, bytes: 0, limits }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, path: &str) -> Option<Node> {
        self.nodes.get(path).copied()
    }

    /// Adds `path` with the folders above it that are missing, and returns those, the outermost first.
    ///
    /// # Errors
    /// `archive_unsafe` where something else stands there already, or where the path leads through a link or a
    /// file; `archive_too_large`.
    pub(crate) fn add<'p>(&mut self, path: &'p str, node: Node) -> Result<Vec<&'p str>, Fault> {
        let mut missing = Vec::new();
        for (at, _) in path.match_indices('/') {
            let (above, _) = path.split_at(at);
            match self.get(above) {
                Some(Node::Folder) => {}
                Some(Node::Link) => return Err(refused(format!("`{path}` leads through the link `{above}`"))),
                Some(Node::File) => return Err(refused(format!("`{path}` leads through the file `{above}`"))),
                None => {
                    self.insert(above, Node::Folder)?;
                    missing.push(above);
                }
            }
        }
        match (self.get(path), node) {
            (None, _) => self.insert(path, node)?,
            (Some(Node::Folder), Node::Folder) => {}
            (Some(_), _) => return Err(refused(format!("`{path}` comes twice"))),
        }
        Ok(missing)
    }

    /// Takes note of a file's size before a byte of it is written.
    pub(crate) fn grow(&mut self, path: &str, size: u64) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            let limit = Bytes(self.limits.bytes);
            return Err(too_large(format!("the files up to `{path}` are over the limit of {limit} unpacked")));
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), Fault> {
        self.nodes.insert(path.to_owned(), node);
        self.name_bytes += path.len();
        if self.nodes.len() > self.limits.entries {
            return Err(too_large(format!("the archive has more than {} entries", self.limits.entries)));
        }
        if self.name_bytes > self.limits.entries.saturating_mul(PATH_MEAN_MAX) {
            return Err(too_large(format!("the archive's paths are longer than {PATH_MEAN_MAX} bytes on average")));
        }
        Ok(())
    }
}

/// The path as the tree knows it, without `.` and doubled or trailing slashes; empty for the root itself.
///
/// # Errors
/// `archive_unsafe` for what is absolute, climbs, is no UTF-8, holds NUL or is too long.
pub(crate) fn clean_path(raw: &[u8]) -> Result<String, Fault> {
    let shown = String::from_utf8_lossy(raw.get(..200.min(raw.len())).unwrap_or_default());
    let text = std::str::from_utf8(raw).map_err(|_| refused(format!("the name `{shown}` is not UTF-8")))?;
    if text.len() > PATH_MAX {
        return Err(refused(format!("the path `{shown}…` is longer than {PATH_MAX} bytes")));
    }
    if text.contains('\0') {
        return Err(refused(format!("the name `{}` holds a NUL character", shown.escape_default())));
    }
    if text.starts_with('/') {
        return Err(refused(format!("the path `{text}` is absolute")));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(refused(format!("the path `{text}` climbs with `..`")));
    }
    Ok(parts.join("/"))
}

/// Holds a symbolic link at `path` to targets inside the tree.
///
/// `..` may stand only at the target's beginning. The link's own folder is real (nothing is written through links),
/// so these steps can be counted exactly; the steps down behind them may pass other links, which keep the same rule.
/// With `..` in the middle, as in `l/../..`, where it leads would depend on where `l` leads.
///
/// # Errors
/// `archive_unsafe` naming the link.
pub(crate) fn check_link(path: &str, target: &str) -> Result<(), Fault> {
    let no = |why: &str| Err(refused(format!("the link `{path}` -> `{target}` {why}")));
    if target.is_empty() || target.contains('\0') || target.len() > PATH_MAX {
        return no("has no valid target");
    }
    if target.starts_with('/') {
        return no("is absolute");
    }
    let depth = path.matches('/').count();
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
    let mut climbed = 0;
    while parts.next_if_eq(&"..").is_some() {
        climbed += 1;
    }
    if climbed > depth {
        return no("leads out of the folder");
    }
    if parts.any(|part| part == "..") {
        return no("has `..` behind a name");
    }
    Ok(())
}

pub(crate) fn refused(detail: String) -> Fault {
    Fault::new(Code::ArchiveUnsafe, detail)
}

fn too_large(detail: String) -> Fault {
    Fault::new(Code::ArchiveTooLarge, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (raw, clean) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("./", ""), ("a/./b", "a/b"), ("...", "...")] {
            assert_eq!(clean_path(raw.as_bytes()).unwrap(), clean, "{raw}");
        }
        let long = "x/".repeat(2049);
        for raw in ["/a", "..", "a/../b", "a/..", "//a", "a\0b", long.as_str()] {
            assert_eq!(clean_path(raw.as_bytes()).unwrap_err().code, Code::ArchiveUnsafe, "{raw}");
        }
        assert!(clean_path(b"a\xff").unwrap_err().detail.contains("UTF-8"));
    }

    #[test]
    fn links_stay_inside() {
        for (path, target) in
            [("l", "a"), ("a/l", "../b"), ("a/b/l", "../../c/d"), ("l", "."), ("l", "./a"), ("l", "a/./b")]
        {
            check_link(path, target).unwrap_or_else(|fault| panic!("{path} -> {target}: {fault}"));
        }
        for (path, target) in [
            ("l", ".."),
            ("l", "/etc/passwd"),
            ("a/l", "../.."),
            ("a/l", "./../../x"),
            ("l", ""),
            ("a/b/c/l", "x/../.."),
            ("l", "a/.."),
            ("l", "a\0b"),
        ] {
            assert_eq!(check_link(path, target).unwrap_err().code, Code::ArchiveUnsafe, "{path} -> {target}");
        }
    }

    #[test]
    fn nothing_goes_through_a_link_or_a_file() {
        let mut tree = Tree::new(Limits::default());
        assert_eq!(tree.add("a/b/f", Node::File).unwrap(), ["a", "a/b"]);
        assert!(tree.add("a", Node::Folder).unwrap().is_empty());
        tree.add("l", Node::Link).unwrap();
        for (path, node) in [
            ("l/x", Node::File),
            ("a/b/f/x", Node::File),
            ("a/b/f", Node::File),
            ("a", Node::Link),
            ("l", Node::Folder),
        ] {
            assert_eq!(tree.add(path, node).unwrap_err().code, Code::ArchiveUnsafe, "{path}");
        }
    }

    #[test]
    fn implied_folders_and_long_names_count() {
        let mut tree = Tree::new(Limits { bytes: 10, entries: 3 });
        assert_eq!(tree.add("a/b/c/d", Node::File).unwrap_err().code, Code::ArchiveTooLarge);
        let mut tree = Tree::new(Limits { bytes: 10, entries: 3 });
        assert_eq!(tree.add(&"x".repeat(800), Node::File).unwrap_err().code, Code::ArchiveTooLarge);
        let mut tree = Tree::new(Limits { bytes: 10, entries: 3 });
        tree.grow("a", 10).unwrap();
        assert_eq!(tree.grow("b", u64::MAX).unwrap_err().code, Code::ArchiveTooLarge);
    }
}
