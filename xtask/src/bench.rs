//! `cargo xtask bench NAME`: hands over to the crate `mayfly-bench`, built for release.

use crate::run::{cargo, succeed};
use anyhow::{Result, ensure};
use std::{path::Path, process::ExitCode};

pub(crate) fn main(root: &Path, args: &[String]) -> Result<ExitCode> {
    ensure!(
        !args.is_empty(),
        "name a benchmark: cargo xtask bench proxy (or idle, wasm, cold, routes, overload, rollout, all)"
    );
    // The platform under test is a process of its own, the release build that users run.
    succeed(cargo(root).args(["build", "--release", "--locked", "-p", "mayfly"]))?;
    succeed(cargo(root).args(["run", "--release", "--locked", "-p", "mayfly-bench", "--"]).args(args))?;
    Ok(ExitCode::SUCCESS)
}
