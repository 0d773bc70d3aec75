//! The programs that are looked for: names, how each tells its version, and how to install it.

use std::path::PathBuf;

/// A program of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The real program behind shims, absolute.
    pub path: PathBuf,
    /// As it says itself: `20.11.1`.
    pub version: String,
}

/// Builds functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    Npm,
    Go,
    Cargo,
    Maven,
}

/// Anything that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    Node,
    Python,
    Java,
    Tool(Tool),
}

impl Program {
    pub(crate) const ALL: [Self; 7] = [
        Self::Node,
        Self::Python,
        Self::Java,
        Self::Tool(Tool::Npm),
        Self::Tool(Tool::Go),
        Self::Tool(Tool::Cargo),
        Self::Tool(Tool::Maven),
    ];

    /// Its place in [`Program::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|program| *program == self).unwrap_or(usize::MAX)
    }

    /// File names, the best first.
    pub(crate) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["node", "nodejs"],
            Self::Python => &["python3", "python"],
            Self::Java => &["java"],
            Self::Tool(Tool::Npm) => &["npm"],
            Self::Tool(Tool::Go) => &["go"],
            Self::Tool(Tool::Cargo) => &["cargo"],
            Self::Tool(Tool::Maven) => &["mvn"],
        }
    }

    /// Arguments that make it tell its version, and where a shim may stand before it, its own path.
    pub(crate) const fn probe_args(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["-p", "process.versions.node + '\\n' + process.execPath"],
            Self::Python => &["-c", "import sys,platform;print(platform.python_version());print(sys.executable)"],
            Self::Java => &["-XshowSettings:properties", "-version"],
            Self::Tool(Tool::Go) => &["version"],
            Self::Tool(Tool::Npm | Tool::Cargo) => &["--version"],
            // Without `-B` it colours its answer.
            Self::Tool(Tool::Maven) => &["-B", "--version"],
        }
    }

    /// What to install where it is missing.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Node => "Node.js (Debian: apt-get install nodejs)",
            Self::Python => "Python 3 (Debian: apt-get install python3)",
            Self::Java => "a Java runtime (Debian: apt-get install default-jre-headless)",
            Self::Tool(Tool::Npm) => "npm (Debian: apt-get install npm)",
            Self::Tool(Tool::Go) => "Go (Debian: apt-get install golang-go)",
            Self::Tool(Tool::Cargo) => "Rust's cargo (by rustup, or Debian: apt-get install cargo)",
            Self::Tool(Tool::Maven) => "Maven (Debian: apt-get install maven)",
        }
    }
}
