//! The instances of one host: fetch and unpack code, start, probe, call, watch, stop, and keep what they print.
//!
//! A cold start is [`start`], phase by phase; a call is one of [`link`]'s ways, one for each contract.
//!
//! **Invariant**: it decides nothing about how many instances there are and which call goes where; it knows nothing
//! about aliases, routes or other hosts.

mod address;
mod artifact;
mod event;
mod instance;
mod launch;
mod link;
mod log;
mod port;
mod ready;
mod start;
mod wasm;
mod watch;

pub use log::Options as LogOptions;

use chassis::Lanes;
use instance::Instance;
use log::Journal;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use toolchain::Toolchain;
use types::{Event, Fault, FunctionName, InstanceId, LogLine, Revision, RevisionId, api::InstanceView, record::Stream};
use wire::{Artifacts, BoxFuture, Exit, Host, LogFilter, Logs, Started, Stop};

/// Where an agent keeps its things.
pub struct Options {
    /// Unpacked artifacts, compiled components, bootstraps: can be made again.
    pub cache_dir: PathBuf,
    /// Instances' own folders and sockets: short, because a socket's path has at most 107 bytes.
    pub run_dir: PathBuf,
    pub logs: LogOptions,
    /// `argv` of what compiles a component: `… IN OUT`.
    pub compiler: Vec<OsString>,
}

/// What an agent stands on.
pub struct Deps {
    pub artifacts: Arc<dyn Artifacts>,
    pub sandbox: Arc<dyn sandbox::Sandbox>,
    pub engine: sandbox_wasm::Engine,
    pub toolchain: Toolchain,
    pub lanes: Arc<Lanes>,
    /// The way out for code that has a binding.
    pub outbound: bindings::Client,
}

/// The agent. Clones share it.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    artifacts: artifact::Cache,
    modules: Arc<wasm::Modules>,
    sandbox: Arc<dyn sandbox::Sandbox>,
    toolchain: Toolchain,
    lanes: Arc<Lanes>,
    journal: Journal,
    outbound: bindings::Client,
    run_dir: PathBuf,
    bootstraps: PathBuf,
    instances: Mutex<HashMap<InstanceId, Arc<Instance>>>,
    next_lane: AtomicUsize,
}

/// Started by the runtimes that need them; anybody may read them.
const BOOTSTRAPS: [(&str, &str); 2] =
    [("node.mjs", include_str!("../bootstrap/node.mjs")), ("python.py", include_str!("../bootstrap/python.py"))];

impl Agent {
    /// Opens the caches and starts watching memory. Must be called on the shared runtime.
    ///
    /// # Errors
    /// Where a folder cannot be made or written.
    pub fn new(options: Options, deps: Deps) -> io::Result<Self> {
        let bootstraps = options.cache_dir.join("bootstraps");
        fs::create_dir_all(&bootstraps)?;
        fs::set_permissions(&options.cache_dir, fs::Permissions::from_mode(0o755))?;
        for (name, text) in BOOTSTRAPS {
            // Renamed into place: another platform of the same data directory may be starting from it.
            let partial = bootstraps.join(format!("{name}.{}", std::process::id()));
            fs::write(&partial, text)?;
            fs::rename(partial, bootstraps.join(name))?;
        }
        let inner = Arc::new(Inner {
            artifacts: artifact::Cache::open(options.cache_dir.join("artifacts"), deps.artifacts)?,
            modules: wasm::Modules::open(deps.engine, options.cache_dir.join("wasm"), options.compiler)?,
            sandbox: deps.sandbox,
            toolchain: deps.toolchain,
            lanes: deps.lanes,
            outbound: deps.outbound,
            journal: Journal::start(options.logs)?,
            run_dir: options.run_dir,
            bootstraps,
            instances: Mutex::default(),
            next_lane: AtomicUsize::new(0),
        });
        watch::spawn(&inner);
        Ok(Self(inner))
    }
}

impl Inner {
    fn next_lane(&self) -> usize {
        self.next_lane.fetch_add(1, Ordering::Relaxed)
    }

    fn instance(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.instances.lock().get(&id).cloned()
    }

    async fn stop(&self, id: InstanceId, how: Stop) {
        let Some(instance) = self.instance(id) else { return };
        instance.end(match how {
            Stop::Gently => Exit::Stopped,
            Stop::Overdue => Exit::Deadline,
        });
        instance.wait().await;
        if instance.process.is_none() {
            self.instances.lock().remove(&id);
            let others =
                self.instances.lock().values().any(|other| other.revision.artifact == instance.revision.artifact);
            if !others {
                self.modules.unload(&instance.revision.artifact);
            }
        }
    }
}

impl Host for Agent {
    fn start(&self, revision: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        Box::pin(self.0.start(revision))
    }

    fn stop(&self, id: InstanceId, how: Stop) -> BoxFuture<'_, ()> {
        Box::pin(self.0.stop(id, how))
    }

    fn instances(&self) -> Vec<InstanceView> {
        let instances: Vec<_> = self.0.instances.lock().values().cloned().collect();
        instances.iter().map(|instance| instance.view()).collect()
    }

    fn cpu(&self, revisions: &dyn Fn(&RevisionId) -> bool) -> Vec<(RevisionId, InstanceId, Duration)> {
        let instances: Vec<_> = self.0.instances.lock().values().cloned().collect();
        let used = instances.iter().filter(|instance| revisions(&instance.revision.id)).filter_map(|instance| {
            let process = instance.process.as_ref()?;
            Some((instance.revision.id.clone(), instance.id, process.cpu()))
        });
        used.collect()
    }
}

impl Logs for Agent {
    fn read(&self, filter: LogFilter) -> BoxFuture<'_, tokio::sync::mpsc::Receiver<LogLine>> {
        self.0.journal.read(filter)
    }

    fn forget(&self, function: &FunctionName) {
        self.0.journal.forget(function);
    }

    fn note(&self, event: &Event) {
        self.0.journal.try_write(LogLine {
            time: event.time,
            revision: event.revision.clone(),
            instance: event.instance.unwrap_or_default(),
            invocation: None,
            stream: Stream::Platform,
            text: format!("{}: {}", event.what.as_str(), event.text),
        });
    }
}
