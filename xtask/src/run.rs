//! Running other programs: their output is ours, their failure stops us.

use anyhow::{Context, Result, bail};
use std::{
    env,
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs to the end.
///
/// # Errors
/// Where it cannot be started or does not succeed; names the command.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}`: {status}");
    }
    Ok(())
}

/// What it prints on both streams; `None` where it cannot be started or fails.
pub(crate) fn answer(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&both).into_owned())
}

/// As one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = |word: &OsStr| {
        let word = word.to_string_lossy();
        if word.ends_with("/cargo") { "cargo".to_owned() } else { word.into_owned() }
    };
    words.map(name).collect::<Vec<_>>().join(" ")
}
