//! Instances as processes with a user, limits and an environment of their own: what every Linux allows.

use crate::{
    BoxFuture, Error, Isolation, Plan, Running, Sandbox, Users, supervise, sweep,
    table::Shared,
    users::{self, Allocator},
};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::{oneshot, watch};
use types::InstanceId;

#[derive(Debug, Clone)]
pub struct Options {
    /// The guest's program and first arguments: `["/proc/self/exe", "guest"]` where it is in this binary.
    pub guest: Vec<OsString>,
    /// For this platform alone: records of what runs, and a lock.
    pub run_dir: PathBuf,
    pub users: Users,
}

/// The process sandbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) users: Allocator,
    pub(crate) table: Arc<Shared>,
    /// Instances of which something is left.
    live: watch::Sender<HashSet<InstanceId>>,
    _lock: File,
}

impl Process {
    /// Takes `run_dir` for this platform.
    ///
    /// # Errors
    /// [`Error::Locked`] where another platform has it.
    pub fn new(mut options: Options) -> Result<Self, Error> {
        // The guest starts in `/`.
        if let Some(program) = options.guest.first_mut().filter(|program| program.as_encoded_bytes().contains(&b'/')) {
            *program = std::path::absolute(&program).map_err(Error::io("cannot tell the current folder"))?.into();
        }
        let run_dir = &options.run_dir;
        let make = |folder: PathBuf| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        make(run_dir.join("instances")).map_err(Error::io(format!("cannot make {}", run_dir.display())))?;
        let lock =
            users::lock(&run_dir.join("lock")).map_err(Error::io(format!("cannot lock {}", run_dir.display())))?;
        let Some(lock) = lock else { return Err(Error::Locked(options.run_dir)) };
        Ok(Self(Arc::new(Inner {
            users: Allocator::new(options.users.clone()),
            table: Arc::default(),
            live: watch::Sender::default(),
            _lock: lock,
            options,
        })))
    }

    /// Ends what an earlier platform with the same `run_dir` left, and removes its folders. Call it before the first
    /// start; instances of this platform are passed over.
    ///
    /// # Errors
    /// Where records cannot be read, or a process cannot be killed.
    pub async fn sweep(&self) -> Result<sweep::Swept, Error> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || sweep::all(&inner)).await.map_err(|_| Error::Stopping)?
    }

    /// Resolves once nothing is left of any instance: no process, no folder, no record.
    pub async fn idle(&self) {
        let mut live = self.0.live.subscribe();
        // Never closed: `self` has the sender.
        let _seen = live.wait_for(HashSet::is_empty).await;
    }
}

impl Sandbox for Process {
    fn start(&self, plan: Plan) -> BoxFuture<'_, Result<Running, Error>> {
        Box::pin(async move {
            let (started, outcome) = oneshot::channel();
            // A task of its own, so that dropping this future cannot tear the start in half. It ends with the instance.
            tokio::spawn(supervise::run(self.0.clone(), plan, started));
            outcome.await.map_err(|_| Error::Stopping)?
        })
    }

    fn isolation(&self) -> Isolation {
        let user = match &self.0.options.users {
            Users::Pool(pool) => Ok(format!("own user per instance ({} and up)", pool.base)),
            Users::Own if rustix::process::geteuid().is_root() => Err("any user but root".to_owned()),
            Users::Own => Err("own user per instance (start the platform as root)".to_owned()),
        };
        let always = [
            "own process group",
            "no new privileges",
            "own folder",
            "own environment",
            "limits on files and processes",
        ];
        let mut holds: Vec<String> = always.map(str::to_owned).into();
        let mut lacks: Vec<String> = ["namespaces", "cgroups", "system call filter"].map(str::to_owned).into();
        match user {
            Ok(user) => holds.insert(0, user),
            Err(user) => lacks.insert(0, user),
        }
        Isolation { holds, lacks, tenants: false }
    }
}

impl Inner {
    pub(crate) fn folder(&self) -> PathBuf {
        self.options.run_dir.join("instances")
    }

    pub(crate) fn is_live(&self, id: InstanceId) -> bool {
        self.live.borrow().contains(&id)
    }

    /// False where it is there already.
    pub(crate) fn enter(&self, id: InstanceId) -> bool {
        self.live.send_if_modified(|live| live.insert(id))
    }

    pub(crate) fn leave(&self, id: InstanceId) {
        self.live.send_if_modified(|live| live.remove(&id));
    }
}
