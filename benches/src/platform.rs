//! A platform of its own for a bench: started on free ports and a fresh data directory, used by its command line.

use crate::{
    cpu::Meter,
    load::{Address, Connection, get},
};
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longest wait for an orderly end.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Longest wait for instances to be there.
const READY_MAX: Duration = Duration::from_secs(60);

/// A running platform; it ends when this is dropped.
pub struct Platform {
    binary: PathBuf,
    /// The data directory, and the folders that were deployed.
    place: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    gateway: SocketAddr,
    api_url: String,
    /// From the start of the process until it said that it serves.
    started_in: Duration,
}

#[derive(Deserialize)]
struct Announcement {
    gateway: String,
    api: String,
}

impl Platform {
    /// # Errors
    /// Where it does not start; its own words are in the error.
    pub fn start(binary: &Path) -> anyhow::Result<Self> {
        let place = tempfile::Builder::new().prefix("mayfly-bench-").tempdir()?;
        // Functions run as users of their own and have to get through to their code.
        fs::set_permissions(place.path(), Permissions::from_mode(0o711))?;
        let mut platform = Self { binary: binary.to_owned(), place, running: None };
        platform.run()?;
        Ok(platform)
    }

    /// Ends it and starts it again on the same data.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.running = None;
        self.run()
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.running = Some(self.launch(&[])?);
        Ok(())
    }

    /// Ends it; [`Self::restart`] starts it again.
    pub fn stop(&mut self) {
        self.running = None;
    }

    pub fn started_in(&self) -> anyhow::Result<Duration> {
        Ok(self.running()?.started_in)
    }

    /// Another process takes over; returns once the old one has ended.
    pub async fn take_over(&mut self) -> anyhow::Result<()> {
        let heir = self.launch(&["--take-over"])?;
        let mut old = self.running.replace(heir).context("the platform does not run")?;
        ensure!(old.gateway == self.running()?.gateway, "the heir serves elsewhere");
        let begun = Instant::now();
        while old.child.try_wait()?.is_none() {
            ensure!(begun.elapsed() < READY_MAX, "the platform that was taken over does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Starts a process and waits until it says that it serves.
    fn launch(&self, more: &[&str]) -> anyhow::Result<Running> {
        let log = self.place.path().join("platform.log");
        let mut child = self
            .command()
            .args(["--json", "up", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let (mut line, begun) = (String::new(), Instant::now());
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let Ok(said) = serde_json::from_str::<Announcement>(&line) else {
            let _ = child.kill();
            child.wait()?;
            bail!("the platform does not start: {line}{}", fs::read_to_string(&log)?);
        };
        let gateway = said.gateway.trim_start_matches("http://").parse()?;
        Ok(Running { child, gateway, api_url: said.api, started_in: begun.elapsed() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--data-dir").arg(self.data_dir());
        command
    }

    /// Where the records are.
    pub fn records(&self) -> PathBuf {
        self.data_dir().join("records.sqlite")
    }

    fn data_dir(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn running(&self) -> anyhow::Result<&Running> {
        self.running.as_ref().context("the platform does not run")
    }

    /// A folder for what is deployed.
    pub fn place(&self) -> PathBuf {
        self.place.path().join("functions")
    }

    /// Where functions answer.
    pub fn gateway(&self) -> anyhow::Result<Address> {
        Ok(Address::Tcp(self.running()?.gateway))
    }

    /// The platform's own process, and nothing of its functions.
    pub fn meter(&self) -> anyhow::Result<Meter> {
        Ok(Meter::new(self.pid()?))
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.running()?.child.id())
    }

    /// Threads that serve requests.
    pub fn lanes(&self) -> anyhow::Result<usize> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()?))?;
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        Ok(names.filter(|name| name.starts_with("lane-")).count())
    }

    /// Deploys a folder by the command line; returns once it is live.
    pub fn deploy(&self, folder: &Path) -> anyhow::Result<()> {
        said(&self.verb(&["deploy", &folder.to_string_lossy()])?.output()?).map(drop)
    }

    /// Waits until `count` instances of the function can be called.
    pub async fn wait_ready(&self, function: &str, count: usize) -> anyhow::Result<()> {
        self.wait(function, READY_MAX, |instances| {
            instances.iter().filter(|instance| instance["state"] == "ready").count() >= count
        })
        .await
    }

    /// Waits until the number of the function's instances, whatever their state, is one that `wanted` takes.
    pub async fn wait_instances(
        &self,
        function: &str,
        limit: Duration,
        wanted: impl Fn(usize) -> bool,
    ) -> anyhow::Result<()> {
        self.wait(function, limit, |instances| wanted(instances.len())).await
    }

    async fn wait(&self, function: &str, limit: Duration, wanted: impl Fn(&[Value]) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let told = self.cli(&["describe", function]).await?;
            if wanted(told["instances"].as_array().map_or(&[][..], Vec::as_slice)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < limit, "the instances of {function} are not those waited for: {told}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One call; its answer's body.
    pub async fn call(&self, path: &str) -> anyhow::Result<String> {
        let mut connection = Connection::open(&self.gateway()?).await?;
        let answer = connection.call(&get(path)).await?;
        let text = connection.text(answer);
        ensure!(answer.status == 200, "{path} answered {}: {text}", answer.status);
        Ok(text)
    }

    /// A verb of the command line, and what it says; this thread's load goes on meanwhile.
    pub async fn cli(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut command = self.verb(args)?;
        said(&tokio::task::spawn_blocking(move || command.output()).await??)
    }

    fn verb(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.command();
        command.args(["--json", "--api-url", &self.running()?.api_url]).args(args);
        Ok(command)
    }

    /// The socket of the only instance there is.
    pub fn socket(&self) -> anyhow::Result<PathBuf> {
        let mut found = Vec::new();
        sockets(&self.data_dir().join("run/i"), &mut found)?;
        // The door for an heir is none of an instance.
        found.retain(|socket| !socket.ends_with("handover"));
        ensure!(found.len() == 1, "there are {} sockets of instances, not one: {found:?}", found.len());
        found.pop().context("no socket")
    }
}

/// What a verb printed; the last document of one that follows something.
fn said(output: &Output) -> anyhow::Result<Value> {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the command line: {}\n{stdout}{stderr}", output.status);
    let mut last = None;
    for document in serde_json::Deserializer::from_str(&stdout).into_iter() {
        last = Some(document.with_context(|| format!("the command line said: {stdout}"))?);
    }
    last.context("the command line said nothing")
}

fn sockets(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sockets(&entry.path(), found)?;
        } else if kind.is_socket() {
            found.push(entry.path());
        }
    }
    Ok(())
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a child to end, and kills it when it does not.
pub fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    let begun = Instant::now();
    while begun.elapsed() < STOP_MAX {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    eprintln!("a child did not end within {STOP_MAX:?} and was killed");
    let _ = child.kill();
    let _ = child.wait();
}
