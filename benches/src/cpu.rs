//! What processes used of the CPU, all their threads, those that ended included; and what memory they have.

use anyhow::Context;
use std::{fs, time::Duration};

/// CPU time since a process's start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub total: Duration,
    /// Part of `total` in user mode, sampled by the kernel's ticks: fair over seconds, coarse below.
    pub user: f64,
}

impl Used {
    /// What was used since `before`, in µs: all, and the share in user mode.
    pub fn since(self, before: Self) -> (f64, f64) {
        let all = self.total.saturating_sub(before.total).as_secs_f64();
        let user = self.user * self.total.as_secs_f64() - before.user * before.total.as_secs_f64();
        let share = if all > 0.0 { (user / all).clamp(0.0, 1.0) } else { 0.0 };
        (all * 1e6, share)
    }
}

/// The processes that do one side's work.
#[derive(Debug, Clone)]
pub struct Meter(Vec<u32>);

impl Meter {
    pub fn new(pid: u32) -> Self {
        Self(vec![pid])
    }

    /// The children of `pid`: a master's workers.
    pub fn children(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(Self(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()))
    }

    pub fn read(&self) -> anyhow::Result<Used> {
        let (mut total, mut user) = (Duration::ZERO, Duration::ZERO);
        for pid in &self.0 {
            let all = clock::process(*pid).with_context(|| format!("process {pid} is gone"))?;
            user += all.mul_f64(user_share(*pid)?);
            total += all;
        }
        Ok(Used { total, user: if total.is_zero() { 0.0 } else { user.as_secs_f64() / total.as_secs_f64() } })
    }
}

/// Fields 14 and 15 of `/proc/PID/stat` (proc(5)): ticks in user and in kernel mode.
fn user_share(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("/proc/PID/stat without a name")?;
    let mut ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap_or(0.0));
    let (user, system) = (ticks.next().unwrap_or(0.0), ticks.next().unwrap_or(0.0));
    Ok(if user + system > 0.0 { user / (user + system) } else { 0.0 })
}

/// Bytes of a process in memory: `VmRSS` of proc(5).
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

mod clock {
    //! The CPU clock of another process, in nanoseconds (clock_getcpuclockid(3)).

    use std::{io, time::Duration};

    pub(super) fn process(pid: u32) -> io::Result<Duration> {
        let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        let mut id: libc::clockid_t = 0;
        // SAFETY: `id` is a valid place for the answer; any pid may be asked for.
        let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut id) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the answer; a clock that does not exist is an error.
        if unsafe { libc::clock_gettime(id, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_busy_process_is_seen_working() {
        let meter = Meter::new(std::process::id());
        let before = meter.read().unwrap();
        // A thread that ended counts too.
        let spin = || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(60) {
                std::hint::black_box(0);
            }
        };
        std::thread::spawn(spin).join().unwrap();
        let (used, _) = meter.read().unwrap().since(before);
        assert!(used > 5_000.0, "{used} µs");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(Meter::new(child.id()).read().is_err());
    }
}
