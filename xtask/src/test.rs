//! `cargo xtask test`: all that CI runs, one step after the other, with the time of each.
//!
//! The examples have no step of their own: the end-to-end tests deploy and call each of them.

mod needs;
mod setup;

use crate::{
    run::{cargo, succeed},
    tidy,
};
use anyhow::{Result, bail, ensure};
use std::{
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<()>,
}

/// All packages and one profile throughout, so that nothing is compiled for two sets of features.
const STEPS: [Step; 8] = [
    Step { name: "setup", what: "what the tests need is there, or gets installed", run: setup::run },
    Step {
        name: "fmt",
        what: "rustfmt would change nothing",
        run: |root| cargo_step(root, &["fmt", "--all", "--check"]),
    },
    Step { name: "tidy", what: "the house is in order", run: tidy_step },
    Step {
        name: "clippy",
        what: "no warning in any target",
        run: |root| cargo_step(root, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    },
    Step { name: "doc", what: "the documentation builds without a warning", run: doc_step },
    Step {
        name: "build",
        what: "the binary that the end-to-end tests start",
        // All targets: with the features that the tests ask for, so that the next step compiles nothing again.
        run: |root| cargo_step(root, &["build", "--workspace", "--all-targets", "--locked"]),
    },
    Step {
        name: "test",
        what: "unit, conformance, role and end-to-end tests",
        run: |root| cargo_step(root, &["test", "--workspace", "--locked"]),
    },
    Step { name: "bootstraps", what: "our Node and Python bootstraps through their socket", run: bootstraps_step },
];

fn cargo_step(root: &Path, args: &[&str]) -> Result<()> {
    succeed(cargo(root).args(args))
}

fn tidy_step(root: &Path) -> Result<()> {
    match tidy::report(root)? {
        0 => Ok(()),
        count => bail!("tidy has {count} findings"),
    }
}

fn doc_step(root: &Path) -> Result<()> {
    succeed(cargo(root).args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn bootstraps_step(root: &Path) -> Result<()> {
    let folder = root.join("crates/node/agent/bootstrap");
    succeed(Command::new("python3").args(["-m", "unittest"]).current_dir(folder))
}

pub(crate) fn main(root: &Path, args: &[String]) -> Result<ExitCode> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let steps = match args.as_slice() {
        [] => &STEPS[..],
        ["--only", name] => std::slice::from_ref(&STEPS[find(name)?]),
        ["--from", name] => &STEPS[find(name)?..],
        ["--list" | "--help" | "-h"] => {
            STEPS.iter().for_each(|step| println!("{:<12}{}", step.name, step.what));
            return Ok(ExitCode::SUCCESS);
        }
        other => bail!("`{}` is not understood: --only STEP, --from STEP, --list", other.join(" ")),
    };
    let outcome = walk(root, steps);
    print!("{}", table(&outcome.done, outcome.failed.is_some(), steps));
    match outcome.failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => {
            eprintln!("xtask: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn find(name: &str) -> Result<usize> {
    let index = STEPS.iter().position(|step| step.name == name);
    ensure!(index.is_some(), "there is no step `{name}`: {}", STEPS.map(|step| step.name).join(", "));
    Ok(index.unwrap_or_default())
}

struct Outcome {
    /// The steps that were run, with their times; the last one may have failed.
    done: Vec<(&'static str, Duration)>,
    failed: Option<anyhow::Error>,
}

fn walk(root: &Path, steps: &[Step]) -> Outcome {
    let began = Instant::now();
    let mut done = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let (number, of, so_far) = (index + 1, steps.len(), words(began.elapsed()));
        eprintln!("\n== {number}/{of} {}: {} ({so_far} so far)", step.name, step.what);
        let start = Instant::now();
        let result = (step.run)(root);
        done.push((step.name, start.elapsed()));
        if let Err(error) = result {
            let failed = Some(error.context(format!("step `{}`", step.name)));
            return Outcome { done, failed };
        }
    }
    Outcome { done, failed: None }
}

fn table(done: &[(&str, Duration)], failed: bool, steps: &[Step]) -> String {
    let mut text = String::from("\nstep             time  result\n");
    for (index, step) in steps.iter().enumerate() {
        let (time, result) = match done.get(index) {
            Some((_, time)) if failed && index + 1 == done.len() => (words(*time), "failed"),
            Some((_, time)) => (words(*time), "ok"),
            None => ("-".to_owned(), "not run"),
        };
        text += &format!("{:<12}{time:>9}  {result}\n", step.name);
    }
    let total = done.iter().map(|(_, time)| *time).sum();
    text + &format!("{:<12}{:>9}\n", "all", words(total))
}

fn words(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    match tenths {
        0..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => format!("{} min {:02} s", tenths / 600, tenths % 600 / 10),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn step(name: &'static str, run: fn(&Path) -> Result<()>) -> Step {
        Step { name, what: "a test", run }
    }

    #[test]
    fn the_first_failure_ends_the_walk_and_the_table_says_so() {
        let steps = [step("one", |_| Ok(())), step("two", |_| bail!("broken")), step("three", |_| Ok(()))];
        let outcome = walk(Path::new("."), &steps);
        assert_eq!(outcome.done.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(format!("{:#}", outcome.failed.unwrap()), "step `two`: broken");
        let text = table(&outcome.done, true, &steps);
        let result =
            |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().rsplit("  ").next().unwrap();
        assert_eq!((result("one"), result("two"), result("three")), ("ok", "failed", "not run"));
    }

    #[test]
    fn steps_are_found_by_name() {
        assert_eq!(STEPS[find("clippy").unwrap()].name, "clippy");
        assert!(find("nothing").unwrap_err().to_string().contains("setup, fmt, tidy"));
    }

    #[test]
    fn a_program_that_fails_is_named() {
        let error = succeed(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
    }

    #[test]
    fn times_read_well() {
        for (ms, text) in [(1_250, "1.2 s"), (59_990, "59.9 s"), (60_000, "1 min 00 s"), (754_000, "12 min 34 s")] {
            assert_eq!(words(Duration::from_millis(ms)), text);
        }
    }
}
