//! Removes a folder that user code filled: of any depth, with any permissions, in bounded stack and descriptors.
//!
//! `std::fs::remove_dir_all` recurses and holds a descriptor for each level, so a deep enough tree would end the
//! platform. Here what lies two levels deep is moved up first, so no path is ever deeper than that.

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// Removes the folder and all in it; links in it are not followed. A folder that is not there is done already.
pub(crate) fn all(path: &Path) -> std::io::Result<()> {
    let top = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    let mut moved = 0_u64;
    // Each round removes all files and one level of folders; what is moved up is met in the next.
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            empty(&top, &name, &mut moved)?;
        }
    }
    Ok(rustix::fs::rmdir(path)?)
}

/// Removes an entry of `top`; folders in it are moved to `top`.
fn empty(top: &OwnedFd, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    if unlink(top, name)? {
        return Ok(());
    }
    let folder = open(top, name)?;
    for inner in names(&folder)? {
        while !unlink(&folder, &inner)? {
            *moved += 1;
            let place = CString::new(format!(".mayfly-{moved}")).unwrap_or_default();
            // A folder that is moved must be writable itself: its `..` changes.
            drop(open(&folder, &inner)?);
            match rustix::fs::renameat(&folder, &inner, top, &place) {
                Ok(()) => break,
                // Somebody made this name: an empty folder is replaced, anything else says so. The next one is tried.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
    }
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

/// Removes a file, a link or an empty folder; false where it is a folder with something in it.
fn unlink(folder: impl AsFd, name: &CStr) -> Result<bool, Errno> {
    let folder = folder.as_fd();
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Opens a folder, never through a link; takes the permissions that its removal needs.
fn open(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = parent.as_fd();
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty()).or_else(|error| {
        if error != Errno::ACCESS {
            return Err(error);
        }
        rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    })?;
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_tree_goes_links_and_permissions_and_all() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::write(root.path().join("kept"), "x").unwrap();
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join("a/.mayfly-1/x")).unwrap();
        fs::write(tree.join(".mayfly-2"), "x").unwrap();
        fs::write(tree.join("a/b/c/file"), "x").unwrap();
        std::os::unix::fs::symlink(root.path(), tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("a/b/dangling")).unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        all(&tree).unwrap();
        assert!(!tree.exists() && root.path().join("kept").exists());
        all(&tree).unwrap();
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut here = open(CWD, &tree).unwrap();
        // More than descriptors are allowed by default.
        for _ in 0..2000 {
            rustix::fs::mkdirat(&here, c"d", Mode::RWXU).unwrap();
            here = open(&here, c"d").unwrap();
        }
        drop(here);
        all(&tree).unwrap();
        assert!(!tree.exists());
    }
}
