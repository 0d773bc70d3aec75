//! What the tests need beyond Rust, how each is told, and which Debian packages bring it.

use crate::run::answer;
use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// One thing that must be there.
pub(crate) struct Need {
    /// The program's names, any of which will do.
    pub(crate) names: &'static [&'static str],
    /// Arguments that make it tell its version.
    args: &'static [&'static str],
    /// The oldest version that does; empty for any.
    min: &'static [u32],
    /// Runs functions, which as root have users of their own: below a closed home it is of no use to them.
    runs_functions: bool,
    pub(crate) packages: &'static [&'static str],
    pub(crate) why: &'static str,
}

const fn program(names: &'static [&'static str], packages: &'static [&'static str], why: &'static str) -> Need {
    Need { names, args: &["--version"], min: &[], runs_functions: false, packages, why }
}

const fn runtime(name: &'static [&'static str], min: &'static [u32], package: &'static [&'static str]) -> Need {
    Need { min, runs_functions: true, ..program(name, package, "the examples run on it") }
}

/// Versions are those of the examples: see examples/README.md.
pub(crate) const NEEDS: &[Need] = &[
    runtime(&["node", "nodejs"], &[20], &["nodejs"]),
    runtime(&["python3"], &[3, 11], &["python3"]),
    Need { args: &["-version"], ..runtime(&["java"], &[17], &["openjdk-17-jdk-headless"]) },
    program(&["npm"], &["npm"], "builds Node functions"),
    Need {
        args: &["-m", "pip", "--version"],
        min: &[22, 3],
        ..program(&["python3"], &["python3-pip"], "pip builds Python functions")
    },
    Need { args: &["version"], min: &[1, 26], ..program(&["go"], &["golang-go"], "builds Go functions") },
    Need { min: &[17], ..program(&["javac"], &["openjdk-17-jdk-headless"], "builds Java functions") },
    program(&["mvn"], &["maven"], "builds Java functions"),
    program(&["cc", "gcc", "clang"], &["gcc", "libc6-dev"], "links programs"),
    program(&["g++", "clang++"], &["g++"], "the example ric-node compiles aws-lambda-ric"),
    program(&["make"], &["make"], "the example ric-node compiles aws-lambda-ric"),
    program(&["cmake"], &["cmake"], "the example ric-node compiles aws-lambda-ric"),
    program(&["autoconf"], &["autoconf"], "the example ric-node compiles aws-lambda-ric"),
    program(&["automake"], &["automake"], "the example ric-node compiles aws-lambda-ric"),
    program(&["libtoolize"], &["libtool"], "the example ric-node compiles aws-lambda-ric"),
    program(&["tar"], &["tar"], "tests of archives compare with it"),
    program(&["unshare"], &["util-linux"], "tests of a full disk mount a small one of their own"),
    program(&["mount"], &["mount"], "tests of a full disk mount a small one of their own"),
    program(&["curl"], &["curl"], "tests call functions as a user does"),
    program(&["h2load"], &["nghttp2-client"], "tests load the gateway over HTTP/2"),
    Need { args: &["version"], ..program(&["openssl"], &["openssl"], "tests make certificates") },
    program(&["git"], &["git"], "tidy asks it for the project's files"),
];

/// Where programs are looked for.
pub(crate) struct Places {
    pub(crate) folders: Vec<PathBuf>,
    /// Functions run as other users: their runtimes must be open to everybody.
    pub(crate) for_others: bool,
}

impl Places {
    pub(crate) fn here(is_root: bool) -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        Self { folders: env::split_paths(&path).collect(), for_others: is_root }
    }
}

impl Need {
    /// `Err` says why it is missing.
    pub(crate) fn check(&self, places: &Places) -> Result<(), String> {
        let mut refused = Vec::new();
        let files = self.names.iter().flat_map(|name| places.folders.iter().map(move |folder| folder.join(name)));
        for file in files.filter(|file| file.is_file()) {
            if self.runs_functions && places.for_others && !is_open(&file) {
                refused.push(format!("{} is closed to the users that functions run as", file.display()));
                continue;
            }
            match answer(&file, self.args) {
                None => refused.push(format!("{} {} fails", file.display(), self.args.join(" "))),
                Some(text) if is_enough(&text, self.min) => return Ok(()),
                Some(text) => {
                    refused.push(format!("{} is {}", file.display(), text.lines().next().unwrap_or_default()))
                }
            }
        }
        if refused.is_empty() { Err("not on the PATH".into()) } else { Err(refused.join("; ")) }
    }

    /// As a person would ask for it: `go 1.26`.
    pub(crate) fn title(&self) -> String {
        let min: Vec<String> = self.min.iter().map(u32::to_string).collect();
        let name = if self.args.contains(&"pip") { "pip" } else { self.names[0] };
        if min.is_empty() { name.to_owned() } else { format!("{name} {} or newer", min.join(".")) }
    }
}

/// True where anybody may execute the real file and walk to it.
fn is_open(file: &Path) -> bool {
    let Ok(real) = file.canonicalize() else { return false };
    let open = |path: &Path| path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    real.ancestors().all(open)
}

/// The first version in `text` is at least `min`.
fn is_enough(text: &str, min: &[u32]) -> bool {
    min.is_empty() || version(text).is_some_and(|found| found.as_slice() >= min)
}

/// The first number of `text`, with the parts behind its points.
fn version(text: &str) -> Option<Vec<u32>> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let number = text[start..].split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    Some(number.split('.').map_while(|part| part.parse().ok()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (text, found) in [
            ("v20.20.2\n", vec![20, 20, 2]),
            ("Python 3.11.2", vec![3, 11, 2]),
            ("go version go1.26.8 linux/amd64", vec![1, 26, 8]),
            ("openjdk version \"17.0.15\" 2025-04-15", vec![17, 0, 15]),
            ("pip 23.0.1 from /x/python3.11 (python 3.11)", vec![23, 0, 1]),
            ("javac 17", vec![17]),
        ] {
            assert_eq!(version(text), Some(found), "{text}");
        }
        assert!(is_enough("go1.26", &[1, 26]) && !is_enough("go1.19.8", &[1, 26]) && !is_enough("x", &[1]));
    }

    #[test]
    fn what_is_missing_too_old_or_closed_is_told() {
        let dir = tempfile::tempdir_in("/tmp").unwrap(); // Open to everybody, unlike some homes.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let places = |for_others| Places { folders: vec![dir.path().to_owned()], for_others };
        let need = runtime(&["node"], &[18], &["nodejs"]);
        assert_eq!(need.check(&places(false)).unwrap_err(), "not on the PATH");
        let file = dir.path().join("node");
        fs::write(&file, "#!/bin/sh\necho v16.1.0\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(need.check(&places(false)).unwrap_err().ends_with("is v16.1.0"));
        fs::write(&file, "#!/bin/sh\necho v18.0.0\n").unwrap();
        need.check(&places(true)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        need.check(&places(false)).unwrap();
        assert!(need.check(&places(true)).unwrap_err().contains("closed"));
    }
}
