//! `mayfly-bench profile BENCH`: where the platform's CPU goes in a bench: hot functions and syscalls, by perf.

use crate::{
    handler,
    load::{self, Address, get},
    options::{Options, target},
    proxy, wasm,
};
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Samples a second: no divisor of the kernel's tick.
const FREQUENCY: &str = "2999";
const WARM_UP: Duration = Duration::from_secs(1);
/// perf needs a moment to attach.
const ATTACH: Duration = Duration::from_millis(500);

pub async fn run(name: &str, options: &Options) -> anyhow::Result<()> {
    let (platform, path) = match name {
        "proxy" => (proxy::deployed(&options.binary).await?, "/upstream/".to_owned()),
        "wasm" => (wasm::deployed(&options.binary).await?, format!("/{}/", wasm::NAME)),
        "handler" => {
            let example = options.only.as_deref().unwrap_or("hello-node");
            (handler::deployed(&options.binary, example).await?, format!("/{example}/"))
        }
        other => bail!("there is no profile of `{other}`: proxy, handler (with --only EXAMPLE), wasm"),
    };
    let connections = options.connections.unwrap_or(if name == "handler" { handler::MANY } else { proxy::MANY });
    let place = target().join("bench");
    fs::create_dir_all(&place)?;
    let (address, request, pid) = (platform.gateway()?, get(&path), platform.pid()?);
    hot(&address, &request, connections, pid, &place.join(format!("{name}.perf")), options).await?;
    events(&address, &request, connections, pid, options).await
}

/// Records stacks during a round; the file is for `perf report`.
async fn hot(
    address: &Address,
    request: &[u8],
    connections: usize,
    pid: u32,
    file: &Path,
    options: &Options,
) -> anyhow::Result<()> {
    let seconds = options.round.as_secs_f64().to_string();
    load::run(address, request, connections, Duration::ZERO, WARM_UP, None).await?;
    let mut perf = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-g", "-p", &pid.to_string(), "-o"])
        .arg(file)
        .args(["--", "sleep", &seconds])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start perf (package linux-perf on Debian)")?;
    let meter = crate::cpu::Meter::new(pid);
    let sample = load::run(address, request, connections, ATTACH, options.round, Some(&meter)).await?;
    perf.wait()?;
    println!("{:.0} requests per second, {:.1} µs CPU each", sample.per_second, sample.cpu_us);
    for (sort, count) in [("comm", 8), ("dso", 6), ("sym", 90)] {
        let mut report = Command::new("perf");
        report.args([
            "report",
            "--stdio",
            "--no-children",
            "-g",
            "none",
            "--percent-limit",
            "0.4",
            "--sort",
            sort,
            "-i",
        ]);
        print_lines(&report_of(&mut report, file)?, count);
    }
    println!("stacks: perf report -i {}", file.display());
    Ok(())
}

fn report_of(command: &mut Command, file: &Path) -> anyhow::Result<String> {
    let output = command.arg(file).stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "perf report failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn print_lines(text: &str, count: usize) {
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).take(count) {
        println!("{}", line.trim_end());
    }
}

/// What is counted: the kernel's tracepoints, which cost far less than strace.
const COUNTED: [&str; 22] = [
    "syscalls:sys_enter_epoll_wait",
    "syscalls:sys_enter_epoll_ctl",
    "syscalls:sys_enter_read",
    "syscalls:sys_enter_readv",
    "syscalls:sys_enter_recvfrom",
    "syscalls:sys_enter_recvmsg",
    "syscalls:sys_enter_write",
    "syscalls:sys_enter_writev",
    "syscalls:sys_enter_sendto",
    "syscalls:sys_enter_sendmsg",
    "syscalls:sys_enter_futex",
    "syscalls:sys_enter_openat",
    "syscalls:sys_enter_close",
    "syscalls:sys_enter_statx",
    "syscalls:sys_enter_mmap",
    "syscalls:sys_enter_munmap",
    "syscalls:sys_enter_madvise",
    "syscalls:sys_enter_mprotect",
    "syscalls:sys_enter_ioctl",
    "page-faults",
    "context-switches",
    "cpu-migrations",
];

/// Counts events while requests are made, and divides.
async fn events(
    address: &Address,
    request: &[u8],
    connections: usize,
    pid: u32,
    options: &Options,
) -> anyhow::Result<()> {
    let mut perf = Command::new("perf")
        .args(["stat", "-x", ";", "-e", &COUNTED.join(","), "-p", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start perf (package linux-perf on Debian)")?;
    tokio::time::sleep(ATTACH).await;
    let sample = load::run(address, request, connections, Duration::ZERO, options.round, None).await;
    if let Some(perf) = i32::try_from(perf.id()).ok().and_then(Pid::from_raw) {
        kill_process(perf, Signal::INT)?;
    }
    let mut text = String::new();
    if let Some(stderr) = &mut perf.stderr {
        stderr.read_to_string(&mut text)?;
    }
    perf.wait()?;
    let requests = sample?.requests as f64;
    println!("per request, over {requests} requests:");
    for line in text.lines() {
        // "count;unit;event;…"
        let mut fields = line.split(';');
        let (Some(Ok(count)), Some(event)) = (fields.next().map(str::parse::<f64>), fields.nth(1)) else { continue };
        if count / requests > 0.005 {
            println!("  {:<20} {:>7.2}", event.trim_start_matches("syscalls:sys_enter_"), count / requests);
        }
    }
    Ok(())
}
