//! What a run is asked for.

use anyhow::{Context, bail, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Choices of one run.
pub struct Options {
    pub rounds: usize,
    pub round: Duration,
    /// The platform that is measured.
    pub binary: PathBuf,
    /// Another build of it, for what an edit changes.
    pub against: Option<PathBuf>,
    pub only: Option<String>,
    pub connections: Option<usize>,
}

impl Options {
    pub fn parse(args: &[String]) -> anyhow::Result<Self> {
        let (mut rounds, mut seconds, mut binary, mut against, mut only, mut connections) =
            (5, 3.0, None, None, None, None);
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let value = args.next().with_context(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--rounds" => rounds = value.parse()?,
                "--seconds" => seconds = value.parse()?,
                "--binary" => binary = Some(PathBuf::from(value).canonicalize()?),
                "--against" => against = Some(PathBuf::from(value).canonicalize()?),
                "--connections" => connections = Some(value.parse()?),
                "--only" => only = Some(value.clone()),
                other => bail!("there is no option {other}"),
            }
        }
        ensure!((1..=100).contains(&rounds) && (0.2..=60.0).contains(&seconds), "1 to 100 rounds of 0.2 to 60 seconds");
        let binary = match binary {
            Some(binary) => binary,
            None => build()?,
        };
        Ok(Self { rounds, round: Duration::from_secs_f64(seconds), binary, against, only, connections })
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }
}

/// Builds what is measured where it is missing or older than its source.
fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "mayfly"])
        .current_dir(workspace())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the platform does not build: {status}");
    Ok(target().join("release/mayfly"))
}

pub fn workspace() -> &'static Path {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches)
}

/// Cargo's folder for what is built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
