//! Measures how long a start takes with a given guest: `start [--users own] GUEST [ARG…]`, for example
//! `start target/release/mayfly guest`.

use sandbox::{Limits, Mode, Options, Plan, Process, Sandbox, Users};
use std::{error::Error, ffi::OsString, time::Duration};
use tokio::time::Instant;
use types::InstanceId;

const RUNS: usize = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut guest: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut users = Users::detect();
    if guest.first().is_some_and(|first| first == "--users") {
        guest.drain(..2);
        users = Users::Own;
    }
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let process = Process::new(Options { guest, run_dir: folder.path().join("run"), users })?;
    let (mut started, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let id = InstanceId::random();
        let plan = Plan {
            id,
            program: "/bin/true".into(),
            args: vec![],
            env: vec![],
            cwd: "/".into(),
            tmp: folder.path().join(id.to_string()),
            limits: Limits::default(),
            mode: Mode::Serve,
            grace: Duration::ZERO,
        };
        let begun = Instant::now();
        let running = process.start(plan).await?;
        started.push(begun.elapsed());
        running.instance.wait().await;
        ended.push(begun.elapsed());
    }
    process.idle().await;
    println!("plan to exec: {}\nplan to exit seen: {}", told(started), told(ended));
    Ok(())
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("min {:?}, p10 {:?}, p50 {:?}, p90 {:?}", at(0), at(10), at(50), at(90))
}
