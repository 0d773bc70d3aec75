//! Where a trial plays: a folder, a sandbox on it, and the words that trials are written in.

use libtest_mimic::Failed;
use sandbox::{BoxFuture, Exit, Limits, Mode, Options, Plan, Process, Running, Sandbox, Users};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, time::Instant};
use types::InstanceId;

pub type Check = for<'a> fn(&'a Scene) -> BoxFuture<'a, ()>;

/// A trial that waits so long for a state will wait for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What all trials share: a copy of this program that any user may execute.
#[derive(Clone)]
pub struct Stage {
    folder: Arc<TempDir>,
}

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("mayfly-sandbox-").tempdir().unwrap();
        open_to_all(folder.path());
        fs::copy(env::current_exe().unwrap(), folder.path().join("actor")).unwrap();
        Self { folder: Arc::new(folder) }
    }

    pub fn actor(&self) -> PathBuf {
        self.folder.path().join("actor")
    }
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

pub struct Scene {
    pub stage: Stage,
    pub folder: TempDir,
    pub process: Process,
}

impl Scene {
    /// Runs a check on a fresh scene; afterwards nothing may be left of any instance.
    pub fn play(stage: &Stage, check: Check) -> Result<(), Failed> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let folder = tempfile::Builder::new().prefix("trial-").tempdir_in(stage.folder.path())?;
            open_to_all(folder.path());
            // For what actors of any user write.
            fs::create_dir(folder.path().join("open"))?;
            fs::set_permissions(folder.path().join("open"), fs::Permissions::from_mode(0o777))?;
            let process = Process::new(options(folder.path()))?;
            let scene = Self { stage: stage.clone(), folder, process };
            tokio::time::timeout(PATIENCE, async {
                check(&scene).await;
                scene.process.idle().await;
            })
            .await
            .map_err(|_| Failed::from(format!("not done in {PATIENCE:?}")))?;
            let left: Vec<_> = fs::read_dir(scene.path("run/instances"))?.flatten().collect();
            if left.is_empty() { Ok(()) } else { Err(Failed::from(format!("records are left: {left:?}"))) }
        })
    }

    pub fn sandbox(&self) -> &dyn Sandbox {
        &self.process
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn plan(&self, program: impl Into<PathBuf>, args: &[&str]) -> Plan {
        let id = InstanceId::random();
        Plan {
            id,
            program: program.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            cwd: self.folder.path().into(),
            tmp: self.path(&format!("tmp-{id}")),
            limits: Limits::default(),
            mode: Mode::Serve,
            grace: PATIENCE,
        }
    }

    pub fn shell(&self, script: &str) -> Plan {
        self.plan("/bin/sh", &["-c", script])
    }

    /// User code of ours.
    pub fn actor(&self, args: &[&str]) -> Plan {
        self.plan(self.stage.actor(), &[&["actor"], args].concat())
    }

    pub async fn start(&self, plan: Plan) -> Running {
        self.sandbox().start(plan).await.unwrap()
    }

    /// Runs to the end.
    pub async fn run(&self, plan: Plan) -> Done {
        finish(self.start(plan).await).await
    }
}

pub fn options(folder: &Path) -> Options {
    Options {
        guest: vec!["/proc/self/exe".into(), "guest".into()],
        run_dir: folder.join("run"),
        users: Users::detect(),
    }
}

/// An instance that ended by itself.
#[derive(Debug)]
pub struct Done {
    pub stdout: String,
    pub stderr: String,
    pub exit: Exit,
}

pub async fn finish(running: Running) -> Done {
    let Running { instance, mut stdout, mut stderr } = running;
    let (mut out, mut err) = (String::new(), String::new());
    let (read_out, read_err) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    read_out.unwrap();
    read_err.unwrap();
    Done { stdout: out, stderr: err, exit: instance.wait().await }
}

/// Reads until the words came.
pub async fn hear(from: &mut (impl tokio::io::AsyncRead + Unpin), words: &str) {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(words) {
        let read = from.read_buf(&mut heard).await.unwrap();
        assert!(read > 0, "ended before `{words}`: {}", String::from_utf8_lossy(&heard));
    }
}

/// Waits for a state that nothing tells of.
pub async fn until(what: &str, mut state: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !state() {
        assert!(begun.elapsed() < PATIENCE / 2, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The pids in a file that actors wrote, one a line.
pub fn pids(file: &Path) -> Vec<i32> {
    fs::read_to_string(file).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
}

pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub async fn until_gone(pids: &[i32]) {
    assert!(!pids.is_empty());
    until(&format!("all of {pids:?} are gone"), || !pids.iter().any(|pid| is_alive(*pid))).await;
}

/// The guest of an instance, from its record.
pub fn guest_of(folder: &Path, id: InstanceId) -> i32 {
    let text = fs::read(folder.join(format!("run/instances/{id}.json"))).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["guest"].as_i64().unwrap() as i32
}

/// Signals a process that this test started.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}
