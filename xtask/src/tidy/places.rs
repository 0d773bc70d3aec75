//! Nothing of one machine or one network gets into the tree: no hosts of package registries, no folders of a person.
//!
//! Everybody's registry is what their own tools are set to; a name in the tree would override that for all.

use super::{
    Finding,
    house::{File, House},
};

/// Hosts of registries in two parts, so that this file does not name them itself.
const HOSTS: &[(&str, &str)] = &[
    ("index.crates", "io"),
    ("static.crates", "io"),
    ("registry.npmjs", "org"),
    ("registry.yarnpkg", "com"),
    ("registry.npmmirror", "com"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("proxy.golang", "org"),
    ("sum.golang", "org"),
    ("goproxy", "io"),
    ("goproxy", "cn"),
    ("repo.maven.apache", "org"),
    ("repo1.maven", "org"),
    ("registry-1.docker", "io"),
    ("docker", "io"),
    ("ghcr", "io"),
    ("quay", "io"),
    ("gcr", "io"),
    ("deb.debian", "org"),
    ("static.rust-lang", "org"),
    ("rubygems", "org"),
];

/// Folders of a person or a build machine, in two parts for the same reason.
const FOLDERS: &[(&str, &str)] = &[("/ro", "ot/"), ("/wo", "rk/"), ("/ho", "me/"), ("/Us", "ers/")];

/// Settings that send a tool elsewhere, by the end of the file's name.
const SETTINGS: &[(&str, &[&str])] = &[
    (".npmrc", &["registry"]),
    (".yarnrc", &["registry"]),
    ("package-lock.json", &["\"resolved\""]),
    ("requirements.txt", &["--index-url", "--extra-index-url", "-i ", "--find-links", "--trusted-host"]),
    ("pip.conf", &["index-url"]),
    ("pyproject.toml", &["index-url", "index_url"]),
    ("pom.xml", &["<repository>", "<pluginRepository>", "<mirror>"]),
    ("settings.xml", &["<mirror>", "<repository>"]),
    (".cargo/config.toml", &["[source", "[registries", "[registry"]),
    ("go.env", &["GOPROXY"]),
];

/// The one source that a lock file of cargo may name: cargo's own word for its default registry.
const CARGO_SOURCE: (&str, &str) = ("registry+https://github.com/rust-lang/crates", "io-index");

/// Places that may name what is refused elsewhere: path, text in the line, why.
const ALLOWED: &[(&str, &str, &str)] =
    &[("crates/bin/mayfly/src/cli/place.rs", "ann", "a made-up person's home, in the table of a test")];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let words = Words {
        hosts: HOSTS.iter().map(|(a, b)| format!("{a}.{b}")).collect(),
        folders: FOLDERS.iter().map(|(a, b)| [*a, *b].concat()).collect(),
        cargo_source: [CARGO_SOURCE.0, CARGO_SOURCE.1].join("."),
    };
    house.files.iter().flat_map(|file| words.check_file(file)).collect()
}

/// The tables above, put together.
struct Words {
    hosts: Vec<String>,
    folders: Vec<String>,
    cargo_source: String,
}

impl Words {
    fn check_file(&self, file: &File) -> Vec<Finding> {
        let keys = SETTINGS.iter().filter(|(name, _)| file.path.ends_with(name));
        let keys: Vec<&str> = keys.flat_map(|(_, keys)| *keys).copied().collect();
        // Most files have none of these words: one look at the whole is cheaper than one at each line.
        let is_lock = file.path.ends_with("Cargo.lock");
        if !is_lock && !self.is_worth_reading(&file.text, &keys) {
            return Vec::new();
        }
        let lines = file.text.lines().enumerate().filter(|(_, line)| !is_allowed(&file.path, line));
        let faults = lines.flat_map(|(index, line)| {
            let faults = match is_lock {
                true => self.lock_line(line).into_iter().collect(),
                false => self.line(line, &keys),
            };
            faults.into_iter().map(move |fault| (index + 1, fault))
        });
        faults.map(|(line, (rule, what, remedy))| Finding::new(&file.path, line, rule, what, remedy)).collect()
    }

    fn is_worth_reading(&self, text: &str, keys: &[&str]) -> bool {
        let words = self.hosts.iter().chain(&self.folders).map(String::as_str).chain(keys.iter().copied());
        words.into_iter().any(|word| text.contains(word))
    }

    /// A line of cargo's lock file.
    fn lock_line(&self, line: &str) -> Option<Fault> {
        let foreign = line.starts_with("source = ") && !line.contains(&self.cargo_source);
        let remedy = "Resolve it with the default registry, or bring the code into the tree";
        foreign.then(|| ("registry", format!("{line} is not the default registry"), remedy))
    }

    /// A line of any other file, with the settings that it may not have.
    fn line(&self, line: &str, keys: &[&str]) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(host) = self.hosts.iter().find(|host| names_host(line, host)) {
            faults.push((
                "registry",
                format!("`{host}` is a registry's host"),
                "Leave the choice to the user's own tool",
            ));
        }
        if let Some(key) = keys.iter().find(|key| is_setting(line, key)) {
            let remedy = "Take it out (npm: omit-lockfile-registry-resolved=true in .npmrc)";
            faults.push(("registry", format!("`{key}` chooses a registry"), remedy));
        }
        if let Some(folder) = self.folders.iter().find(|folder| names_folder(line, folder)) {
            let what = format!("`{folder}…` is a folder of one machine");
            faults.push(("path", what, "Use a path from the tree, or one that is asked for"));
        }
        faults
    }
}

/// Rule, what is wrong, what to do.
type Fault = (&'static str, String, &'static str);

fn is_allowed(path: &str, line: &str) -> bool {
    ALLOWED.iter().any(|(file, text, _)| *file == path && line.contains(text))
}

fn names_host(line: &str, host: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-';
    line.match_indices(host).any(|(at, _)| !line[..at].ends_with(part) && !line[at + host.len()..].starts_with(part))
}

/// A key at the line's beginning; one in quotes or brackets counts anywhere.
fn is_setting(line: &str, key: &str) -> bool {
    let marked = key.starts_with(['"', '<', '[']);
    if marked { line.contains(key) } else { line.trim_start().starts_with(key) }
}

/// The folder from the file system's root, with a name behind it.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        let is_start = before.is_none_or(|c| !c.is_alphanumeric() && !['.', '-', '_', '/', '}', '*', '~'].contains(&c));
        is_start && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
    })
}
