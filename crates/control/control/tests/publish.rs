//! Real builds by real tools, of packages small enough to need no network. Missing tools are said to be missing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mayfly_control::publish::{BuildLog, BuiltTree, Cache, Tools, build, detect};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};
use toolchain::Toolchain;
use types::{Code, Fault};

/// What a build said; steps begin with `# `.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl BuildLog for Kept {
    fn step(&self, text: &str) {
        self.0.lock().unwrap().push(format!("# {text}"));
    }
    fn line(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Kept {
    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A folder for sources and a cache, gone with the test.
struct Workshop {
    dir: tempfile::TempDir,
    tools: Tools,
    log: Kept,
}

impl Workshop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1 << 30).unwrap();
        Self { tools: Tools::new(Toolchain::discover(true), cache), dir, log: Kept::default() }
    }

    fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.dir.path().join(name);
        for (file, text) in files {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
        root
    }

    async fn build(&self, folder: &Path) -> Result<BuiltTree, Fault> {
        let manifest = detect::manifest(folder, None).unwrap();
        build(folder, &manifest, &self.tools, &self.log).await
    }

    /// Builds and packs; returns the artifact's unpacked folder and the paths of its files.
    async fn artifact(&self, folder: &Path) -> (PathBuf, BTreeSet<String>) {
        let built = self.build(folder).await.unwrap_or_else(|fault| panic!("{fault}\n{}", self.log.text()));
        let mut stream = Vec::new();
        built.pack(&mut stream, pack::Limits::default(), None).unwrap();
        let dest = self.dir.path().join(format!("out-{}", fastrand()));
        pack::unpack(&*stream, &dest, pack::Limits::default()).unwrap();
        let names = files(&dest, &dest);
        (dest, names)
    }
}

/// A number that no other folder of this process has.
fn fastrand() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn files(root: &Path, at: &Path) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            out.extend(files(root, &path));
        } else {
            out.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    out
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A package with a dependency in its own folder, and a build script.
const NODE: &[(&str, &str)] = &[
    ("index.js", "exports.handler = async () => require('greet')('x') + require('./made')"),
    (
        "package.json",
        r#"{"name":"x","version":"1.0.0","scripts":{"build":"node make.js"},"dependencies":{"greet":"file:greet"}}"#,
    ),
    ("make.js", "require('fs').writeFileSync('made.js', 'module.exports = \"made\"'); console.log('made it')"),
    ("greet/package.json", r#"{"name":"greet","version":"1.0.0"}"#),
    ("greet/index.js", "module.exports = name => 'hello ' + name"),
];

#[tokio::test(flavor = "multi_thread")]
async fn node_installs_builds_and_packs() {
    let shop = Workshop::new();
    let source = shop.folder("hello", NODE);
    let (out, names) = shop.artifact(&source).await;
    let log = shop.log.text();
    assert!(log.contains("# npm install --include=dev") && log.contains("# npm run build"), "{log}");
    assert!(log.contains("\nmade it"), "{log}");
    assert!(names.contains("made.js") && names.contains("node_modules/greet"), "{names:?}");
    let node = shop.tools.toolchain.runtime(types::Runtime::Nodejs).unwrap().unwrap();
    let script = "require('./index.js').handler().then(console.log)";
    assert_eq!(output(Command::new(&node.path).args(["-e", script]).current_dir(out)), "hello xmade");
}

/// The lock file decides, and the second time its tree comes from the cache.
#[tokio::test(flavor = "multi_thread")]
async fn node_dependencies_are_cached_by_the_lock_file() {
    let shop = Workshop::new();
    let npm = shop.tools.toolchain.builder(toolchain::Tool::Npm).unwrap();
    // A registry's package without a registry: npm's own cache answers for the digest in the lock file.
    let greet = shop.folder(
        "greet",
        &[("package.json", r#"{"name":"greet","version":"1.0.0"}"#), ("index.js", "module.exports = 'hi'")],
    );
    let npm_cache = shop.dir.path().join("npm-cache");
    let packed = output(Command::new(&npm.path).args(["pack", "--json"]).current_dir(&greet));
    let packed: serde_json::Value = serde_json::from_str(&packed).unwrap();
    let integrity = packed[0]["integrity"].as_str().unwrap();
    let tarball = greet.join(packed[0]["filename"].as_str().unwrap());
    output(Command::new(&npm.path).args(["cache", "add"]).arg(&tarball).arg("--cache").arg(&npm_cache));
    let lock = format!(
        r#"{{"name":"x","lockfileVersion":3,"requires":true,"packages":{{"":{{"name":"x","dependencies":{{"greet":"1.0.0"}}}},
        "node_modules/greet":{{"version":"1.0.0","resolved":"http://127.0.0.1:9/greet/-/greet-1.0.0.tgz","integrity":"{integrity}"}}}}}}"#
    );
    let files = [
        ("index.js", "exports.handler = async () => require('greet')"),
        ("package.json", r#"{"name":"x","dependencies":{"greet":"1.0.0"}}"#),
        ("package-lock.json", &lock),
        (".npmrc", &format!("cache={}\noffline=true\n", npm_cache.display())),
    ];
    let (_, first) = shop.artifact(&shop.folder("one", &files)).await;
    assert!(shop.log.text().contains("# npm ci --omit=dev"), "{}", shop.log.text());
    shop.log.0.lock().unwrap().clear();

    let (_, second) = shop.artifact(&shop.folder("two", &files)).await;
    let log = shop.log.text();
    assert!(log.contains("node_modules comes from the cache") && !log.contains("npm ci"), "{log}");
    assert_eq!(first, second);
    assert!(second.contains("node_modules/greet/index.js"), "{second:?}");

    // Another lock file is another tree: it is not there, and nothing can be fetched for it.
    let other = lock.replace("1.0.0.tgz", "1.0.1.tgz").replace(integrity, "sha512-AAAA");
    let changed = shop.folder("three", &[files[0], files[1], ("package-lock.json", &other), files[3]]);
    assert_eq!(shop.build(&changed).await.unwrap_err().code, Code::BuildFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_build_shows_the_tools_output() {
    let shop = Workshop::new();
    let package = r#"{"scripts":{"build":"echo the reason why >&2; exit 7"}}"#;
    let fault = shop.build(&shop.folder("x", &[("index.js", ""), ("package.json", package)])).await.unwrap_err();
    assert_eq!((fault.code, &*fault.detail), (Code::BuildFailed, "npm run build ended with status 7"));
    assert!(shop.log.text().contains("the reason why"), "{}", shop.log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_own_command_replaces_all() {
    let shop = Workshop::new();
    let manifest = |command: &str| format!("name='x'\nruntime='binary'\nentry='run'\n[build]\ncommand={command}\n");
    let own = shop.folder(
        "own",
        &[("mayfly.toml", &manifest("['./make.sh', 'a b']")), ("make.sh", "#!/bin/sh\necho \"$1\" > run\n")],
    );
    output(Command::new("chmod").arg("755").arg(own.join("make.sh")));
    let (out, _) = shop.artifact(&own).await;
    assert_eq!(fs::read_to_string(out.join("run")).unwrap(), "a b\n");

    let (_, names) = shop.artifact(&shop.folder("none", &[("mayfly.toml", &manifest("[]")), ("run", "")])).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["mayfly.toml", "run"]);

    for (command, detail) in [
        ("['./absent']", "./absent ended with status 127"),
        ("['sh', '-c', 'kill -9 $$']", "sh -c kill -9 $$ was ended by signal 9"),
    ] {
        let folder = shop.folder("bad", &[("mayfly.toml", &manifest(command))]);
        assert_eq!(shop.build(&folder).await.unwrap_err().detail, detail);
    }
}

/// The tools see the host's settings, and not the platform's.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_hosts() {
    let shop = Workshop::new();
    let manifest = "name='x'\nruntime='binary'\nentry='env'\n[build]\ncommand=['sh','-c','env > env; cat; ls -l /proc/self/fd > fds']\n";
    let (out, _) = shop.artifact(&shop.folder("x", &[("mayfly.toml", manifest)])).await;
    let env = fs::read_to_string(out.join("env")).unwrap();
    let has = |key: &str| env.lines().any(|line| line.split('=').next() == Some(key));
    // Set by the cargo that runs this test.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && !has("CARGO_PKG_NAME"), "{env}");
    assert!(has("PATH") && has("HOME") && has("CI") && has("NO_COLOR"), "{env}");
    // No input, the log for output, and no end of the guard's pipe.
    let fds = fs::read_to_string(out.join("fds")).unwrap();
    assert!(fds.contains("0 -> /dev/null") && !fds.contains(" 3 -> pipe"), "{fds}");
}

/// The lines of `file` once it has `count` of them: processes write them when they are up.
fn lines(file: &Path, count: usize) -> Vec<u32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.len() >= count {
            return pids;
        }
        assert!(Instant::now() < deadline, "{} has {pids:?}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until none of these runs; a zombie doesn't.
fn gone(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let runs = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while pids.iter().any(runs) {
        assert!(Instant::now() < deadline, "still there: {pids:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Three generations that ignore a polite end, and never end by themselves.
const TREE: &str = "name='x'\nruntime='binary'\nentry='pids'\n[build]\ncommand=['sh','-c','''trap '' TERM INT HUP
echo begun; echo $$ >> pids; (echo $(exec sh -c 'echo $PPID') >> pids; sh -c 'echo $$ >> pids; exec sleep 1000' & wait) & wait''']\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_too_long_ends_with_all_its_children() {
    let mut shop = Workshop::new();
    shop.tools.timeout = Duration::from_millis(1500);
    let folder = shop.folder("x", &[("mayfly.toml", TREE)]);
    let began = Instant::now();
    let fault = shop.build(&folder).await.unwrap_err();
    assert_eq!(fault.code, Code::BuildFailed);
    assert!(fault.detail.contains("took longer than 1s 500ms"), "{fault}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(shop.log.text().ends_with("begun"), "{}", shop.log.text());
    gone(&lines(&folder.join("pids"), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_waits_for_ends_with_all_its_children() {
    let shop = Workshop::new();
    let folder = shop.folder("x", &[("mayfly.toml", TREE)]);
    let pids = folder.join("pids");
    let up = tokio::task::spawn_blocking(move || lines(&pids, 3));
    let pids = tokio::select! {
        built = shop.build(&folder) => panic!("{built:?}"),
        pids = up => pids.unwrap(),
    };
    gone(&pids);
}

/// A child that is left behind neither holds the build up nor stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_leaves_running_is_ended() {
    let shop = Workshop::new();
    let manifest =
        "name='x'\nruntime='binary'\nentry='pids'\n[build]\ncommand=['sh','-c','sleep 1000 & echo $! > pids']\n";
    let folder = shop.folder("x", &[("mayfly.toml", manifest)]);
    let began = Instant::now();
    shop.build(&folder).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(15));
    gone(&lines(&folder.join("pids"), 1));
}

/// The platform is ended by SIGKILL in the middle of a build: this test, run again as another process, is the platform.
#[test]
fn a_killed_platform_leaves_no_build_behind() {
    let dir = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    let mut platform = Command::new(me)
        .args(["--exact", "--ignored", "a_platform_that_builds_forever"])
        .env("BUILD_DIR", dir.path())
        .spawn()
        .unwrap();
    let pids = lines(&dir.path().join("pids"), 3);
    platform.kill().unwrap();
    platform.wait().unwrap();
    gone(&pids);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_killed_platform_leaves_no_build_behind, which kills it"]
async fn a_platform_that_builds_forever() {
    let shop = Workshop::new();
    let folder = PathBuf::from(std::env::var_os("BUILD_DIR").unwrap());
    fs::write(folder.join("mayfly.toml"), TREE).unwrap();
    shop.build(&folder).await.unwrap();
}

/// A package in the folder: no network.
#[tokio::test(flavor = "multi_thread")]
async fn python_installs_into_the_folder_for_the_runtimes_interpreter() {
    let shop = Workshop::new();
    let source = shop.folder(
        "hello",
        &[
            ("app.py", "import greet\ndef handler(event, context):\n    return greet.hello()\n"),
            ("requirements.txt", "./vendor/greet-1-py3-none-any.whl\n"),
            ("broken.py", "def (:\n"),
        ],
    );
    wheel(&source.join("vendor/greet-1-py3-none-any.whl"), &shop);
    let (out, names) = shop.artifact(&source).await;
    assert!(shop.log.text().contains("# pip install --target .mayfly/python -r requirements.txt"));
    assert!(names.contains(".mayfly/python/greet.py"), "{names:?}");
    let compiled = |part: &str| names.iter().any(|name| name.contains(part) && name.ends_with(".pyc"));
    assert!(compiled(".mayfly/python/__pycache__/greet") && compiled("__pycache__/app"), "{names:?}");

    // The bytecode is taken as it is, though unpacking has set new times: the source could even be another.
    fs::write(out.join(".mayfly/python/greet.py"), "raise SystemExit(9)").unwrap();
    let python = shop.tools.toolchain.runtime(types::Runtime::Python).unwrap().unwrap();
    let script = "import sys; sys.path.insert(0, '.mayfly/python'); import app; print(app.handler(0, 0))";
    assert_eq!(output(Command::new(&python.path).args(["-c", script]).current_dir(&out)), "hello");
}

/// A wheel by hand, which needs no build backend.
fn wheel(path: &Path, shop: &Workshop) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as z:
    z.writestr('greet.py', "def hello():\n    return 'hello'\n")
    z.writestr('greet-1.dist-info/METADATA', 'Metadata-Version: 2.1\nName: greet\nVersion: 1\n')
    z.writestr('greet-1.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    z.writestr('greet-1.dist-info/RECORD', 'greet.py,,\ngreet-1.dist-info/METADATA,,\ngreet-1.dist-info/WHEEL,,\ngreet-1.dist-info/RECORD,,\n')
"#;
    let python = shop.tools.toolchain.runtime(types::Runtime::Python).unwrap().unwrap();
    output(Command::new(&python.path).args(["-c", script]).arg(path));
}

#[tokio::test(flavor = "multi_thread")]
async fn go_builds_one_static_program() {
    let shop = Workshop::new();
    let go = shop.tools.toolchain.builder(toolchain::Tool::Go).unwrap();
    // A language version that this toolchain has, or it would fetch another.
    let version = go.version.split('.').take(2).collect::<Vec<_>>().join(".");
    let module = format!("module hello\n\ngo {version}\n");
    let source = shop.folder(
        "hello",
        &[
            ("go.mod", module.as_str()),
            ("main.go", "package main\n\nfunc main() { println(\"hello\") }\n"),
            ("static/a.txt", "a"),
        ],
    );
    let (out, names) = shop.artifact(&source).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["bootstrap", "static/a.txt"]);
    let ran = Command::new(out.join("bootstrap")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "hello\n");

    let broken =
        shop.folder("broken", &[("go.mod", module.as_str()), ("main.go", "package main\n\nfunc main() { oops }\n")]);
    let fault = shop.build(&broken).await.unwrap_err();
    assert_eq!(fault.detail, "go build -trimpath -o bootstrap . ended with status 1");
    assert!(shop.log.text().contains("undefined: oops"), "{}", shop.log.text());
    let library = shop.folder("library", &[("go.mod", module.as_str()), ("lib.go", "package lib\n")]);
    assert_eq!(shop.build(&library).await.unwrap_err().code, Code::BuildFailed);
}

/// The folder lies below a workspace that doesn't know it, as a data directory in somebody's repository does.
#[tokio::test(flavor = "multi_thread")]
async fn rust_builds_its_one_program() {
    let shop = Workshop::new();
    fs::write(shop.dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    let cargo = "[package]\nname = 'hello'\nversion = '0.1.0'\nedition = '2021'\n";
    let main = |text: &str| format!("fn main() {{ println!({text:?}) }}\n");
    let source = shop.folder("hello", &[("Cargo.toml", cargo), ("src/main.rs", &main("one")), ("page.html", "")]);
    let (out, names) = shop.artifact(&source).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["bootstrap", "page.html"]);
    assert_eq!(output(&mut Command::new(out.join("bootstrap"))), "one");

    // The same function again, from another folder and with cargo's working folder kept: the new source counts.
    fs::remove_dir_all(&source).unwrap();
    let again = shop.folder("hello", &[("Cargo.toml", cargo), ("src/main.rs", &main("two"))]);
    let (out, _) = shop.artifact(&again).await;
    assert_eq!(output(&mut Command::new(out.join("bootstrap"))), "two");

    let library = shop.folder("library", &[("Cargo.toml", cargo), ("src/lib.rs", "")]);
    let fault = shop.build(&library).await.unwrap_err();
    assert!(fault.code == Code::BuildFailed && fault.detail.contains("no binary target"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_there_goes_alone() {
    let shop = Workshop::new();
    let manifest = "name='x'\nruntime='wasm'\nentry='./dist/app.wasm'\n";
    let source = shop.folder("x", &[("mayfly.toml", manifest), ("dist/app.wasm", "\0asm"), ("node_modules/a.js", "")]);
    let (_, names) = shop.artifact(&source).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["dist/app.wasm", "mayfly.toml"]);

    let none = shop.folder("none", &[("mayfly.toml", manifest)]);
    let fault = shop.build(&none).await.unwrap_err();
    assert!(fault.code == Code::BuildFailed && fault.detail.contains("`dist/app.wasm`"), "{fault}");
    let out = shop.folder("out", &[("mayfly.toml", "name='x'\nruntime='wasm'\nentry='../x.wasm'\n")]);
    assert_eq!(shop.build(&out).await.unwrap_err().code, Code::ManifestInvalid);

    // Made by npm's script, under the name that the manifest leaves out.
    let package = r#"{"scripts":{"build":"mkdir -p dist && printf made > dist/some.wasm"}}"#;
    let made = shop.folder("made", &[("mayfly.toml", "name='x'\nruntime='wasm'\n"), ("package.json", package)]);
    let (out, names) = shop.artifact(&made).await;
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["component.wasm", "mayfly.toml"]);
    assert_eq!(fs::read_to_string(out.join("component.wasm")).unwrap(), "made");
}

#[tokio::test(flavor = "multi_thread")]
async fn java_needs_a_pom_or_a_jar() {
    let shop = Workshop::new();
    let manifest = ("mayfly.toml", "name='x'\nruntime='java'\nentry='a.B::c'\n");
    let fault = shop.build(&shop.folder("none", &[manifest])).await.unwrap_err();
    assert!(fault.code == Code::BuildFailed && fault.detail.contains("pom.xml"), "{fault}");
    let (_, names) = shop.artifact(&shop.folder("jar", &[manifest, ("lib/a.jar", "")])).await;
    assert!(names.contains("lib/a.jar"));
}

/// A tool that the host lacks is named, with how to get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tool_is_named() {
    let mut shop = Workshop::new();
    let empty = shop.folder("empty", &[("nothing", "")]);
    shop.tools.toolchain = Toolchain::within([empty], true);
    for (files, part) in [
        (&[("go.mod", "module x\n")][..], "looked for go in"),
        (&[("Cargo.toml", "[package]\nname='x'\n")], "looked for cargo in"),
        (&[("index.js", ""), ("package.json", r#"{"dependencies":{"a":"1"}}"#)], "looked for npm in"),
        (&[("app.py", "def handler(e, c): pass\n")], "looked for python3 or python in"),
    ] {
        let folder = shop.folder(part, files);
        let manifest = detect::manifest(&folder, Some(&"x".parse().unwrap())).unwrap();
        let fault = build(&folder, &manifest, &shop.tools, &shop.log).await.unwrap_err();
        assert_eq!(fault.code, Code::RuntimeUnavailable);
        assert!(fault.detail.contains(part) && fault.detail.contains("Install "), "{fault}");
        fs::remove_dir_all(folder).unwrap();
    }
}

/// A compiler without the target's libraries: known before cargo is run, with the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_wasm_target_is_named() {
    let mut shop = Workshop::new();
    let cargo = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'cargo 1.95.0' || exit 9\n";
    let bin = shop.folder("bin", &[("cargo", cargo), ("rustc", "#!/bin/sh\necho /nowhere/lib\n")]);
    output(Command::new("chmod").arg("755").args([bin.join("cargo"), bin.join("rustc")]));
    shop.tools.toolchain = Toolchain::within([bin], true);
    let manifest = "[package]\nname='x'\n[lib]\ncrate-type=['cdylib']\n[dependencies]\nwasip2='2'\n";
    let fault = shop.build(&shop.folder("x", &[("Cargo.toml", manifest)])).await.unwrap_err();
    assert_eq!(fault.code, Code::RuntimeUnavailable);
    assert!(fault.detail.contains("rustup target add wasm32-wasip2"), "{fault}");
}

/// An interpreter without pip, as a lean host has it: another Python's pip installs for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_pip_of_another_python_will_do() {
    let mut shop = Workshop::new();
    let full = shop.tools.toolchain.runtime(types::Runtime::Python).unwrap().unwrap().path.clone();
    let lean = shop.dir.path().join("lean");
    output(Command::new(&full).args(["-m", "venv", "--without-pip"]).arg(&lean));
    let files = [("app.py", "def handler(e, c): pass\n"), ("requirements.txt", "./vendor/greet-1-py3-none-any.whl\n")];
    let source = shop.folder("hello", &files);
    wheel(&source.join("vendor/greet-1-py3-none-any.whl"), &shop);

    let alone = Toolchain::within([lean.join("bin")], false);
    let both = Toolchain::within([lean.join("bin"), full.parent().unwrap().to_owned()], false);
    shop.tools.toolchain = alone;
    let fault = shop.build(&source).await.unwrap_err();
    assert!(fault.code == Code::RuntimeUnavailable && fault.detail.contains("has no pip"), "{fault}");
    shop.tools.toolchain = both;
    let (_, names) = shop.artifact(&source).await;
    assert!(names.contains(".mayfly/python/greet.py"), "{names:?}");
}
