//! User code: good, greedy and hostile.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

pub fn main(args: &[String]) -> ExitCode {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["memory", mib] => memory(mib.parse().unwrap()),
        ["spin"] => spin(),
        ["files"] => files(),
        ["threads"] => threads(),
        ["tree", file] => tree(Path::new(file), true),
        // Leaves its family behind.
        ["litter", file] => tree(Path::new(file), false),
        ["hop", chains, file] => hop(chains.parse().unwrap(), Path::new(file)),
        ["deaf-writer", mib] => deaf_writer(mib.parse().unwrap()),
        _ => panic!("no such actor: {args:?}"),
    }
    ExitCode::SUCCESS
}

fn say(words: impl std::fmt::Display) {
    println!("{words}");
    std::io::stdout().flush().unwrap();
}

/// Holds memory, and says when.
fn memory(mib: usize) {
    let held = vec![1_u8; mib << 20];
    say("ready");
    sleep_for_ever();
    drop(held);
}

/// Uses CPU time of its own, however long a busy machine takes to give it.
fn spin() {
    let used = || {
        // SAFETY: all zeros is a value of this structure, and the call fills it.
        unsafe {
            let mut used: libc::timespec = std::mem::zeroed();
            assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used), 0);
            Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
        }
    };
    while used() < Duration::from_millis(200) {
        std::hint::spin_loop();
    }
    say("ready");
    sleep_for_ever();
}

/// Opens files until it may not; says the highest descriptor.
fn files() {
    let mut open = Vec::new();
    let error = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    say(format!("{} {}", open.len() + 3, error.raw_os_error().unwrap()));
}

/// Starts threads until it may not; says how many run.
fn threads() {
    let mut count = 1;
    while thread::Builder::new().stack_size(64 << 10).spawn(sleep_for_ever).is_ok() {
        count += 1;
    }
    say(count);
}

/// A child in the same group, and a daemon: double fork, own session, deaf to SIGTERM. All write their pids.
fn tree(file: &Path, stay: bool) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    note(file, child.id());
    daemon(file);
    note(file, std::process::id());
    while fs::read_to_string(file).unwrap().lines().count() < 3 {
        thread::sleep(Duration::from_millis(1));
    }
    say("ready");
    if stay {
        sleep_for_ever();
    }
}

fn daemon(file: &Path) {
    // SAFETY: one thread, so the children find every lock free.
    unsafe {
        if libc::fork() != 0 {
            return;
        }
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    note(file, std::process::id());
    sleep_for_ever();
}

fn note(file: &Path, pid: u32) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    file.write_all(format!("{pid}\n").as_bytes()).unwrap();
}

/// Chains of processes, each of which starts the next in a session of its own and ends at once: what a table of
/// processes shows is gone before it can be killed.
fn hop(chains: usize, file: &Path) {
    for _ in 0..chains {
        // SAFETY: one thread, so the children find every lock free.
        let mut pid = unsafe { libc::fork() };
        // The corpses of the chains that run already count against the limit until the guest takes them.
        while pid < 0 {
            thread::yield_now();
            // SAFETY: as above.
            pid = unsafe { libc::fork() };
        }
        if pid == 0 {
            note(file, std::process::id());
            loop {
                // SAFETY: as above.
                unsafe {
                    if libc::fork() > 0 {
                        libc::_exit(0);
                    }
                    libc::setsid();
                }
            }
        }
    }
    while fs::read_to_string(file).unwrap_or_default().lines().count() < chains {
        thread::sleep(Duration::from_millis(1));
    }
    say("ready");
    sleep_for_ever();
}

/// Writes much before it reads anything.
fn deaf_writer(mib: usize) {
    let mut out = std::io::stdout().lock();
    for _ in 0..mib * 16 {
        out.write_all(&[b'x'; 64 << 10]).unwrap();
    }
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    out.write_all(format!("{}", input.len()).as_bytes()).unwrap();
}

fn sleep_for_ever() {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}
