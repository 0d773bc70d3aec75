//! What this host has: the programs that run functions and the tools that build them.
//!
//! [`Toolchain::discover`] returns at once; each program is looked for when it is first asked for (the runtimes in the
//! background already), run once for its version, and remembered. Where functions run as another user than the
//! platform, only a runtime that everybody may execute counts: below a home directory of mode 0700 even the best
//! interpreter is of no use.
//!
//! Reading order: [`program`] says what is looked for, [`probe`] runs it, [`reach`] says who may execute it.
//!
//! **Invariant**: this crate starts nothing but `--version` calls; it knows nothing about functions or sandboxes.

mod probe;
mod program;
mod reach;

pub use program::{Found, Tool};
pub use reach::others_can_execute;

use program::Program;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use types::{Code, Fault, Runtime};

/// The programs of this host. Cheap to clone; clones share what was found.
#[derive(Debug, Clone)]
pub struct Toolchain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Functions run as another user than the platform.
    unprivileged: bool,
    /// Where programs are looked for, in this order.
    folders: Vec<PathBuf>,
    found: [OnceLock<Result<Found, Fault>>; Program::ALL.len()],
}

impl Toolchain {
    /// Looks in `PATH` and the system's usual folders. With `unprivileged`, a runtime counts only where every user may
    /// execute it. Returns at once; the runtimes are looked for in the background.
    pub fn discover(unprivileged: bool) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
        let toolchain = Self::within(std::env::split_paths(&path).chain(usual), unprivileged);
        let background = toolchain.clone();
        // Nobody waits for this thread: whoever asks sooner finds out for himself.
        let spawned = std::thread::Builder::new().name("toolchain".into()).spawn(move || {
            for runtime in Runtime::ALL {
                let _ = background.runtime(runtime);
            }
        });
        drop(spawned);
        toolchain
    }

    /// Looks in `folders` only, each program when it is first asked for.
    pub fn within(folders: impl IntoIterator<Item = PathBuf>, unprivileged: bool) -> Self {
        let mut unique: Vec<PathBuf> = Vec::new();
        for folder in folders {
            if folder.is_absolute() && !unique.contains(&folder) {
                unique.push(folder);
            }
        }
        Self(Arc::new(Inner { unprivileged, folders: unique, found: Default::default() }))
    }

    /// The program that runs functions of `runtime`; `None` where they run by themselves (go, rust, binary) or in the
    /// platform (wasm). Blocks for up to some 100 ms when it is the first to ask.
    ///
    /// # Errors
    /// `runtime_unavailable` with what was looked for and why each candidate was refused.
    pub fn runtime(&self, runtime: Runtime) -> Result<Option<&Found>, Fault> {
        let program = match runtime {
            Runtime::Nodejs => Program::Node,
            Runtime::Python => Program::Python,
            Runtime::Java => Program::Java,
            Runtime::Go | Runtime::Rust | Runtime::Binary | Runtime::Wasm => return Ok(None),
        };
        self.find(program, self.0.unprivileged).map(Some)
    }

    /// A tool that builds functions; it runs as the platform's user. Blocks like [`Toolchain::runtime`].
    ///
    /// # Errors
    /// `runtime_unavailable` with what was looked for.
    pub fn builder(&self, tool: Tool) -> Result<&Found, Fault> {
        self.find(Program::Tool(tool), false)
    }

    /// All Pythons of the search folders that the platform itself can run, the first first: one of them may have the
    /// `pip` that the runtime's interpreter lacks. Runs each; blocks.
    pub fn pythons(&self) -> Vec<Found> {
        let candidates = probe::candidates(&self.0.folders, Program::Python.names());
        candidates.filter_map(|path| probe::probe(Program::Python, &path).ok()).collect()
    }

    fn find(&self, program: Program, for_others: bool) -> Result<&Found, Fault> {
        let look = || probe::search(program, &self.0.folders, for_others);
        let cell = self.0.found.get(program.index()).ok_or_else(|| Fault::internal("a program without a place"))?;
        cell.get_or_init(|| look().map_err(|detail| Fault::new(Code::RuntimeUnavailable, detail)))
            .as_ref()
            .map_err(Fault::clone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
