//! The table of processes, read from `/proc`.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// One process as it was when the table was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    pub(crate) threads: u64,
    /// Clock ticks since boot: with the pid, it names the process for good.
    pub(crate) start: u64,
    /// Its own CPU time, in clock ticks.
    pub(crate) cpu: u64,
    /// That of its children that ended and were waited for.
    pub(crate) cpu_children: u64,
    /// It ended, and nobody took its status yet.
    pub(crate) zombie: bool,
}

impl Line {
    /// The process with this number now.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        text(&format!("/proc/{pid}/stat"), |stat| parse(pid, stat)).flatten()
    }

    /// Kills this process and never one that got its number later.
    pub(crate) fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return };
        let same = || Self::read(self.pid).is_some_and(|now| now.start == self.start);
        let sent = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(fd) if same() => rustix::process::pidfd_send_signal::<OwnedFd>(fd, signal),
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            // No pidfd before Linux 5.3.
            Err(_) if same() => rustix::process::kill_process(pid, signal),
            Err(_) => Ok(()),
        };
        if let Err(error) = sent.or_else(|error| if error == rustix::io::Errno::SRCH { Ok(()) } else { Err(error) }) {
            tracing::warn!(pid = self.pid, %error, "cannot signal a process");
        }
    }

    /// Its real user. Not the owner of its folder in `/proc`: that is root's for whoever is not dumpable.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.status().map(|status| status.uid)
    }

    /// All pages that are in memory, in bytes; 0 for one that ended.
    fn resident(&self) -> u64 {
        let pages = |statm: &str| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
        let pages = text(&format!("/proc/{}/statm", self.pid), pages).flatten().unwrap_or(0);
        pages.saturating_mul(rustix::param::page_size() as u64)
    }

    fn status(&self) -> Option<Status> {
        text(&format!("/proc/{}/status", self.pid), Status::parse).flatten()
    }
}

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status {
    /// Its real user.
    uid: u32,
    /// Pages that it holds alone, in bytes (RssAnon + RssShmem); a zombie holds none.
    memory: u64,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let (mut uid, mut memory) = (None, 0);
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let first = || value.split_ascii_whitespace().next()?.parse::<u64>().ok();
            match name {
                "Uid" => uid = first().and_then(|uid| u32::try_from(uid).ok()),
                "RssAnon" | "RssShmem" => memory += first().unwrap_or(0) << 10,
                _ => {}
            }
        }
        Some(Self { uid: uid?, memory })
    }
}

/// A small file of `/proc`, read at once: the kernel makes its text anew for every read, and the table is read often.
fn text<T>(path: &str, read: impl FnOnce(&str) -> T) -> Option<T> {
    let mut buffer = [0; 4096];
    let count = fs::File::open(path).ok()?.read(&mut buffer).ok()?;
    match count < buffer.len() {
        true => std::str::from_utf8(&buffer[..count]).ok().map(read),
        // Somebody with very many groups.
        false => fs::read_to_string(path).ok().as_deref().map(read),
    }
}

/// Reads `/proc/PID/stat` (proc(5)); the name in parentheses may hold anything, parentheses too.
fn parse(pid: i32, stat: &str) -> Option<Line> {
    let mut rest = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = rest.next()?;
    let fields: Vec<i64> = rest.map(|field| field.parse().unwrap_or(0)).collect();
    // `fields` begins with field 4.
    let at = |number: usize| fields.get(number - 4).copied();
    let count = |number| at(number).and_then(|value| u64::try_from(value).ok());
    Some(Line {
        pid,
        parent: i32::try_from(at(4)?).ok()?,
        group: i32::try_from(at(5)?).ok()?,
        session: i32::try_from(at(6)?).ok()?,
        threads: count(20)?,
        start: count(22)?,
        cpu: count(14)? + count(15)?,
        cpu_children: count(16)? + count(17)?,
        // A first thread that ended before the others is shown as a zombie, too.
        zombie: matches!(state, "Z" | "X") && count(20)? <= 1,
    })
}

/// All processes at a moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: HashMap<i32, Line>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    pub(crate) fn read() -> io::Result<Self> {
        let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut table = Self::default();
        for line in pids.filter_map(Line::read) {
            table.children.entry(line.parent).or_default().push(line.pid);
            table.lines.insert(line.pid, line);
        }
        Ok(table)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.values()
    }

    pub(crate) fn get(&self, pid: i32) -> Option<&Line> {
        self.lines.get(&pid)
    }

    /// All below these processes, without them.
    pub(crate) fn below(&self, roots: impl IntoIterator<Item = i32>) -> Vec<Line> {
        let mut next: Vec<i32> = roots.into_iter().collect();
        let mut seen: HashSet<i32> = next.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(pid) = next.pop() {
            for child in self.children.get(&pid).into_iter().flatten().filter(|child| seen.insert(**child)) {
                next.push(*child);
                found.extend(self.lines.get(child));
            }
        }
        found
    }

    /// Processes and threads of a user.
    pub(crate) fn threads_of(&self, uid: u32) -> u64 {
        self.lines().filter(|line| line.uid() == Some(uid)).map(|line| line.threads).sum()
    }
}

/// The guest of an instance, and who in its tree is the platform's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeper {
    pub(crate) pid: i32,
    pub(crate) start: u64,
    /// User code has a user of its own.
    pub(crate) apart: bool,
}

impl Keeper {
    /// The processes of user code, with the guest and the guest's own helpers (one per connection) separate.
    ///
    /// A helper is told from user code by its user, or where that is shared by never having left the guest's group.
    fn split(&self, table: &Table) -> (Vec<Line>, Vec<(Line, Status)>) {
        let guest = table.get(self.pid).filter(|line| line.start == self.start).copied();
        let Some((guest, own)) = guest.and_then(|guest| Some((guest, guest.status()?))) else {
            return Default::default();
        };
        let below = table.below([self.pid]).into_iter().filter_map(|line| Some((line, line.status()?)));
        let (helpers, code): (Vec<_>, Vec<_>) = below.partition(|(line, status)| {
            if self.apart { status.uid == own.uid } else { line.group == guest.group && line.parent == guest.pid }
        });
        (helpers.into_iter().map(|(line, _)| line).chain([guest]).collect(), code)
    }

    pub(crate) fn memory(&self, table: &Table) -> u64 {
        self.split(table).1.iter().map(|(_, status)| status.memory).sum()
    }

    /// What it holds, where that is over `limit`.
    ///
    /// Most hold far less, and for them a look at what is resident at all, pages of files and the guest's helpers among
    /// it, is enough: a fifth of the cost.
    pub(crate) fn memory_over(&self, table: &Table, limit: u64) -> Option<u64> {
        let resident: u64 = table.below([self.pid]).iter().map(Line::resident).sum();
        if resident <= limit {
            return None;
        }
        Some(self.memory(table)).filter(|held| *held > limit)
    }

    pub(crate) fn cpu(&self, table: &Table) -> Duration {
        let (own, code) = self.split(table);
        let ticks = own.iter().map(|line| line.cpu_children).sum::<u64>()
            + code.iter().map(|(line, _)| line.cpu + line.cpu_children).sum::<u64>();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.saturating_mul(1000) / per_second)
    }
}

/// The table, shared by all who ask at about the same time: reading it costs some 10 µs per process of the machine.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Option<(Instant, Arc<Table>)>>);

impl Shared {
    /// A table at most this old. The lock is held while it is read, so that many who ask read it once.
    pub(crate) fn get(&self, most: Duration) -> Arc<Table> {
        let mut held = self.0.lock();
        if let Some((_, table)) = held.as_ref().filter(|(at, _)| at.elapsed() <= most) {
            return table.clone();
        }
        let table = Arc::new(Table::read().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read /proc");
            Table::default()
        }));
        *held = Some((Instant::now(), table.clone()));
        table
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_name_is() {
        let stat = "42 (x) S 1 (y)) R 7 41 40 0 -1 0 1 2 3 4 50 6 7 8 20 0 3 0 9911 1 2 3";
        let line = parse(42, stat).unwrap();
        assert_eq!((line.parent, line.group, line.session, line.threads, line.start), (7, 41, 40, 3, 9911));
        assert_eq!((line.cpu, line.cpu_children, line.zombie), (56, 15, false));
        for bad in ["", "42 (x", "42 (x) S", "42 (x) S 1 2 3"] {
            assert_eq!(parse(42, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_status_is_read_by_its_names() {
        let text = "Name:\tRssAnon: 9\nUid:\t1000\t0\t0\t0\nVmRSS:\t 99 kB\nRssAnon:\t 5 kB\nRssFile:\t 7 kB\nRssShmem:\t 2 kB\n";
        assert_eq!(Status::parse(text), Some(Status { uid: 1000, memory: 7 << 10 }));
        assert_eq!(Status::parse("Name:\tzombie\nUid:\t0\t0\t0\t0\n"), Some(Status { uid: 0, memory: 0 }));
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_in_it() {
        let table = Table::read().unwrap();
        let own = table.get(std::process::id() as i32).unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(own.uid(), Some(uid));
        assert!(table.below([own.parent]).contains(own));
        assert!(table.threads_of(uid) >= own.threads);
    }

    #[test]
    fn a_process_with_another_start_is_not_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let line = Line::read(child.id() as i32).unwrap();
        Line { start: line.start + 1, ..line }.kill();
        assert!(child.try_wait().unwrap().is_none());
        line.kill();
        assert!(!child.wait().unwrap().success());
    }
}
