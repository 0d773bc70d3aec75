//! The conformance suite of sandboxes, run over the process sandbox as root and as an ordinary user.
//!
//! This one program is the tests, the guest, the platform that is killed, and the user code: `main` looks at its first
//! argument. [`suite`] and [`calls`] ask nothing but the trait; [`process`] is about what the process sandbox does on
//! top. Each trial has a folder of its own and ends only what it started.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// User code that leaves children behind is what is tested.
#![allow(clippy::zombie_processes)]

mod actor;
mod calls;
mod process;
mod scene;
mod suite;

use libtest_mimic::{Arguments, Failed, Trial};
use scene::{Scene, Stage};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    match args.next().as_deref().and_then(|role| role.to_str()) {
        Some("guest") => std::process::exit(guest::main(args)),
        Some("actor") => return actor::main(&args.filter_map(|arg| arg.into_string().ok()).collect::<Vec<_>>()),
        Some("platform") => return process::platform(&args.map(Into::into).collect::<Vec<_>>()),
        _ => {}
    }
    let arguments = Arguments::from_args(); // Ends the program where they are wrong.
    let stage = Stage::new();
    let conclusion = libtest_mimic::run(&arguments, trials(&stage));
    drop(stage);
    if conclusion.has_failed() { ExitCode::from(101) } else { ExitCode::SUCCESS }
}

fn trials(stage: &Stage) -> Vec<Trial> {
    let who = if scene::is_root() { "root" } else { "user" };
    let checks = [("suite", suite::ALL), ("calls", calls::ALL), ("process", process::ALL)];
    let mut trials: Vec<Trial> = Vec::new();
    for (group, checks) in checks {
        for (name, check) in checks {
            let stage = stage.clone();
            let check = *check;
            trials.push(Trial::test(format!("{who}::{group}::{name}"), move || Scene::play(&stage, check)));
        }
    }
    if scene::is_root() {
        let stage = stage.clone();
        let again = move || process::all_as_an_ordinary_user(&stage).map_err(Failed::from);
        trials.push(Trial::test("root::all_of_it_as_an_ordinary_user", again));
    }
    trials
}
