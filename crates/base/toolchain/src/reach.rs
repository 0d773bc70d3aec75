//! Who may execute a program: its own mode is not enough, every folder on the way counts too.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

/// Execute for others: run a file, pass through a folder.
const OTHERS: u32 = 0o001;
/// Links followed at most. Source: Linux' MAXSYMLINKS.
const LINKS_MAX: usize = 40;

/// True for a regular file that somebody may execute.
pub(crate) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a user who is neither the owner nor in the group can execute `path`: walks it as the kernel does, through
/// every folder and link.
///
/// # Errors
/// Says which folder or file is closed.
pub fn others_can_execute(path: &Path) -> Result<(), String> {
    let mut here = PathBuf::from("/");
    // What is still to walk, the next part last.
    let mut rest: Vec<PathBuf> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        let meta = fs::symlink_metadata(&next).map_err(|e| format!("{} cannot be read: {e}", next.display()))?;
        if meta.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(format!("{} is a loop of links", path.display()));
            }
            let target = fs::read_link(&next).map_err(|e| format!("{} cannot be read: {e}", next.display()))?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            rest.extend(parts(&target));
            continue;
        }
        if meta.permissions().mode() & OTHERS == 0 {
            let what = if meta.is_dir() { "the folder" } else { "the file" };
            let mode = meta.permissions().mode() & 0o7777;
            return Err(format!("{what} {} is closed to others (mode {mode:04o})", next.display()));
        }
        here = next;
    }
    if is_program(&here) { Ok(()) } else { Err(format!("{} is no program", here.display())) }
}

/// The parts of a path, the last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let normal = |part: Component<'_>| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(normal).collect()
}
