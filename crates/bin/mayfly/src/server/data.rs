//! The data directory: what is where in it, and who may look.

use crate::cli::place::TOKEN_FILE;
use anyhow::{Context, bail};
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A socket's path has at most 107 bytes (unix(7)): what an instance's own part of it leaves for the folder.
const RUN_DIR_MAX: usize = 60;

pub struct DataDir {
    pub root: PathBuf,
}

impl DataDir {
    /// Makes the folders. The directory itself may be passed through, because functions run as other users and their
    /// code lies below it; what is nobody's business has a mode of its own.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make the data directory {}", root.display()))?;
        let root = root.canonicalize()?;
        let dir = Self { root };
        for (folder, mode) in
            [("", 0o711), ("cache", 0o755), ("run", 0o711), ("blobs", 0o700), ("logs", 0o700), ("deploy", 0o700)]
        {
            let path = dir.root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        if rustix::process::geteuid().is_root() {
            dir.check_passage()?;
        }
        Ok(dir)
    }

    /// Functions run as other users: each folder on the way to their code has to let them through.
    fn check_passage(&self) -> anyhow::Result<()> {
        for folder in self.root.ancestors() {
            let mode = fs::metadata(folder)?.permissions().mode();
            if mode & 0o001 == 0 {
                bail!(
                    "functions run as users of their own, and {} (mode {:o}) lets no other user through: \
                     choose another --data-dir, or `chmod o+x` it",
                    folder.display(),
                    mode & 0o7777
                );
            }
        }
        Ok(())
    }

    /// The right to write the records, held for as long as the file is open.
    ///
    /// # Errors
    /// Where another process has it.
    pub fn lock(&self) -> anyhow::Result<fs::File> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "another platform runs on {}: stop it, choose another --data-dir, or have `mayfly up --take-over` \
                 replace it without a refused request",
                self.root.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Where process sandboxes keep their records: two, because a platform that is taken over ends its calls while
    /// its heir starts instances.
    pub fn sandboxes(&self) -> [PathBuf; 2] {
        ["run/sandbox", "run/sandbox-2"].map(|folder| self.root.join(folder))
    }

    pub fn records(&self) -> PathBuf {
        self.root.join("records.sqlite")
    }

    /// Where instances have their folders and sockets. A long data directory gets a short stand-in.
    pub fn run(&self) -> anyhow::Result<PathBuf> {
        let own = self.root.join("run/i");
        let dir = if own.as_os_str().len() <= RUN_DIR_MAX { own } else { self.short_run() };
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o711))?;
        Ok(dir)
    }

    /// Named by the data directory, so that the next start finds it again.
    fn short_run(&self) -> PathBuf {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        std::env::temp_dir().join(format!("mayfly-{:016x}", hasher.finish()))
    }

    /// The first token, made at the first start; only its owner may read it.
    pub fn token(&self) -> anyhow::Result<String> {
        let path = self.root.join(TOKEN_FILE);
        if let Ok(token) = fs::read_to_string(&path) {
            let token = token.trim().to_owned();
            if token.len() >= 32 {
                return Ok(token);
            }
        }
        let mut random = [0_u8; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Whole or absent: a start that is killed here leaves no half token.
        let partial = path.with_extension("partial");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        Ok(token)
    }
}
