//! The workspace's own promises: one Rust version, one set of lints and versions, and nothing that makes rustup
//! download a toolchain.

use super::{
    Finding,
    house::{Crate, House, Plane},
};
use toml::Value;

const RULE: &str = "workspace";

/// The oldest Rust that builds this.
const RUST_VERSION: &str = "1.95";

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let package = house.root.get("workspace").and_then(|workspace| workspace.get("package"));
    let version = package.and_then(|package| package.get("rust-version")).and_then(Value::as_str);
    if version != Some(RUST_VERSION) {
        let what = format!("rust-version is {}, not \"{RUST_VERSION}\"", version.unwrap_or("absent"));
        findings.push(Finding::new("Cargo.toml", 1, RULE, what, "Set it in [workspace.package]"));
    }
    for file in &house.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if name == "rust-toolchain" || name == "rust-toolchain.toml" {
            let what = format!("{name} makes rustup download a toolchain");
            findings.push(Finding::new(&file.path, 1, RULE, what, "Remove it: rust-version says what is needed"));
        }
    }
    house.crates.iter().for_each(|one| findings.extend(check_crate(one)));
    findings
}

fn check_crate(one: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    let inherits = |value: Option<&Value>| value.and_then(|value| value.get("workspace")).is_some();
    let package = one.manifest.get("package");
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(package.and_then(|package| package.get(key))) {
            let what = format!("{} sets {key} itself", one.name);
            findings.push(Finding::new(&one.manifest_path(), 1, RULE, what, format!("Write {key}.workspace = true")));
        }
    }
    if one.manifest.get("lints").and_then(|lints| lints.get("workspace")).is_none() {
        let what = format!("{} leaves the workspace's lints", one.name);
        findings.push(Finding::new(&one.manifest_path(), 1, RULE, what, "Write [lints] workspace = true"));
    }
    let own_version = |key: &str| {
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let values = tables.iter().filter_map(|table| one.manifest.get(*table)?.get(key));
        values.into_iter().any(|value| value.get("workspace").is_none())
    };
    if one.plane != Plane::Outside {
        for dependency in one.dependencies.iter().filter(|dependency| own_version(&dependency.key)) {
            let what = format!("{} sets the version of {} itself", one.name, dependency.key);
            let remedy = "Versions stand once, in [workspace.dependencies]";
            findings.push(Finding::new(&one.manifest_path(), dependency.line, RULE, what, remedy));
        }
    }
    findings
}
