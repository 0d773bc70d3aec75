//! Programs made of shell scripts, in folders with the modes that matter.

use super::*;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn folder(path: &Path, bits: u32) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    mode(path, bits);
    path.to_owned()
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    mode(path, 0o755);
}

/// A temporary folder that others can pass.
fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    dir
}

#[test]
fn a_runtime_behind_a_closed_folder_does_not_count_for_others() {
    let dir = open_dir();
    let closed = folder(&dir.path().join("home"), 0o700);
    let open = folder(&dir.path().join("usr"), 0o755);
    script(&closed.join("python3"), "echo 3.12.0; echo $0");
    script(&open.join("python3"), "echo 3.11.2; echo $0");
    for (unprivileged, version) in [(true, "3.11.2"), (false, "3.12.0")] {
        let toolchain = Toolchain::within([closed.clone(), open.clone()], unprivileged);
        assert_eq!(toolchain.runtime(Runtime::Python).unwrap().unwrap().version, version, "{unprivileged}");
    }
    let fault = Toolchain::within([closed.clone()], true).runtime(Runtime::Python).unwrap_err();
    assert_eq!(fault.code, Code::RuntimeUnavailable);
    assert!(fault.detail.contains("mode 0700") && fault.detail.contains("apt-get install python3"), "{fault}");
}

#[test]
fn a_shim_is_resolved_and_what_it_leads_to_decides() {
    let dir = open_dir();
    let real = folder(&dir.path().join("home"), 0o700);
    let shims = folder(&dir.path().join("shims"), 0o755);
    script(&real.join("python3"), "echo 3.12.0; echo $0");
    script(&shims.join("python3"), &format!("exec {}/python3 \"$@\"", real.display()));
    let toolchain = Toolchain::within([shims.clone()], false);
    assert_eq!(toolchain.runtime(Runtime::Python).unwrap().unwrap().path, real.join("python3"));
    assert_eq!(Toolchain::within([shims], true).runtime(Runtime::Python).unwrap_err().code, Code::RuntimeUnavailable);
}

#[test]
fn links_are_walked_on_both_ends() {
    let dir = open_dir();
    let closed = folder(&dir.path().join("closed"), 0o750);
    let open = folder(&dir.path().join("open"), 0o755);
    script(&closed.join("inside"), "");
    script(&open.join("outside"), "");
    let link = |target: &Path, name: &Path| std::os::unix::fs::symlink(target, name).unwrap();
    link(&closed.join("inside"), &open.join("to-closed"));
    link(&open.join("outside"), &closed.join("to-open"));
    link(Path::new("../open/./outside"), &open.join("relative"));
    link(&open.join("loop"), &open.join("loop"));
    for (path, ok) in [
        (open.join("outside"), true),
        (open.join("relative"), true),
        (open.join("to-closed"), false),
        (closed.join("to-open"), false),
        (open.join("loop"), false),
        (open.join("absent"), false),
        (open.clone(), false),
    ] {
        assert_eq!(others_can_execute(&path).is_ok(), ok, "{}: {:?}", path.display(), others_can_execute(&path));
    }
    mode(&open.join("outside"), 0o750);
    assert!(others_can_execute(&open.join("outside")).unwrap_err().contains("the file"));
}

#[test]
fn answers_are_read_or_refused() {
    let dir = open_dir();
    let folder = dir.path().to_owned();
    script(&folder.join("go"), "echo go version go1.22.1 linux/amd64");
    script(&folder.join("cargo"), "echo 'cargo 1.95.0 (f2d3ce0bd 2026-03-21)'");
    script(&folder.join("mvn"), "echo 'Apache Maven 3.8.7'; echo more");
    script(&folder.join("npm"), "echo 10.2.4");
    script(&folder.join("java"), "echo '    java.home = /nowhere' >&2; echo '    java.version = 17.0.15' >&2");
    script(&folder.join("node"), "echo broken >&2; exit 3");
    script(&folder.join("python"), "echo 2.7.18; echo $0");
    let toolchain = Toolchain::within([folder.clone()], false);
    for (tool, version) in
        [(Tool::Go, "1.22.1"), (Tool::Cargo, "1.95.0"), (Tool::Maven, "3.8.7"), (Tool::Npm, "10.2.4")]
    {
        assert_eq!(toolchain.builder(tool).unwrap().version, version, "{tool:?}");
    }
    let java = toolchain.runtime(Runtime::Java).unwrap().unwrap();
    assert_eq!((java.version.as_str(), &java.path), ("17.0.15", &folder.join("java")));
    let node = toolchain.runtime(Runtime::Nodejs).unwrap_err().detail;
    assert!(node.contains("exit status: 3") && node.contains("broken"), "{node}");
    let python = toolchain.runtime(Runtime::Python).unwrap_err().detail;
    assert!(python.contains("it is Python 2.7.18"), "{python}");
    for native in [Runtime::Go, Runtime::Rust, Runtime::Binary, Runtime::Wasm] {
        assert_eq!(toolchain.runtime(native), Ok(None));
    }
}

#[test]
fn a_program_is_run_once() {
    let dir = open_dir();
    let count = dir.path().join("count");
    script(&dir.path().join("npm"), &format!("echo x >> {}; echo 1.0.0", count.display()));
    let toolchain = Toolchain::within([dir.path().to_owned(), dir.path().to_owned()], false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| toolchain.clone().builder(Tool::Npm).unwrap().version.clone());
        }
    });
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

/// The real ones; the platform can't do without an interpreter, so neither can its tests.
#[test]
fn this_host_is_discovered() {
    let toolchain = Toolchain::discover(true);
    for runtime in [Runtime::Nodejs, Runtime::Python, Runtime::Java] {
        let found = toolchain.runtime(runtime).unwrap().unwrap();
        others_can_execute(&found.path).unwrap();
    }
    for tool in [Tool::Npm, Tool::Go, Tool::Cargo, Tool::Maven] {
        toolchain.builder(tool).unwrap();
    }
}
