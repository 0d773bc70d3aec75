//! Finds what belongs into an archive: every entry of a folder, in order, with what is unsafe refused.

use crate::{Limits, PATH_MAX, tree};
use ignore::WalkBuilder;
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use types::{Bytes, Code, Fault};

/// The project's own ignore file; it has the last word over `.gitignore`.
const IGNORE_FILE: &str = ".mayflyignore";

/// One thing to write.
#[derive(Debug)]
pub(crate) struct Item {
    /// Relative to the folder, with '/' between its parts.
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Folder,
    File { size: u64, executable: bool },
    Link { target: String },
}

/// Which entries of the folder are wanted.
pub(crate) struct Choice<'a> {
    /// Leaves out what `.gitignore` and `.mayflyignore` name, and `.git`.
    pub(crate) ignore_rules: bool,
    /// Asked for each file and link, by relative path.
    pub(crate) keep: Option<&'a dyn Fn(&Path) -> bool>,
}

/// The entries of `folder`, sorted by path.
///
/// # Errors
/// `archive_unsafe` names an entry that can't be packed, `archive_too_large` the biggest files.
pub(crate) fn items(folder: &Path, choice: &Choice<'_>, limits: Limits) -> Result<Vec<Item>, Fault> {
    if !folder.is_dir() {
        return Err(Fault::new(Code::BadRequest, format!("{} is no folder", folder.display())));
    }
    let mut items = Vec::new();
    for entry in walker(folder, choice.ignore_rules) {
        let entry = entry.map_err(|e| Fault::new(Code::BadRequest, format!("cannot read the folder: {e}")))?;
        let relative = entry.path().strip_prefix(folder).map_err(Fault::internal)?;
        if relative.as_os_str().is_empty() {
            continue;
        }
        let metadata = entry.metadata().map_err(|e| unreadable(relative, &e))?;
        let wanted = metadata.is_dir() || choice.keep.is_none_or(|keep| keep(relative));
        if wanted {
            items.push(item(entry.path(), relative, &metadata)?);
        }
    }
    if choice.keep.is_some() {
        drop_empty_folders(&mut items);
    }
    items.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    check_size(&items, limits)?;
    Ok(items)
}

fn walker(folder: &Path, ignore_rules: bool) -> ignore::Walk {
    let mut builder = WalkBuilder::new(folder);
    // Only the folder's own rules count: with the user's global ones, two people would get two digests.
    builder.standard_filters(false).follow_links(false).parents(false);
    if ignore_rules {
        builder.git_ignore(true).require_git(false).add_custom_ignore_filename(IGNORE_FILE);
        builder.filter_entry(|entry| entry.file_name() != ".git");
    }
    builder.build()
}

fn item(full: &Path, relative: &Path, metadata: &Metadata) -> Result<Item, Fault> {
    let name = || relative.display();
    let path = relative.to_str().ok_or_else(|| refused(format!("the name of `{}` is not UTF-8", name())))?;
    if path.len() > PATH_MAX {
        return Err(refused(format!("the path `{path}` is longer than {PATH_MAX} bytes")));
    }
    let kind = if metadata.is_dir() {
        Kind::Folder
    } else if metadata.is_file() {
        Kind::File { size: metadata.len(), executable: metadata.mode() & 0o111 != 0 }
    } else if metadata.is_symlink() {
        let target = std::fs::read_link(full).map_err(|e| unreadable(relative, &e))?;
        let target = target.to_str().ok_or_else(|| refused(format!("the target of link `{path}` is not UTF-8")))?;
        tree::check_link(path, target)?;
        Kind::Link { target: target.to_owned() }
    } else {
        return Err(refused(format!("`{path}` is neither a file, a folder nor a link")));
    };
    Ok(Item { path: path.to_owned(), kind })
}

/// Folders that a `keep` has emptied tell nothing.
fn drop_empty_folders(items: &mut Vec<Item>) {
    let mut used = std::collections::HashSet::<PathBuf>::new();
    for item in items.iter().filter(|item| !matches!(item.kind, Kind::Folder)) {
        for folder in Path::new(&item.path).ancestors().skip(1) {
            if !used.insert(folder.to_owned()) {
                break;
            }
        }
    }
    items.retain(|item| !matches!(item.kind, Kind::Folder) || used.contains(Path::new(&item.path)));
}

fn check_size(items: &[Item], limits: Limits) -> Result<(), Fault> {
    let size = |item: &Item| if let Kind::File { size, .. } = item.kind { size } else { 0 };
    let total: u64 = items.iter().map(size).sum();
    let over = if items.len() > limits.entries {
        format!("{} entries are over the limit of {}", items.len(), limits.entries)
    } else if total > limits.bytes {
        format!("{} MiB are over the limit of {}", total.div_ceil(1 << 20), Bytes(limits.bytes))
    } else {
        return Ok(());
    };
    let mut biggest: Vec<&Item> = items.iter().filter(|item| size(item) > 0).collect();
    biggest.sort_unstable_by_key(|item| std::cmp::Reverse(size(item)));
    let biggest: Vec<String> = biggest.iter().take(5).map(|i| format!("{} ({} KiB)", i.path, size(i) >> 10)).collect();
    Err(Fault::new(Code::ArchiveTooLarge, format!("{over}; the biggest files are {}", biggest.join(", "))))
}

fn refused(detail: String) -> Fault {
    Fault::new(Code::ArchiveUnsafe, detail)
}

pub(crate) fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::BadRequest, format!("cannot read `{}`: {error}", path.display()))
}
