//! Each rule against a copy of this very tree with one fault in it; and the tree itself, which has none.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Finding, inspect};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A copy of the tree, as git sees it, in a folder of its own.
struct Copy {
    dir: tempfile::TempDir,
    before: Vec<Finding>,
}

impl Copy {
    fn make() -> Self {
        let root = root();
        let dir = tempfile::tempdir().unwrap();
        for file in super::house::House::read(&root).unwrap().files {
            write(dir.path(), &file.path, &file.text);
        }
        let git = Command::new("git").arg("-C").arg(dir.path()).args(["init", "-q"]).status();
        assert!(git.unwrap().success());
        let before = inspect(dir.path()).unwrap();
        Self { dir, before }
    }

    /// What `change` brings about; the file is as before afterwards.
    fn with(&self, path: &str, change: impl FnOnce(String) -> String) -> Vec<Finding> {
        let file = self.dir.path().join(path);
        let old = fs::read_to_string(&file).ok();
        write(self.dir.path(), path, &change(old.clone().unwrap_or_default()));
        let after = inspect(self.dir.path()).unwrap();
        match old {
            Some(old) => fs::write(&file, old).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        after.into_iter().filter(|finding| !self.before.contains(finding)).collect()
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// A manifest with one dependency more, and where it stands.
fn depend(section: &'static str, line: &'static str) -> impl FnOnce(String) -> String {
    move |text| match text.split_once(&format!("\n[{section}]\n")) {
        Some((start, end)) => format!("{start}\n[{section}]\n{line}\n{end}"),
        None => format!("{text}\n[{section}]\n{line}\n"),
    }
}

fn append(more: impl Into<String>) -> impl FnOnce(String) -> String {
    let more = more.into();
    move |text| text + &more
}

#[test]
fn the_tree_is_in_order() {
    let findings = inspect(&root()).unwrap();
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{} findings:\n{}", text.len(), text.join("\n"));
}

#[test]
fn each_wrong_edge_between_crates_is_reported() {
    let copy = Copy::make();
    for (path, section, line, says) in [
        ("crates/base/wire/Cargo.toml", "dependencies", "gateway.workspace = true", "base stands on nothing but base"),
        ("crates/data/gateway/Cargo.toml", "dependencies", "agent.workspace = true", "Data imports Node"),
        ("crates/node/agent/Cargo.toml", "dependencies", "dispatch.workspace = true", "Node imports Data"),
        (
            "crates/control/fleet/Cargo.toml",
            "dependencies",
            "mayfly-agent.path = \"../../node/agent\"",
            "Control imports Node",
        ),
        ("crates/control/fleet/Cargo.toml", "dev-dependencies", "agent.workspace = true", "Control imports Node"),
        ("crates/data/gateway/Cargo.toml", "dependencies", "dispatch.workspace = true", "not on the list"),
        ("crates/control/fleet/Cargo.toml", "dependencies", "control.workspace = true", "not on the list"),
        ("crates/data/dispatch/Cargo.toml", "dependencies", "store.workspace = true", "pushed snapshots"),
        ("crates/base/types/Cargo.toml", "dependencies", "tokio.workspace = true", "no I/O"),
        ("crates/base/types/Cargo.toml", "dev-dependencies", "hyper = { workspace = true }", "no I/O"),
        ("crates/base/types/Cargo.toml", "build-dependencies", "pack.workspace = true", "stands on nothing of ours"),
        ("crates/base/chassis/Cargo.toml", "dependencies", "types.workspace = true", "nothing about functions"),
        ("crates/bin/guest/Cargo.toml", "dependencies", "chassis.workspace = true", "nothing of ours but types"),
        (
            "crates/bin/guest/Cargo.toml",
            "target.'cfg(unix)'.dependencies",
            "store.workspace = true",
            "nothing of ours but types",
        ),
        ("crates/node/sandbox/Cargo.toml", "dependencies", "guest.workspace = true", "never import each other"),
        ("tests/Cargo.toml", "dependencies", "types.workspace = true", "from outside"),
        (
            "crates/bin/mayfly/Cargo.toml",
            "dependencies",
            "mayfly-bench.path = \"../../../benches\"",
            "nothing depends on",
        ),
        ("xtask/Cargo.toml", "dependencies", "types.workspace = true", "from outside"),
    ] {
        let name = line.split(['.', ' ']).next().unwrap();
        let findings = copy.with(path, depend(section, line));
        let hit = findings
            .iter()
            .find(|finding| finding.rule == "direction")
            .unwrap_or_else(|| panic!("{path} {line}: {findings:?}"));
        assert!(hit.file == path && hit.what.contains(says), "{path} {line}: {hit}");
        let shown = fs::read_to_string(root().join(path)).map(depend(section, line)).unwrap();
        assert!(shown.lines().nth(hit.line - 1).unwrap().starts_with(name), "{path} {line}: {hit}");
    }
}

#[test]
fn a_library_in_a_foreign_crate_is_reported() {
    let copy = Copy::make();
    for (path, section, line, owner) in [
        ("crates/node/agent/Cargo.toml", "dependencies", "wasmtime.workspace = true", "sandbox-wasm"),
        ("crates/node/agent/Cargo.toml", "dev-dependencies", "wasmtime-wasi.workspace = true", "sandbox-wasm"),
        ("crates/control/control/Cargo.toml", "dependencies", "rusqlite.workspace = true", "store"),
        ("crates/data/gateway/Cargo.toml", "dependencies", "axum.workspace = true", "control"),
        ("crates/base/wire/Cargo.toml", "dependencies", "utoipa.workspace = true", "control, types"),
        ("crates/control/control/Cargo.toml", "dependencies", "clap.workspace = true", "mayfly"),
        ("crates/node/agent/Cargo.toml", "dependencies", "archives = { package = \"tar\", version = \"0.4\" }", "pack"),
        ("crates/data/dispatch/Cargo.toml", "dependencies", "hyper.workspace = true", "gateway"),
    ] {
        let findings = copy.with(path, depend(section, line));
        let hit =
            findings.iter().find(|finding| finding.rule == "owner").unwrap_or_else(|| panic!("{line}: {findings:?}"));
        assert!(hit.file == path && hit.what.contains(owner), "{line}: {hit}");
    }
    let free = copy.with("crates/data/dispatch/Cargo.toml", depend("dev-dependencies", "hyper.workspace = true"));
    assert!(free.iter().all(|finding| finding.rule != "owner"), "{free:?}");
}

/// One fault, and the rule that must find it.
type Fault = (&'static str, Box<dyn FnOnce(String) -> String>, &'static str, &'static str);

fn fault(
    path: &'static str,
    change: impl FnOnce(String) -> String + 'static,
    rule: &'static str,
    says: &'static str,
) -> Fault {
    (path, Box::new(change), rule, says)
}

fn of_manifests() -> Vec<Fault> {
    let types = "crates/base/types/Cargo.toml";
    vec![
        fault("Cargo.lock", append("[[package]]\nname = \"openssl\"\n"), "refused library", "rustls"),
        fault(types, depend("dependencies", "memchr.workspace = true"), "unused dependency", "memchr"),
        fault(
            "Cargo.toml",
            |text| text.replace("[workspace.dependencies]", "[workspace.dependencies]\nnobodys-crate = \"1\""),
            "unused dependency",
            "nobodys-crate",
        ),
        fault(
            "Cargo.toml",
            |text| text.replace("rust-version = \"1.95\"", "rust-version = \"1.96\""),
            "workspace",
            "1.96",
        ),
        fault("rust-toolchain.toml", append("[toolchain]\n"), "workspace", "rustup"),
        fault("examples/hello-rust/rust-toolchain", append("1.95\n"), "workspace", "rustup"),
        fault(
            types,
            |text| text.replace("rust-version.workspace = true", "rust-version = \"1.80\""),
            "workspace",
            "rust-version",
        ),
        fault(types, |text| text.replace("[lints]\nworkspace = true", ""), "workspace", "lints"),
        fault(types, |text| text.replace("toml.workspace = true", "toml = \"1\""), "workspace", "the version of toml"),
        fault(types, |text| text.replace("mayfly-types", "mayfly-helpers"), "name", "helpers"),
        fault("ARCHITECTURE.md", |text| text.replace("`toolchain`", "the tools"), "map", "toolchain"),
    ]
}

fn of_sources() -> Vec<Fault> {
    let source = "crates/data/dispatch/src/extra.rs";
    let call = |name: &str| format!("//! A test.\nfn f() {{ {name}!(\"later\") }}\n");
    let long = |lines: usize| "//! A test.\n".to_owned() + &"// x\n".repeat(lines);
    vec![
        fault("crates/base/types/src/utils.rs", append("//! A test.\n"), "name", "utils"),
        fault("crates/base/types/tests/common/mod.rs", append("//! A test.\n"), "name", "common"),
        fault(source, append("//! A test.\npub(crate) mod helper {\n}\n"), "name", "helper"),
        fault(source, append("fn f() {}\n"), "first line", "//!"),
        fault(source, append("//! \nfn f() {}\n"), "first line", "//!"),
        fault(source, append(long(500)), "size", "501 lines"),
        fault("crates/data/dispatch/tests/long.rs", append(long(1_000)), "size", "1001 lines"),
        fault(source, append(call("todo")), "left behind", "todo"),
        fault(source, append(call("unimplemented")), "left behind", "unimplemented"),
        fault(source, append(call("dbg")), "left behind", "dbg"),
        fault(source, append("//! A test.\n#[ignore = \"slow\"]\n"), "skipped test", "nobody runs"),
        fault(
            "crates/data/gateway/src/lib.rs",
            |text| text.replace("**Invariant**", "Note"),
            "invariant",
            "states no **Invariant**",
        ),
        fault(
            "docs/promises.md",
            append("| x | test `nobody_ever_wrote_this` |\n"),
            "promise",
            "nobody_ever_wrote_this",
        ),
        fault("docs/new.md", append("see [there](no/such/page.md)\n"), "link", "no/such/page.md"),
    ]
}

fn of_places() -> Vec<Fault> {
    let host = |a: &str, b: &str| append(format!("\nfetch https://{a}.{b}/x\n"));
    let folder = |a: &str, b: &str| append(format!("\ncd {a}{b}x\n"));
    vec![
        fault("examples/hello-node/README.md", host("registry.npmjs", "org"), "registry", "registry.npmjs"),
        fault("examples/hello-node/README.md", host("files.pythonhosted", "org"), "registry", "pythonhosted"),
        fault(
            "examples/web-express/package-lock.json",
            append("\"resolved\": \"http://mirror/x\"\n"),
            "registry",
            "resolved",
        ),
        fault("examples/hello-node/.npmrc", append("registry=http://mirror\n"), "registry", "registry"),
        fault("examples/ric-python/requirements.txt", append("--index-url http://mirror\n"), "registry", "--index-url"),
        fault("examples/hello-java/pom.xml", append("<repository>\n"), "registry", "<repository>"),
        fault(".cargo/config.toml", append("[source.crates-io]\nreplace-with = \"mirror\"\n"), "registry", "[source"),
        fault("examples/hello-rust/Cargo.lock", append("source = \"git+https://example.net/x\"\n"), "registry", "git+"),
        fault("README.md", folder("/ro", "ot/"), "path", "of one machine"),
        fault("README.md", folder("/wo", "rk/"), "path", "of one machine"),
        fault("README.md", folder("/ho", "me/"), "path", "of one machine"),
    ]
}

#[test]
fn each_other_fault_is_reported_by_its_rule() {
    let copy = Copy::make();
    for (path, change, rule, says) in of_manifests().into_iter().chain(of_sources()).chain(of_places()) {
        let findings = copy.with(path, change);
        let hit = findings.iter().find(|finding| finding.rule == rule && finding.what.contains(says));
        assert!(hit.is_some(), "{path}: {rule}: {says}: {findings:?}");
    }
}

#[test]
fn a_finding_says_where_what_and_what_to_do() {
    let copy = Copy::make();
    let source = "crates/data/dispatch/src/extra.rs";
    let text = format!("//! A test.\n\nfn f() {{ {}!() }}\n", "todo");
    let findings = copy.with(source, append(text));
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("{source}:3: left behind: `{}!` is in the code. Finish it, or take it out", "todo")]);
}
