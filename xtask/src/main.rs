//! `cargo xtask`: every chore of this project. Run it without arguments for the list.

mod bench;
mod run;
mod test;
mod tidy;

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
cargo xtask VERB: the chores of this project

  tidy            holds the house: who may depend on whom, who owns which library, names, sizes,
                  hosts and paths; prints each finding with its place and what to do
  test            everything that CI runs, in this order; stops at the first failure
                  --only STEP   this step alone
                  --from STEP   this step and what follows
                  --list        the steps
  bench NAME …    measures, in a release build: proxy, handler, wasm, cold, all;
                  a table, and target/bench/NAME.json
";

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (verb, rest) = match args.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("--help", args.as_slice()),
    };
    let root = root()?;
    match verb {
        "tidy" => tidy::main(&root),
        "test" => test::main(&root, rest),
        "bench" => bench::main(&root, rest),
        "--help" | "-h" | "help" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no verb `{other}`\n\n{HELP}"),
    }
}

/// The workspace's folder: the one above this crate's.
fn root() -> Result<PathBuf> {
    // Cargo says where the crate stands when it runs us; what was compiled in may have moved since.
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let root = Path::new(&here).parent().context("xtask has no folder above it")?;
    root.canonicalize().with_context(|| format!("cannot find the workspace at {}", root.display()))
}
