//! Rust: cargo's release build, natively and for WebAssembly.

use super::{
    build::{Build, blocking, disk, failed},
    cache::Place,
    go::{PROGRAM, prebuilt},
    node,
    run::Call,
    tree::Content,
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};
use toolchain::Tool;
use types::Fault;

pub(super) async fn build(build: &Build<'_>) -> Result<Content, Fault> {
    if !build.has("Cargo.toml") {
        return prebuilt(build, "Cargo.toml").map(|()| Content::Rust);
    }
    let wanted = |artifact: &Artifact| artifact.kinds.iter().any(|kind| kind == "bin") && artifact.executable.is_some();
    let made = compile(build, None, wanted, |artifact| artifact.executable.clone()).await?;
    let program = choose(&made.files, build.manifest.entry.as_deref())?;
    made.take(program, build.dir().join(PROGRAM)).await?;
    Ok(Content::Rust)
}

/// What cargo says about each thing that it made.
/// Source: the Cargo book, "External tools", JSON messages.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// One thing that cargo made.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) name: String,
    pub(super) kinds: Vec<String>,
    pub(super) executable: Option<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

/// What a build made, by name; it lies in cargo's folder, which stays as long as this does.
pub(super) struct Made {
    pub(super) files: Vec<(String, PathBuf)>,
    place: Place,
}

impl Made {
    /// Copies one of the files to where it is packed from, and gives cargo's folder back to the cache.
    pub(super) async fn take(self, file: PathBuf, to: PathBuf) -> Result<(), Fault> {
        blocking(move || {
            copy(&file, &to)?;
            self.place.done();
            Ok(())
        })
        .await
    }
}

/// Builds, and finds the `file` of each thing that is `wanted`.
pub(super) async fn compile(
    build: &Build<'_>,
    target: Option<&str>,
    wanted: impl Fn(&Artifact) -> bool,
    file: impl Fn(&Artifact) -> Option<PathBuf>,
) -> Result<Made, Fault> {
    isolate(build)?;
    let cargo = build.tools.builder(Tool::Cargo).await?;
    let cache = build.tools.cache.clone();
    let key = format!("cargo-{}", build.manifest.name);
    let place = blocking(move || cache.place(&key).map_err(disk)).await?;
    let target = target.map(|target| vec!["--target", target]).unwrap_or_default();
    let call = Call::new("cargo", &cargo.path)
        .args(["build", "--release"])
        .args(target)
        .quiet_args(["--message-format=json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", &place.path)
        .env("CARGO_TERM_COLOR", "never");
    let messages = build.session.capture(&call).await?;
    let named = |artifact: Artifact| Some((artifact.name.clone(), file(&artifact)?));
    let files = artifacts(&messages).filter(wanted).filter_map(named).collect();
    Ok(Made { files, place })
}

fn artifacts(messages: &[u8]) -> impl Iterator<Item = Artifact> {
    let lines = messages.split(|byte| *byte == b'\n');
    // Other lines come from build scripts that print.
    lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok()).filter_map(|message| {
        let target = message.target.filter(|_| message.reason == "compiler-artifact")?;
        Some(Artifact {
            name: target.name,
            kinds: target.kind,
            executable: message.executable,
            files: message.filenames,
        })
    })
}

/// The one program, or the one that `entry` names.
fn choose(built: &[(String, PathBuf)], entry: Option<&str>) -> Result<PathBuf, Fault> {
    let named = |name: &str| built.len() == 1 || entry.is_none_or(|entry| entry == name);
    let fitting: Vec<&(String, PathBuf)> = built.iter().filter(|(name, _)| named(name)).collect();
    match fitting.as_slice() {
        [(_, program)] => Ok(program.clone()),
        [] => Err(failed("the package has no binary target, or none that `entry` names: a function needs a `main`")),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(failed(format!("the package has several programs ({}): name one with `entry`", names.join(", "))))
        }
    }
}

/// Makes the package a workspace of its own: the build's folder may lie below one that knows nothing about it.
fn isolate(build: &Build<'_>) -> Result<(), Fault> {
    let Some(text) = node::read(build, "Cargo.toml")? else { return Ok(()) };
    let table: toml::Table = text.parse().map_err(|e| failed(format!("Cargo.toml: {e}")))?;
    let named = table.get("package").is_some_and(|package| package.get("workspace").is_some());
    if named || table.contains_key("workspace") {
        return Ok(());
    }
    fs::write(build.dir().join("Cargo.toml"), format!("{text}\n[workspace]\n")).map_err(disk)
}

/// Copies a program to where it is packed from.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(disk)?;
    }
    if from != to {
        fs::copy(from, to).map_err(disk)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_the_rest_is_passed_over() {
        let text = br#"{"reason":"compiler-artifact","target":{"name":"dep","kind":["lib"]},"executable":null,"filenames":["/t/libdep.rlib"]}
warning: a build script's own line
{"reason":"compiler-artifact","target":{"name":"app","kind":["bin"]},"executable":"/t/app","filenames":["/t/app"]}
{"reason":"build-finished","success":true}
"#;
        let found: Vec<Artifact> = artifacts(text).collect();
        assert_eq!((found.len(), found[1].name.as_str()), (2, "app"));
        assert_eq!(found[1].executable.as_deref(), Some(Path::new("/t/app")));
    }

    #[test]
    fn one_program_is_chosen() {
        let built = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), PathBuf::from(n))).collect::<Vec<_>>();
        assert_eq!(choose(&built(&["a"]), None).unwrap(), Path::new("a"));
        assert_eq!(choose(&built(&["a"]), Some("bootstrap")).unwrap(), Path::new("a"));
        assert_eq!(choose(&built(&["a", "b"]), Some("b")).unwrap(), Path::new("b"));
        assert!(choose(&built(&["a", "b"]), None).unwrap_err().detail.contains("a, b"));
        assert!(choose(&built(&[]), None).unwrap_err().detail.contains("no binary target"));
    }
}
