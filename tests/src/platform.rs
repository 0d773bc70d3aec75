//! A platform of its own for a test: started, killed and started again on one data directory.

use crate::{
    cli::{self, Cli, Ended},
    folder::Folder,
    http::{Client, Response},
    processes, spawn,
    wait::{eventually, none_left, until},
};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak, mpsc},
    thread,
    time::Duration,
};

/// Longest time from the start of the process to its serving, in a debug build on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
/// Lines of the platform's own log that a failing test shows.
const LOG_SHOWN: usize = 60;

/// How a platform is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Arguments after `up`.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Shell commands run before it, in a mount namespace of its own; `$DATA` is the data directory. Needs root.
    pub before: Option<String>,
}

/// A running platform. Dropped, it is killed, and so is what it started.
pub struct Platform {
    start: Start,
    root: tempfile::TempDir,
    child: Child,
    /// Started by the platform itself, so nobody's child here.
    heir: Option<u32>,
    served: Served,
    /// What it prints after the line that says that it serves.
    stdout: Mutex<mpsc::Receiver<String>>,
}

/// What `up --json` says.
struct Served {
    gateway: String,
    api: String,
    admin: String,
    token_file: String,
}

static SHARED: Mutex<Weak<Platform>> = Mutex::new(Weak::new());

impl Platform {
    pub fn start() -> Self {
        Self::start_with(Start::default())
    }

    /// One for all tests that change nothing but functions of their own; it lives as long as one of them holds it.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(platform) = shared.upgrade() {
            return platform;
        }
        let platform = Arc::new(Self::start());
        *shared = Arc::downgrade(&platform);
        platform
    }

    /// # Panics
    /// Where it does not serve.
    pub fn start_with(start: Start) -> Self {
        let root = tempfile::Builder::new().prefix("mayfly-e2e-").tempdir().unwrap();
        // Functions run as users of their own, and have to pass through.
        fs::set_permissions(root.path(), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        let (child, served, stdout) = launch(&start, root.path());
        Self { start, root, child, heir: None, served, stdout: Mutex::new(stdout) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Of this test alone; gone with the platform.
    pub fn scratch(&self) -> PathBuf {
        let dir = self.root.path().join("scratch");
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Where functions answer.
    pub fn gateway(&self) -> Client {
        Client::new(&self.served.gateway)
    }

    pub fn gateway_url(&self) -> &str {
        &self.served.gateway
    }

    /// The API, with the token.
    pub fn api(&self) -> Client {
        let token = fs::read_to_string(&self.served.token_file).unwrap();
        self.api_without_token().with("authorization", &format!("Bearer {}", token.trim()))
    }

    pub fn api_without_token(&self) -> Client {
        Client::new(&self.served.api)
    }

    pub fn admin(&self) -> Client {
        Client::new(&self.served.admin)
    }

    /// Verbs that find this platform.
    pub fn cli(&self) -> Cli {
        Cli::new(self.root.path())
            .env("MAYFLY_API_URL", &self.served.api)
            .env("MAYFLY_TOKEN_FILE", &self.served.token_file)
    }

    pub fn mayfly(&self, args: &[&str]) -> Ended {
        self.cli().run(args)
    }

    /// Deploys a folder; gives the deployment's record.
    ///
    /// # Panics
    /// Where it does not go live.
    #[track_caller]
    pub fn deploy(&self, folder: &Folder) -> Value {
        let deployed = self.mayfly(&["--json", "deploy", &folder.arg()]).ok();
        let record = deployed.json();
        assert_eq!(record["stage"], "live", "{record}");
        record
    }

    /// Sends an archive straight to the API and follows it to its end: the problem, or the deployment's record.
    pub fn upload(&self, name: &str, archive: &[u8]) -> Result<Value, Response> {
        let answer = self.api().post(&format!("/v1/functions/{name}/deployments"), archive);
        if answer.status != 202 {
            return Err(answer);
        }
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        Ok(until(Duration::from_secs(60), "the deployment ends", || {
            let record = self.api().get(&format!("/v1/deployments/{id}")).ok().json();
            matches!(record["stage"].as_str(), Some("live" | "failed")).then_some(record)
        }))
    }

    /// Instances of a function that are ready, as the API tells them.
    pub fn instances(&self, name: &str) -> Vec<Value> {
        let answer = self.api().get(&format!("/v1/functions/{name}/instances"));
        if answer.status != 200 {
            return Vec::new();
        }
        let list = answer.json();
        let instances = list["instances"].as_array().cloned().unwrap_or_default();
        instances.into_iter().filter(|instance| instance["state"] == "ready").collect()
    }

    /// Kills the processes of a function's ready instances, as a crash would, and waits until the platform knows.
    ///
    /// # Panics
    /// Where it has none.
    #[track_caller]
    pub fn kill_instances(&self, name: &str) {
        let pid = |instance: &Value| instance["pid"].as_u64().expect("a process");
        let pids: Vec<u64> = self.instances(name).iter().map(pid).collect();
        assert!(!pids.is_empty(), "{name} has no instance");
        for pid in &pids {
            // SAFETY: a signal to a process that the API names as an instance.
            unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
        }
        eventually(Duration::from_secs(10), "the platform knows that the instances are gone", || {
            !self.instances(name).iter().any(|instance| pids.contains(&pid(instance)))
        });
    }

    /// The last lines of a function's log.
    pub fn logs(&self, name: &str) -> Vec<Value> {
        let answer = self.api().get(&format!("/v1/functions/{name}/logs?tail=10000")).ok();
        answer.text().lines().map(|line| serde_json::from_str(line).expect("a log line")).collect()
    }

    /// Ends it at once, as a crash or the kernel would; what it started is left to itself.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let data = self.data_dir();
        if let Some(heir) = self.heir.take()
            && processes::touching(&data).iter().any(|process| process.pid == heir)
        {
            // SAFETY: a signal to the platform of this data directory, as its command line says.
            unsafe { libc::kill(heir as i32, libc::SIGKILL) };
        }
    }

    /// Starts it again on the same data directory.
    pub fn restart(&mut self) {
        self.kill9();
        let (child, served, stdout) = launch(&self.start, self.root.path());
        (self.child, self.served, self.stdout) = (child, served, Mutex::new(stdout));
    }

    /// Starts another platform on the same data directory that takes over; returns once the old one has ended.
    ///
    /// # Panics
    /// Where it does not serve on the same sockets, or the old one fails.
    pub fn take_over(&mut self, limit: Duration) {
        let start =
            Start { args: [self.start.args.as_slice(), &["--take-over".into()]].concat(), ..self.start.clone() };
        let (child, served, stdout) = launch(&start, self.root.path());
        assert_eq!((&served.gateway, &served.api), (&self.served.gateway, &self.served.api));
        let mut old = std::mem::replace(&mut self.child, child);
        (self.served, self.stdout) = (served, Mutex::new(stdout));
        self.expect_to_end(&mut old, limit);
    }

    /// SIGUSR2: the platform starts its own heir; returns the heir's pid once the old one has ended.
    ///
    /// # Panics
    /// As [`Self::take_over`].
    pub fn replace(&mut self, limit: Duration) -> u32 {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGUSR2) };
        // The heir has the same stdout.
        let line = self.line(limit, "the heir serves");
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("the heir says {line:?}: {error}"));
        assert_eq!(line["gateway"].as_str(), Some(self.served.gateway.as_str()));
        let heir = u32::try_from(line["pid"].as_u64().expect("a pid")).unwrap();
        self.heir = Some(heir);
        let status = until(limit, "the old platform ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "the old platform: {status}");
        heir
    }

    fn expect_to_end(&self, old: &mut Child, limit: Duration) {
        let status = until(limit, "the old platform ends", || old.try_wait().unwrap());
        assert!(status.success(), "the old platform: {status}");
    }

    /// SIGTERM; returns its exit code.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> Option<i32> {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        until(limit, "the platform stops", || self.child.try_wait().unwrap()).code()
    }

    /// The next line that it prints after the one that says that it serves.
    #[track_caller]
    pub fn line(&self, limit: Duration, what: &str) -> String {
        let lines = self.stdout.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lines.recv_timeout(limit).unwrap_or_else(|error| panic!("no line within {limit:?} ({error}): {what}"))
    }

    /// What the platform itself wrote to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(self.root.path())).unwrap_or_default()
    }

    /// The processes below it, in words: guests, instances, tools of builds.
    pub fn children(&self) -> Vec<String> {
        processes::descendants(self.pid()).iter().map(processes::Process::describe).collect()
    }

    /// Waits until no process is left of what it started.
    #[track_caller]
    pub fn expect_no_process(&self, limit: Duration) {
        let dir = self.data_dir();
        none_left(limit, "nothing of the platform runs", || {
            processes::touching(&dir).iter().map(processes::Process::describe).collect()
        });
    }
}

fn log_file(root: &Path) -> PathBuf {
    root.join("platform.log")
}

fn launch(start: &Start, root: &Path) -> (Child, Served, mpsc::Receiver<String>) {
    let data = root.join("data");
    let mut command = command(start, &data);
    let log: File = OpenOptions::new().create(true).append(true).open(log_file(root)).unwrap();
    command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    for name in ["MAYFLY_API_URL", "MAYFLY_TOKEN_FILE", "MAYFLY_DATA_DIR", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.envs(start.env.iter().map(|(name, value)| (name, value)));
    let mut child = spawn::spawn(command).expect("mayfly starts");
    let pipe = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let line = lines.recv_timeout(START_MAX).unwrap_or_else(|error| {
        let _ = child.kill();
        panic!("the platform does not serve ({error}):\n{}", fs::read_to_string(log_file(root)).unwrap_or_default())
    });
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("`up --json` says {line:?}: {error}"));
    let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {line}")).to_owned();
    let token_file = match start.before {
        None => text("token_file"),
        // Its mounts are its own: seen through its root.
        Some(_) => format!("/proc/{}/root{}", child.id(), text("token_file")),
    };
    let served = Served { gateway: text("gateway"), api: text("api"), admin: text("admin"), token_file };
    (child, served, lines)
}

fn command(start: &Start, data: &Path) -> Command {
    let data = data.to_str().unwrap();
    let free = "127.0.0.1:0";
    let args = ["up", "--json", "--data-dir", data, "--listen", free, "--api", free, "--admin", free];
    let mut command = match &start.before {
        None => Command::new(cli::binary()),
        Some(before) => {
            // SAFETY: a plain system call.
            let root = unsafe { libc::geteuid() } == 0;
            assert!(root, "this test changes mounts in a namespace of its own: it has to run as root");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-ec"]).arg(format!("{before}\nexec \"$0\" \"$@\"")).arg(cli::binary());
            command.env("DATA", data);
            command
        }
    };
    command.args(args).args(&start.args);
    command
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the platform's log ---\n{}", lines[lines.len().saturating_sub(LOG_SHOWN)..].join("\n"));
        }
        // Its guests end what they started within moments; their folders can be removed only then.
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while !processes::touching(&self.data_dir()).is_empty() && std::time::Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
