//! Real clients from PyPI: installed once into the target folder, run as scripts.

use crate::spawn;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Versions are pinned: a test that fails tomorrow fails for a reason of ours.
const CLIENTS: [&str; 4] = ["grpcio==1.85.3", "websockets==17.4", "pyjwt==2.15.1", "cryptography==50.0.2"];

/// Runs a script of `tests/clients` to its end; gives what it printed.
///
/// # Panics
/// Where it fails, with what it said.
#[track_caller]
pub fn run(script: &str, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let mut command = Command::new("timeout");
    command.args(["120", "python3"]).arg(&script).args(args).env("PYTHONPATH", installed());
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{} {args:?}: {}\n{out}\n{err}", script.display(), output.status);
    out
}

/// A script of `tests/clients` that is told what to do line by line, and answers each with a line.
pub struct Talk {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Talk {
    /// # Panics
    /// Where it does not start.
    pub fn start(script: &str, args: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        let mut command = Command::new("python3");
        command.arg(&script).args(args).env("PYTHONPATH", installed());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn::spawn(command).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, answers }
    }

    /// The answer to an order; empty where it has ended.
    ///
    /// # Panics
    /// Where it takes no more orders.
    #[track_caller]
    pub fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("it takes orders");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with the clients. Tests of several processes install it once.
fn installed() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap().join("pypi");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|text| text == CLIENTS.join("\n")) {
        return folder;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]).arg(&folder).args(CLIENTS);
    let status = spawn::spawn(pip).and_then(|mut pip| pip.wait()).expect("pip runs");
    assert!(status.success(), "pip cannot install {CLIENTS:?}: {status}");
    fs::write(mark, CLIENTS.join("\n")).unwrap();
    folder
}
