//! The descendants of this process, and their end.

use crate::sys::{self, Reaped, Signals};
use std::{collections::HashMap, fs, os::fd::AsFd, time::Duration};

/// Kills all descendants of this process and reaps them, until none is left. `reaped` sees (pid, wait status) of each.
/// True where somebody asked this process to stop meanwhile.
///
/// `user`: a user whose processes are all to be ended, in one step that no fork escapes. Passes over the table are for
/// the rest; they are repeated because a process may fork while the table is read.
pub(crate) fn end_all(signals: &Signals, user: Option<u32>, mut reaped: impl FnMut(i32, i32)) -> bool {
    let mut stop = false;
    let mut pause = Duration::from_millis(1);
    loop {
        // Before anybody is reaped: who forks without pause makes corpses faster than they can be counted.
        if let Some(user) = user {
            sys::kill_user(user);
        }
        match reap(&mut reaped) {
            Left::Nobody => break,
            Left::More => continue,
            Left::Running => {}
        }
        for process in descendants(std::process::id() as i32) {
            process.kill();
        }
        if reap(&mut reaped) == Left::Nobody {
            break;
        }
        signals.wait(pause);
        stop |= signals.asked_to_stop();
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    stop
}

/// What is left of this process's children after a reaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nobody,
    /// None of them has ended yet.
    Running,
    /// More may have ended than one reaping takes: come again at once.
    More,
}

/// Corpses of one reaping: orders have to be heard in between, however fast user code makes more.
const REAP_MAX: usize = 256;

/// Reaps who ended, at most [`REAP_MAX`].
pub(crate) fn reap(mut reaped: impl FnMut(i32, i32)) -> Left {
    for _ in 0..REAP_MAX {
        match sys::reap() {
            Reaped::Child(pid, status) => reaped(pid, status),
            Reaped::Alive => return Left::Running,
            Reaped::Nobody => return Left::Nobody,
        }
    }
    Left::More
}

/// Reaps until nobody waits for it, or for long enough that only a storm of forks can have left somebody: then the
/// storm's next end wakes this process again.
pub(crate) fn reap_most(mut reaped: impl FnMut(i32, i32)) {
    let _ = (0..64).all(|_| reap(&mut reaped) == Left::More);
}

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    /// Clock ticks since boot: with the pid, it names the process for good.
    start: u64,
}

impl Process {
    /// Kills this process and never one that got its number later.
    fn kill(self) {
        match sys::pidfd(self.pid) {
            Ok(Some(fd)) if read(self.pid).is_some_and(|now| now.start == self.start) => sys::kill_pidfd(fd.as_fd()),
            Ok(_) => {}
            // No pidfd before Linux 5.3, and none when descriptors ran out.
            Err(_) if read(self.pid).is_some_and(|now| now.start == self.start) => {
                sys::signal_child(self.pid, libc::SIGKILL);
            }
            Err(_) => {}
        }
    }
}

fn descendants(root: i32) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in pids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)) {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let Some(below) = children.remove(&pid) else { continue };
        next.extend(below.iter().map(|process| process.pid));
        found.extend(below);
    }
    found
}

fn read(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`; the name in parentheses may hold anything, parentheses too (proc(5)).
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?; // Field 22; `parent` was field 4.
    Some(Process { pid, parent, start })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_parent() {
        let stat = "42 (x) S 1 (y) R 7 42 42 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 9911 1 2 3";
        assert_eq!(parse(42, stat), Some(Process { pid: 42, parent: 7, start: 9911 }));
        assert_eq!(parse(42, "42 (x"), None);
        assert_eq!(parse(42, "42 (x) S 1"), None);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = descendants(std::process::id() as i32);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|process| process.pid == child.id() as i32), "{found:?}");
    }
}
