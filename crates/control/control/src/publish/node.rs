//! Node.js: dependencies by npm, and the package's own build script.

use super::{
    build::{Build, failed},
    cache,
    run::Call,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs};
use toolchain::Tool;
use types::{Code, Fault, Runtime};

const MODULES: &str = "node_modules";
/// Scripts of the package itself that npm runs while it installs: what they do can't be seen from the lock file.
const INSTALL_SCRIPTS: [&str; 7] =
    ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];

/// What we read of `package.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Package {
    pub(super) main: Option<String>,
    pub(super) scripts: BTreeMap<String, String>,
    pub(super) dependencies: BTreeMap<String, serde_json::Value>,
    pub(super) optional_dependencies: BTreeMap<String, serde_json::Value>,
    pub(super) workspaces: Option<serde_json::Value>,
}

impl Package {
    /// # Errors
    /// `build_failed` with the line that can't be read.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text).map_err(|e| failed(format!("package.json: {e}")))
    }
}

pub(super) async fn build(build: &Build<'_>) -> Result<(), Fault> {
    let Some(text) = read(build, "package.json")? else {
        build.skip("there is no package.json");
        return Ok(());
    };
    let package = Package::parse(&text)?;
    let script = package.scripts.contains_key("build");
    if !script && package.dependencies.is_empty() && package.optional_dependencies.is_empty() {
        build.skip("package.json has neither dependencies nor a build script");
        return Ok(());
    }
    install(build, &text, &package, script).await?;
    if script {
        let npm = npm(build).await?;
        build.session.run(&npm.clone().args(["run", "build"])).await?;
        build.session.run(&npm.args(["prune", "--omit=dev"])).await?;
    }
    Ok(())
}

/// Installs the dependencies, those for development as well where `dev`; from the cache where the lock file says it all.
pub(super) async fn install(build: &Build<'_>, text: &str, package: &Package, dev: bool) -> Result<(), Fault> {
    let lock = match read(build, "npm-shrinkwrap.json")? {
        Some(lock) => Some(lock),
        None => read(build, "package-lock.json")?,
    };
    if lock.is_none() && (build.has("yarn.lock") || build.has("pnpm-lock.yaml")) {
        build
            .session
            .output
            .step("npm reads no lock file of yarn or pnpm: versions are chosen anew; [build] command can call them");
    }
    let key = match &lock {
        Some(lock) if cacheable(lock, package) => Some(key(build, lock, text, dev).await?),
        _ => None,
    };
    if let Some(key) = &key
        && build.fetch(key, MODULES).await?
    {
        return Ok(());
    }
    let verb = if lock.is_some() { "ci" } else { "install" };
    let include = if dev { "--include=dev" } else { "--omit=dev" };
    build.session.run(&npm(build).await?.args([verb, include])).await?;
    match key {
        Some(key) if build.dir().join(MODULES).is_dir() => build.keep(&key, MODULES).await,
        _ => Ok(()),
    }
}

/// Whether `node_modules` depends on nothing but the files that [`key`] looks at.
fn cacheable(lock: &str, package: &Package) -> bool {
    let own_scripts = INSTALL_SCRIPTS.iter().any(|script| package.scripts.contains_key(*script));
    // Folders beside the function: the lock file doesn't know their contents.
    let local = lock.contains("\"file:") || lock.contains("\"link\"");
    !own_scripts && !local && package.workspaces.is_none()
}

async fn key(build: &Build<'_>, lock: &str, package: &str, dev: bool) -> Result<String, Fault> {
    let npm = build.tools.builder(Tool::Npm).await?;
    let node = build.tools.runtime(Runtime::Nodejs).await?.map(|node| node.version).unwrap_or_default();
    let settings = read(build, ".npmrc")?.unwrap_or_default();
    let parts = [lock, package, &settings, &node, &npm.version, std::env::consts::ARCH, if dev { "dev" } else { "" }];
    Ok(cache::key("node", parts.map(str::as_bytes)))
}

pub(super) async fn npm(build: &Build<'_>) -> Result<Call, Fault> {
    let npm = build.tools.builder(Tool::Npm).await?;
    let off = ["npm_config_audit", "npm_config_fund", "npm_config_update_notifier", "npm_config_progress"];
    Ok(off.into_iter().fold(Call::new("npm", &npm.path), |call, name| call.env(name, "false")))
}

/// A file of the folder as text; `None` where there is none.
pub(super) fn read(build: &Build<'_>, file: &str) -> Result<Option<String>, Fault> {
    match fs::read_to_string(build.dir().join(file)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::new(Code::BuildFailed, format!("{file}: {error}"))),
    }
}
