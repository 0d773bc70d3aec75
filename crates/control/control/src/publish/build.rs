//! Builds a folder with its language's own tools.

use super::{
    cache::Cache,
    cargo, go, java, node,
    output::{BuildLog, Output},
    python,
    run::{Call, Session},
    tree::{BuiltTree, Content},
    wasm,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;
use toolchain::{Found, Tool, Toolchain};
use types::{Code, Fault, Manifest, Runtime, manifest};

/// What builds need of the host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tools {
    pub toolchain: Toolchain,
    pub cache: Cache,
    /// For a whole build; the tools are ended with all their children then.
    pub timeout: Duration,
}

impl Tools {
    /// Source for the time: what hosted builders allow by default (Cloud Functions and Lambda's 15 minutes).
    pub const TIMEOUT: Duration = Duration::from_secs(15 * 60);

    pub fn new(toolchain: Toolchain, cache: Cache) -> Self {
        Self { toolchain, cache, timeout: Self::TIMEOUT }
    }

    /// Waits for a tool's discovery off the async threads.
    pub(super) async fn builder(&self, tool: Tool) -> Result<Found, Fault> {
        let toolchain = self.toolchain.clone();
        blocking(move || toolchain.builder(tool).cloned()).await
    }

    /// The program that will run the function.
    pub(super) async fn runtime(&self, runtime: Runtime) -> Result<Option<Found>, Fault> {
        let toolchain = self.toolchain.clone();
        blocking(move || toolchain.runtime(runtime).map(|found| found.cloned())).await
    }
}

/// One build: what its steps share.
pub(super) struct Build<'a> {
    pub(super) session: Session<'a>,
    pub(super) tools: &'a Tools,
    pub(super) manifest: &'a Manifest,
}

/// Builds `folder` in place: a private copy of the function's source, since dependencies, caches' copies and
/// `bootstrap` are written into it.
///
/// | runtime | what runs |
/// |---|---|
/// | nodejs | `npm ci --omit=dev` by the lock file, else `npm install`; with a `build` script all dependencies, the script, then `npm prune` |
/// | python | `pip install --target .mayfly/python`, for the interpreter that will run it; then bytecode |
/// | go | `go build -o bootstrap .` without cgo |
/// | rust | `cargo build --release`; its one binary becomes `bootstrap` |
/// | java | `mvn package` without tests |
/// | wasm | nothing where the component is there; else npm's `build` script or cargo for `wasm32-wasip2` |
/// | binary | nothing |
///
/// `[build] command` in the manifest replaces all of that. Dropping the future ends the tools.
///
/// # Errors
/// `build_failed` where a tool fails (its output is in `log`), `runtime_unavailable` where one is missing,
/// `manifest_invalid` where the manifest names what isn't there, `storage_full`.
pub async fn build(folder: &Path, manifest: &Manifest, tools: &Tools, log: &dyn BuildLog) -> Result<BuiltTree, Fault> {
    let session = Session {
        dir: folder,
        output: Output::new(log),
        deadline: Instant::now() + tools.timeout,
        timeout: tools.timeout,
        home: home(&tools.cache)?,
    };
    let build = Build { session, tools, manifest };
    let content = build.run().await;
    build.session.output.finish();
    Ok(BuiltTree::new(folder, content?))
}

impl Build<'_> {
    async fn run(&self) -> Result<Content, Fault> {
        if let Some(own) = &self.manifest.build {
            self.own(&own.command).await?;
            return self.content_of_own();
        }
        match self.manifest.runtime {
            Runtime::Nodejs => node::build(self).await.map(|()| Content::Everything),
            Runtime::Python => python::build(self).await.map(|()| Content::Everything),
            Runtime::Go => go::build(self).await,
            Runtime::Rust => cargo::build(self).await,
            Runtime::Java => java::build(self).await,
            Runtime::Wasm => wasm::build(self).await,
            Runtime::Binary => Ok(Content::Everything),
        }
    }

    /// The manifest's own command, which must leave what runs.
    async fn own(&self, command: &[String]) -> Result<(), Fault> {
        let Some((program, args)) = command.split_first() else {
            self.session.output.step("Nothing to build: [build] command is empty");
            return Ok(());
        };
        // With a slash it is the folder's own program, as in a shell.
        let path = if program.contains('/') { self.dir().join(program) } else { PathBuf::from(program) };
        self.session.run(&Call::new(program, &path).args(args)).await
    }

    fn content_of_own(&self) -> Result<Content, Fault> {
        match self.manifest.runtime {
            Runtime::Wasm => wasm::component(self),
            Runtime::Go => Ok(Content::Go),
            Runtime::Rust => Ok(Content::Rust),
            Runtime::Java | Runtime::Nodejs | Runtime::Python | Runtime::Binary => Ok(Content::Everything),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.session.dir
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.dir().join(file).is_file()
    }

    /// Says what there was no need for.
    pub(super) fn skip(&self, why: &str) {
        self.session.output.step(&format!("Nothing to build: {why}"));
    }

    /// Copies a dependency tree from the cache to `path` in the folder; false where it has to be made. A cache that fails
    /// is no reason for a build to fail.
    pub(super) async fn fetch(&self, key: &str, path: &str) -> Result<bool, Fault> {
        let (cache, entry, dest) = (self.tools.cache.clone(), key.to_owned(), self.dir().join(path));
        let found = blocking(move || {
            if dest.exists() {
                std::fs::remove_dir_all(&dest).map_err(disk)?;
            }
            Ok(cache.fetch(&entry, &dest))
        })
        .await?;
        match found {
            Ok(true) => {
                self.session
                    .output
                    .step(&format!("{path} comes from the cache: nothing that decides about it has changed"));
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                tracing::warn!(key, %error, "a cached tree cannot be used");
                Ok(false)
            }
        }
    }

    /// Keeps a copy of the tree at `path` for the next build.
    pub(super) async fn keep(&self, key: &str, path: &str) -> Result<(), Fault> {
        let (cache, entry, source) = (self.tools.cache.clone(), key.to_owned(), self.dir().join(path));
        if let Err(error) = blocking(move || Ok(cache.keep(&entry, &source))).await? {
            tracing::warn!(key, %error, "a tree cannot be cached");
        }
        Ok(())
    }
}

/// A home for the tools: `None` where the platform's own can be written.
fn home(cache: &Cache) -> Result<Option<PathBuf>, Fault> {
    let own = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let writable = own.is_some_and(|home| rustix::fs::access(home, rustix::fs::Access::WRITE_OK).is_ok());
    if writable { Ok(None) } else { cache.home().map(Some).map_err(disk) }
}

/// Runs work that waits for the disk or the processor off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(job).await.map_err(Fault::internal)?
}

pub(super) fn disk(error: std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Fault::new(Code::StorageFull, format!("no space left for the build: {error}"))
        }
        _ => Fault::internal(format_args!("the build's folder: {error}")),
    }
}

pub(super) fn failed(detail: impl Into<String>) -> Fault {
    Fault::new(Code::BuildFailed, detail.into())
}

pub(super) fn invalid(key: &str, detail: impl std::fmt::Display) -> Fault {
    Fault::new(Code::ManifestInvalid, format!("{key}: {detail} ({})", manifest::FILE))
}
