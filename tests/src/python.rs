//! Real clients from PyPI: installed once into the target folder, run as scripts.

use crate::spawn;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
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
