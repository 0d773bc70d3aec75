//! WebAssembly: a component that is there, or one made by npm or cargo.

use super::{
    build::{Build, failed, invalid},
    cargo, node,
    run::Call,
    tree::Content,
};
use std::path::{Component, Path, PathBuf};
use toolchain::Tool;
use types::{Code, Fault};

/// Where a component is put that the manifest gives no name.
pub(super) const COMPONENT: &str = "component.wasm";
/// The target that makes components of `wasi:http`.
const TARGET: &str = "wasm32-wasip2";

pub(super) async fn build(build: &Build<'_>) -> Result<Content, Fault> {
    let entry = entry(build)?;
    if build.dir().join(&entry).is_file() {
        build.skip(&format!("{} is there", entry.display()));
    } else if let Some(text) = node::read(build, "package.json")? {
        javascript(build, &text, &entry).await?;
    } else if build.has("Cargo.toml") {
        rust(build, &entry).await?;
    }
    component(build)
}

/// The component's place in the folder, and nothing but that goes into the artifact.
pub(super) fn component(build: &Build<'_>) -> Result<Content, Fault> {
    let entry = entry(build)?;
    if build.dir().join(&entry).is_file() {
        return Ok(Content::Component(entry));
    }
    Err(failed(format!("there is no component `{}` after the build: `entry` names it", entry.display())))
}

fn entry(build: &Build<'_>) -> Result<PathBuf, Fault> {
    let entry = Path::new(build.manifest.entry.as_deref().unwrap_or(COMPONENT));
    let inside = entry.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(invalid("entry", format_args!("`{}` leads out of the folder", entry.display())));
    }
    Ok(entry.components().filter(|part| *part != Component::CurDir).collect())
}

async fn javascript(build: &Build<'_>, text: &str, entry: &Path) -> Result<(), Fault> {
    let package = node::Package::parse(text)?;
    if !package.scripts.contains_key("build") {
        return Err(failed("package.json has no script `build` that would make the component"));
    }
    node::install(build, text, &package, true).await?;
    build.session.run(&node::npm(build).await?.args(["run", "build"])).await?;
    if entry == Path::new(COMPONENT) && !build.dir().join(entry).is_file() {
        let made = only_component(build.dir(), &["", "dist", "build"])?;
        cargo::copy(&made, &build.dir().join(entry))?;
    }
    Ok(())
}

async fn rust(build: &Build<'_>, entry: &Path) -> Result<(), Fault> {
    check_target(build).await?;
    let component = |artifact: &cargo::Artifact| {
        let made = artifact.kinds.iter().any(|kind| kind == "bin" || kind == "cdylib");
        let is_wasm = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
        artifact.files.iter().find(is_wasm).filter(|_| made).cloned()
    };
    let made = cargo::compile(build, Some(TARGET), |artifact| component(artifact).is_some(), component).await?;
    match made.files.as_slice() {
        [(_, file)] => {
            let file = file.clone();
            made.take(file, build.dir().join(entry)).await
        }
        [] => Err(failed("the package makes no component: it needs a `cdylib` library or a binary")),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(failed(format!("the package makes several components: {}", names.join(", "))))
        }
    }
}

/// Asks the compiler for the target's libraries before cargo fails without a word about the way out.
async fn check_target(build: &Build<'_>) -> Result<(), Fault> {
    let cargo = build.tools.builder(Tool::Cargo).await?;
    let rustc =
        Call::new("rustc", &cargo.path.with_file_name("rustc")).args(["--print", "target-libdir", "--target", TARGET]);
    let libraries = build.session.capture(&rustc).await?;
    let libraries = String::from_utf8_lossy(&libraries);
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    let detail = format!("Rust's target {TARGET} is not installed here: rustup target add {TARGET}");
    Err(Fault::new(Code::RuntimeUnavailable, detail))
}

/// The one file `*.wasm` in `folders`.
pub(super) fn only_component(root: &Path, folders: &[&str]) -> Result<PathBuf, Fault> {
    let listings = folders.iter().filter_map(|folder| std::fs::read_dir(root.join(folder)).ok());
    let files = listings.flat_map(|listing| listing.flatten().map(|entry| entry.path()));
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(failed("the build made no .wasm file in the folder, dist or build: `entry` can name another place")),
        several => Err(invalid("entry", format_args!("there are {} .wasm files: name the component", several.len()))),
    }
}
