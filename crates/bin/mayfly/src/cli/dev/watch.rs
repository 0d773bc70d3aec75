//! Waits for saves: one wake-up for each burst of them, and none for files that are not deployed.

use super::super::failure::{Failure, Outcome};
use ignore::WalkBuilder;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event};
use std::{
    collections::{HashMap, HashSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{Instant as Moment, timeout, timeout_at},
};

/// A burst of saves is over after this long without another. Editors write, rename and set times within a few ms.
const QUIET: Duration = Duration::from_millis(30);
/// A burst that does not end is looked at all the same.
const BURST_MAX: Duration = Duration::from_millis(300);
/// Folders watched at most; the kernel's own limit is of the same order.
const FOLDERS_MAX: usize = 8192;

/// What a file looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    modified_ns: i128,
    size: u64,
    mode: u32,
    inode: u64,
}

/// A folder with everything in it that is deployed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Picture {
    files: HashMap<PathBuf, Seen>,
    folders: HashSet<PathBuf>,
}

/// Watches a folder.
pub struct Watch {
    dir: PathBuf,
    watcher: RecommendedWatcher,
    /// Holds at most one wake-up: it says that something happened, not what.
    wakes: mpsc::Receiver<()>,
    picture: Picture,
}

impl Watch {
    /// # Errors
    /// A machine failure where the kernel's limit of watches is reached.
    pub fn new(dir: &Path) -> Outcome<Self> {
        let (wake, wakes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, counts) {
                let _ = wake.try_send(());
            }
        });
        let watcher = watcher.map_err(refused)?;
        let mut watch = Self { dir: dir.to_owned(), watcher, wakes, picture: Picture::default() };
        watch.look()?;
        Ok(watch)
    }

    /// Resolves once a deployed file was changed, added or removed, and the burst is over; gives the moment of its
    /// first event.
    ///
    /// # Errors
    /// As [`Watch::new`].
    pub async fn changed(&mut self) -> Outcome<Instant> {
        loop {
            if self.wakes.recv().await.is_none() {
                return Err(Failure::Machine("the kernel watches the folder no more".to_owned()));
            }
            let first = Instant::now();
            let end = Moment::now() + BURST_MAX;
            while let Ok(Ok(Some(()))) = timeout_at(end, timeout(QUIET, self.wakes.recv())).await {}
            if self.look()? {
                return Ok(first);
            }
        }
    }

    /// Looks at the folder and watches what is new in it; true where a file differs from the last look.
    fn look(&mut self) -> Outcome<bool> {
        let mut known = HashSet::new();
        // A folder may get files between the look at it and the watch on it: look again until no folder is new.
        let picture = loop {
            let picture = picture(&self.dir);
            if picture.folders.len() > FOLDERS_MAX {
                return Err(Failure::Machine(format!(
                    "{} has more than {FOLDERS_MAX} folders: leave some out with .mayflyignore",
                    self.dir.display()
                )));
            }
            let fresh: Vec<PathBuf> = picture.folders.difference(&known).cloned().collect();
            if fresh.is_empty() {
                break picture;
            }
            for folder in fresh {
                self.add(&folder)?;
                known.insert(folder);
            }
        };
        let differs = picture.files != self.picture.files;
        self.picture = picture;
        Ok(differs)
    }

    /// Watching twice is no harm, and a folder that was made anew has lost its watch.
    fn add(&mut self, folder: &Path) -> Outcome {
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(()),
            // It went away meanwhile: its parent's watch has told or will tell.
            Err(_) if !folder.is_dir() => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Reading a file is no change; our own packing reads them all.
fn counts(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(access) => access == event::AccessKind::Close(event::AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

fn refused(error: notify::Error) -> Failure {
    let hint = match error.kind {
        notify::ErrorKind::MaxFilesWatch => " (raise the sysctl fs.inotify.max_user_watches)",
        _ => "",
    };
    Failure::Machine(format!("cannot watch the folder: {error}{hint}"))
}

/// The folder by the rules of [`pack::Pack::source`], which is what a deploy takes.
fn picture(dir: &Path) -> Picture {
    let mut builder = WalkBuilder::new(dir);
    builder.standard_filters(false).follow_links(false).parents(false);
    builder.git_ignore(true).require_git(false).add_custom_ignore_filename(".mayflyignore");
    builder.filter_entry(|entry| entry.file_name() != ".git");
    let mut picture = Picture::default();
    // What can't be read is told by the deploy.
    for entry in builder.build().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            picture.folders.insert(entry.into_path());
            continue;
        }
        let seen = Seen {
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            size: metadata.len(),
            mode: metadata.mode(),
            inode: metadata.ino(),
        };
        picture.files.insert(entry.into_path(), seen);
    }
    picture
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::fs;

    /// Far longer than any event takes; a test that waits for it fails.
    const LIMIT: Duration = Duration::from_secs(20);

    async fn changed(watch: &mut Watch) {
        timeout(LIMIT, watch.changed()).await.expect("the change is seen").unwrap();
    }

    #[tokio::test]
    async fn a_save_is_seen_however_the_editor_writes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index.js");
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();

        fs::write(&file, "22").unwrap();
        changed(&mut watch).await;

        fs::write(dir.path().join("new"), "333").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        changed(&mut watch).await;

        fs::remove_file(&file).unwrap();
        changed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_new_folder_is_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("lib/deep")).unwrap();
        fs::write(dir.path().join("lib/deep/b"), "1").unwrap();
        changed(&mut watch).await;
        fs::write(dir.path().join("lib/deep/b"), "22").unwrap();
        changed(&mut watch).await;

        fs::remove_dir_all(dir.path().join("lib")).unwrap();
        changed(&mut watch).await;
        fs::create_dir_all(dir.path().join("lib/deep")).unwrap();
        fs::write(dir.path().join("lib/deep/b"), "1").unwrap();
        changed(&mut watch).await;
        fs::write(dir.path().join("lib/deep/b"), "333").unwrap();
        changed(&mut watch).await;
    }

    #[test]
    fn what_is_not_deployed_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".gitignore", "node_modules/\n*.log\n");
        write(".mayflyignore", "notes\n");
        write("index.js", "1");
        write("node_modules/x/index.js", "1");
        let mut watch = Watch::new(dir.path()).unwrap();
        let watched: Vec<_> = watch.picture.folders.iter().cloned().collect();
        assert_eq!(watched, [dir.path()], "ignored folders cost no watch");

        write("node_modules/x/index.js", "22");
        write("notes", "22");
        write("a.log", "22");
        write(".git/HEAD", "22");
        assert!(!watch.look().unwrap());
        write("index.js", "22");
        assert!(watch.look().unwrap());
        assert!(!watch.look().unwrap());
        write(".gitignore", "*.log\n");
        assert!(watch.look().unwrap(), "files that come back count");
    }

    #[test]
    fn the_picture_has_what_a_deploy_packs() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a", "b/c", "b/d.log", "dist/e", ".hidden", "target/f", ".git/config"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::write(dir.path().join(".gitignore"), "*.log\ndist/\ntarget/\n").unwrap();
        fs::write(dir.path().join(".mayflyignore"), "!dist/\n").unwrap();
        let packed = std::cell::RefCell::new(Vec::new());
        let keep = |path: &Path| {
            packed.borrow_mut().push(dir.path().join(path));
            true
        };
        pack::Pack::source().keep(&keep).measure(dir.path()).unwrap();
        let mut packed = packed.take();
        let mut seen: Vec<PathBuf> = picture(dir.path()).files.into_keys().collect();
        packed.sort();
        seen.sort();
        assert_eq!(seen, packed);
        assert!(seen.contains(&dir.path().join("dist/e")), "{seen:?}");
    }
}
