//! Runs a build tool in the function's folder and ends it with all its children, whatever happens.

use super::output::Output;
use rustix::process::{Pid, Signal};
use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::{Child, Command},
    time::Instant,
};
use types::{Code, Fault, Millis};

/// Starts the tool and a guard beside it, in one process group. The guard waits for the end of the pipe that the platform
/// holds; when the platform dies, even by SIGKILL, it ends the group, so that no build goes on unseen.
///
/// A daemon that a tool puts into a session of its own is told by the mark in its environment.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
mark=$1
shift
MAYFLY_BUILD=$mark "$@" 3<&- &
tool=$!
{
    read -r _ <&3
    for file in /proc/[0-9]*/environ; do
        if grep -qF "MAYFLY_BUILD=$mark" "$file"; then
            pid=${file#/proc/}
            kill -KILL "${pid%/environ}"
        fi
    done
    kill -KILL 0
} >/dev/null 2>&1 &
guard=$!
wait "$tool"
status=$?
kill -KILL "$guard"
exit "$status"
"#;
/// How long output may come after the tool has ended; only a child that left its group can hold the pipe open.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Largest captured output: cargo's messages for a thousand crates are some 2 MiB.
const CAPTURE_MAX: u64 = 32 << 20;

/// What each tool of a build shares.
pub(super) struct Session<'a> {
    /// The function's folder.
    pub(super) dir: &'a Path,
    pub(super) output: Output<'a>,
    /// When the whole build must be done.
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    /// Where tools find a home if the platform has none that can be written.
    pub(super) home: Option<PathBuf>,
}

/// A tool with its arguments. Shown as it is typed: `npm ci --omit=dev`.
#[derive(Debug, Clone)]
pub(super) struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    shown: String,
}

impl Call {
    /// `name` is what people call the program.
    pub(super) fn new(name: &str, program: &Path) -> Self {
        Self { program: program.to_owned(), args: Vec::new(), env: Vec::new(), shown: name.to_owned() }
    }
    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.args.push(arg.as_ref().to_owned());
        }
        self
    }
    /// Arguments that nobody needs to read.
    pub(super) fn quiet_args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }
    pub(super) fn env(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((key, value.into()));
        self
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Session<'_> {
    /// Runs `call` and streams its output into the log.
    ///
    /// # Errors
    /// `build_failed` where it doesn't start, ends with another status than 0 or takes too long.
    pub(super) async fn run(&self, call: &Call) -> Result<(), Fault> {
        self.output.step(&call.to_string());
        let (status, _) = self.execute(call, false).await?;
        check(call, status)
    }

    /// The same, and returns what it wrote to stdout instead of logging it.
    pub(super) async fn capture(&self, call: &Call) -> Result<Vec<u8>, Fault> {
        self.output.step(&call.to_string());
        let (status, stdout) = self.execute(call, true).await?;
        check(call, status).map(|()| stdout)
    }

    /// Whether `call` succeeds; its output is of no interest.
    pub(super) async fn succeeds(&self, call: &Call) -> bool {
        let Self { dir, deadline, timeout, ref home, .. } = *self;
        let silent = Session { dir, output: Output::new(&Silent), deadline, timeout, home: home.clone() };
        matches!(silent.execute(call, true).await, Ok((status, _)) if status.success())
    }

    async fn execute(&self, call: &Call, capture: bool) -> Result<(ExitStatus, Vec<u8>), Fault> {
        let started = |e: io::Error| Fault::new(Code::BuildFailed, format!("{call} does not start: {e}"));
        let (stdout, stdout_child) = pipes().map_err(started)?;
        let (stderr, stderr_child) = if capture {
            let (reader, writer) = pipes().map_err(started)?;
            (Some(reader), writer)
        } else {
            // One pipe for both: the lines keep their order.
            (None, stdout_child.try_clone().map_err(started)?)
        };
        let mark = Mark::new();
        let command = self.command(call, &mark);
        let mut group = Group::spawn(command, mark, stdout_child, stderr_child).map_err(started)?;

        let mut captured = Vec::new();
        let read = async {
            match stderr {
                Some(stderr) => {
                    let mut bounded = stdout.take(CAPTURE_MAX);
                    let _ = tokio::join!(bounded.read_to_end(&mut captured), self.output.read(stderr));
                }
                None => self.output.read(stdout).await,
            }
        };
        let run = group.run_while(read);
        match tokio::time::timeout_at(self.deadline, run).await {
            Ok(status) => Ok((status.map_err(Fault::internal)?, captured)),
            Err(_) => {
                group.kill();
                let limit = Millis::from(self.timeout);
                Err(Fault::new(Code::BuildFailed, format!("{call} was stopped: the build took longer than {limit}")))
            }
        }
    }

    fn command(&self, call: &Call, mark: &Mark) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SUPERVISOR, "sh", &mark.0]).arg(&call.program).args(&call.args).current_dir(self.dir);
        command.env_clear().envs(environment());
        if let Some(home) = &self.home {
            command.env("HOME", home);
        }
        command.envs(call.env.iter().map(|(key, value)| (key, value)));
        command
    }
}

struct Silent;
impl super::BuildLog for Silent {
    fn step(&self, _: &str) {}
    fn line(&self, _: &str) {}
}

/// The platform's own, so that proxies, registries and certificates are those of the host; without what speaks to the
/// platform, and without what a cargo or a Python that started the platform has left there.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let unwanted = |key: &str| {
        let prefixes = ["MAYFLY_", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_"];
        let keys = [
            "CARGO_MAKEFLAGS",
            "MAKEFLAGS",
            "MFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_PRIMARY_PACKAGE",
            "CARGO_CRATE_NAME",
            "OUT_DIR",
            "PYTHONPATH",
            "PYTHONHOME",
            "NODE_ENV",
            "NODE_PATH",
            "INIT_CWD",
        ];
        prefixes.iter().any(|prefix| key.starts_with(prefix)) || keys.contains(&key)
    };
    let own = std::env::vars_os().filter(move |(key, _)| key.to_str().is_none_or(|key| !unwanted(key)));
    own.chain([("CI", "true"), ("NO_COLOR", "1")].map(|(key, value)| (key.into(), value.into())))
}

fn check(call: &Call, status: ExitStatus) -> Result<(), Fault> {
    let how = match status.code() {
        Some(0) => return Ok(()),
        // The shell's way to tell a signal.
        Some(code @ 129..=192) => format!("was ended by signal {}", code - 128),
        Some(code) => format!("ended with status {code}"),
        None => format!("was ended: {status}"),
    };
    Err(Fault::new(Code::BuildFailed, format!("{call} {how}")))
}

fn pipes() -> io::Result<(pipe::Receiver, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer))
}

/// What a tool's processes carry in their environment, wherever they went.
struct Mark(String);

impl Mark {
    fn new() -> Self {
        Self(types::id::DeploymentId::random().to_string())
    }

    /// Ends every process that carries the mark.
    fn kill(&self) {
        let mark = format!("MAYFLY_BUILD={}", self.0);
        let carries = |environ: &[u8]| environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if carries(&environ)
                && let Some(pid) = Pid::from_raw(pid)
            {
                // It fails where it has just ended by itself.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// A process group of its own; nothing of it is left when this is dropped.
struct Group {
    leader: Child,
    id: Option<Pid>,
    mark: Mark,
}

impl Group {
    fn spawn(mut command: Command, mark: Mark, stdout: io::PipeWriter, stderr: io::PipeWriter) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).process_group(0).kill_on_drop(true);
        let leader = command.spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { leader, id, mark })
    }

    /// Waits for the leader's end while `read` takes its output; what it left behind is ended then.
    async fn run_while(&mut self, read: impl Future<Output = ()>) -> io::Result<ExitStatus> {
        tokio::pin!(read);
        let guard = self.leader.stdin.take();
        let mut drained = false;
        let status = loop {
            tokio::select! {
                status = self.leader.wait() => break status?,
                () = &mut read, if !drained => drained = true,
            }
        };
        self.kill();
        if !drained {
            let _ = tokio::time::timeout(DRAIN_MAX, read).await;
        }
        drop(guard);
        Ok(status)
    }

    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // It fails where nothing of the group is left.
            let _ = rustix::process::kill_process_group(id, Signal::KILL);
            self.mark.kill();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
