//! What runs on this machine, as `/proc` tells it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// A process by number and start time: the pair names it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub start: u64,
}

/// All processes that have not ended; zombies have.
pub fn all() -> Vec<Process> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Process { pid, parent, start })
}

pub fn is_alive(pid: u32) -> bool {
    read(pid).is_some()
}

impl Process {
    pub fn is_alive(&self) -> bool {
        read(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// What it is, for the sentence of a test that fails.
    pub fn describe(&self) -> String {
        let command = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        format!("{} (parent {}): {}", self.pid, self.parent, String::from_utf8_lossy(&command).replace('\0', " "))
    }
}

/// Everything below `root` at this moment.
pub fn descendants(root: u32) -> HashSet<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut next) = (HashSet::new(), vec![root]);
    while let Some(pid) = next.pop() {
        for process in children.remove(&pid).unwrap_or_default() {
            next.push(process.pid);
            found.insert(process);
        }
    }
    found
}

/// Processes that work in `dir`, run a program of it, or have it in their environment or command line: whatever lives
/// of what a platform on this data directory started, the platform itself among it.
pub fn touching(dir: &Path) -> Vec<Process> {
    let needle = dir.as_os_str().as_bytes();
    let contains = |pid: u32, file: &str| {
        fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|text| text.windows(needle.len()).any(|part| part == needle))
    };
    let links = |pid: u32, link: &str| fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|to| to.starts_with(dir));
    let own = std::process::id();
    all()
        .into_iter()
        .filter(|process| process.pid != own)
        .filter(|Process { pid, .. }| {
            links(*pid, "cwd") || links(*pid, "exe") || contains(*pid, "environ") || contains(*pid, "cmdline")
        })
        .collect()
}

/// A number of seconds to sleep that tells this run's `which`-th sleeper from all others on the machine.
pub fn sleep_mark(which: u32) -> String {
    (100_000_000 + u64::from(std::process::id()) * 10 + u64::from(which)).to_string()
}

/// The processes `sleep <mark>` that run.
pub fn sleepers(mark: &str) -> Vec<Process> {
    let command = format!("sleep\0{mark}\0").into_bytes();
    let is_one = |process: &Process| fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|own| own == command);
    all().into_iter().filter(is_one).collect()
}

/// A line of `/proc/<pid>/status` in kB.
pub fn status_kb(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Resident memory in MiB.
pub fn resident_mib(pid: u32) -> u64 {
    status_kb(pid, "VmRSS") >> 10
}
