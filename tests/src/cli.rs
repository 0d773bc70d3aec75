//! Runs the verbs of `mayfly` as a user does.

use crate::spawn;
use serde_json::Value;
use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A verb that takes longer hangs; the longest builds are in the tests of the examples, which say so.
const VERB_MAX: Duration = Duration::from_secs(600);

/// The binary under test.
///
/// # Panics
/// Where it was not built.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MAYFLY_BIN") {
        return path.into();
    }
    // The test's own executable is in `target/<profile>/deps`.
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("mayfly");
    assert!(path.is_file(), "{} is missing: run `cargo build -p mayfly` (or set MAYFLY_BIN)", path.display());
    path
}

/// How verbs are run: where the platform is, and the folder they start in.
#[derive(Debug, Clone)]
pub struct Cli {
    env: Vec<(String, String)>,
    dir: PathBuf,
}

/// A verb that ended.
#[derive(Clone)]
pub struct Ended {
    pub args: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Cli {
    /// Without a platform.
    pub fn new(dir: &Path) -> Self {
        Self { env: Vec::new(), dir: dir.to_owned() }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same from another folder.
    #[must_use]
    pub fn within(&self, dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..self.clone() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["MAYFLY_API_URL", "MAYFLY_TOKEN_FILE", "MAYFLY_DATA_DIR", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        let begun = Instant::now();
        let mut running = self.start(args);
        let code = running.wait(VERB_MAX);
        let stdout = running.rest();
        Ended { args: args.join(" "), code, stdout, stderr: running.stderr(), took: begun.elapsed() }
    }

    /// Starts a verb that goes on.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = spawn::spawn(self.command(args)).expect("mayfly starts");
        let lines = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        Running { child, lines, errors, args: args.join(" "), seen: Vec::new() }
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A verb that runs; killed when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
    args: String,
    seen: Vec<String>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout that is `wanted`; the others are passed over.
    #[track_caller]
    pub fn line(&mut self, limit: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => {
                    let (stdout, stderr) = (self.seen.join("\n"), self.stderr());
                    let args = &self.args;
                    panic!("`mayfly {args}`: no line ({error}): {what}\nstdout: {stdout}\nstderr: {stderr}")
                }
            }
        }
    }

    /// Asks it to stop as Ctrl-C does, and returns its code.
    pub fn interrupt(&mut self) -> i32 {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        self.wait(Duration::from_secs(30))
    }

    /// Waits for its end; its output must be short enough for the channel, which is without bound.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let what = format!("`mayfly {}` ends", self.args);
        let status = crate::until(limit, &what, || self.child.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// What is left of stdout, after the end.
    fn rest(&mut self) -> String {
        let mut text = self.lines.iter().collect::<Vec<_>>().join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    fn stderr(&self) -> String {
        let mut lines = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(Duration::from_millis(200)) {
            lines.push(line);
        }
        lines.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// It where it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It where it failed with this code and says all of this on stderr.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not said: {self:?}");
        }
        self
    }

    /// stdout as one document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, code, stdout, stderr, took } = self;
        write!(f, "`mayfly {args}` ended with {code} after {took:.1?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}
