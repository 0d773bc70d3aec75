//! The tree as git sees it, and the crates as their manifests describe them.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path, process::Command};
use toml::{Table, Value};

/// Everything that the rules look at.
pub(crate) struct House {
    /// The text files that are tracked or about to be.
    pub(crate) files: Vec<File>,
    /// The root manifest.
    pub(crate) root: Table,
    pub(crate) crates: Vec<Crate>,
}

pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The street that a crate stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Base,
    Data,
    Node,
    Control,
    Bin,
    /// Tests, benches and chores: they link nothing of ours, and nothing links them; any library is theirs.
    Outside,
}

pub(crate) struct Crate {
    /// Without the prefix `mayfly-`.
    pub(crate) name: String,
    pub(crate) plane: Plane,
    /// Its folder, with a `/` at the end.
    pub(crate) folder: String,
    pub(crate) manifest: Table,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

pub(crate) struct Dependency {
    /// As the manifest calls it.
    pub(crate) key: String,
    /// The package's name; ours without the prefix `mayfly-`.
    pub(crate) package: String,
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

const SECTIONS: [(&str, Kind); 3] =
    [("dependencies", Kind::Normal), ("build-dependencies", Kind::Build), ("dev-dependencies", Kind::Dev)];

impl House {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let files = files(root)?;
        let text = |path: &str| {
            let file = files.iter().find(|file| file.path == path);
            file.map(|file| file.text.as_str()).with_context(|| format!("there is no {path}"))
        };
        let manifest: Table = text("Cargo.toml")?.parse().context("Cargo.toml")?;
        let workspace = manifest.get("workspace");
        let members = workspace.and_then(|workspace| workspace.get("members")).and_then(Value::as_array);
        let members = members.context("Cargo.toml names no members")?;
        let mut crates = Vec::new();
        for member in members.iter().filter_map(Value::as_str) {
            let path = format!("{member}/Cargo.toml");
            crates.push(read_crate(member, text(&path)?, &manifest).with_context(|| path.clone())?);
        }
        Ok(Self { files, root: manifest, crates })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|one| one.name == name)
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The files of one crate that end so.
    pub(crate) fn files_of<'a>(&'a self, one: &'a Crate, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.starts_with(&one.folder) && file.path.ends_with(end))
    }

    /// The library behind a key of `[workspace.dependencies]`.
    pub(crate) fn workspace_dependencies(&self) -> impl Iterator<Item = &str> {
        let table = self.root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        table.and_then(Value::as_table).into_iter().flat_map(|table| table.keys().map(String::as_str))
    }
}

impl Crate {
    pub(crate) fn manifest_path(&self) -> String {
        format!("{}Cargo.toml", self.folder)
    }
}

/// What git tracks, and what it would: a file is held to the rules before it is committed.
fn files(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("cannot start git, which tells the project's files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let listed = String::from_utf8(output.stdout).context("a file's name is no UTF-8")?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    // What is no text has nothing for us to read; what was just deleted is not there.
    let read = |path: &str| Some(File { path: path.to_owned(), text: fs::read_to_string(root.join(path)).ok()? });
    Ok(paths.into_iter().filter_map(read).collect())
}

fn read_crate(member: &str, text: &str, root: &Table) -> Result<Crate> {
    let manifest: Table = text.parse()?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let name = short(name.context("the package has no name")?);
    let mut dependencies = Vec::new();
    for (section, kind) in SECTIONS {
        let by_target = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
        let tables = by_target.filter_map(|(_, target)| target.get(section)).chain(manifest.get(section));
        for (key, value) in tables.filter_map(Value::as_table).flatten() {
            let package = short(package(key, value, root));
            let line = line_of(text, section, key);
            dependencies.push(Dependency { key: key.clone(), package, kind, line });
        }
    }
    Ok(Crate { name, plane: plane(member), folder: format!("{member}/"), manifest, dependencies })
}

fn plane(member: &str) -> Plane {
    let mut parts = member.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some("base")) => Plane::Base,
        (Some("crates"), Some("data")) => Plane::Data,
        (Some("crates"), Some("node")) => Plane::Node,
        (Some("crates"), Some("control")) => Plane::Control,
        (Some("crates"), Some("bin")) => Plane::Bin,
        _ => Plane::Outside,
    }
}

/// The package behind a dependency's key: renamed here, or in the workspace.
fn package<'a>(key: &'a str, value: &'a Value, root: &'a Table) -> &'a str {
    let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let described = if inherited { shared.and_then(|shared| shared.get(key)) } else { Some(value) };
    described.and_then(|value| value.get("package")).and_then(Value::as_str).unwrap_or(key)
}

fn short(package: &str) -> String {
    package.strip_prefix("mayfly-").unwrap_or(package).to_owned()
}

/// The line of `key` in `[…section]`, or of the section's own header for it.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = header.ends_with(section);
            if header.ends_with(&format!("{section}.{key}")) {
                return index + 1;
            }
        } else if inside && line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '='])) {
            return index + 1;
        }
    }
    1
}
