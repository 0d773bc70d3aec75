//! One process that serves until it ends.

use crate::{
    control::Control,
    plan::{End, Failure, Order, Plan, Report},
    spawn::Prepared,
    sys::{self, Signals, watch},
    tree::{self, Left},
};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Starts the code and keeps it; returns how it ended, once nothing of it is left.
pub(crate) fn run(plan: &Plan, control: &mut Control, signals: &Signals) -> Result<End, Failure> {
    let pid = Prepared::new(plan, [])?.spawn([0, 1, 2])?;
    control.report(&Report::Started { pid });
    let end = Cell::new(None);
    let note = |child, status| {
        if child == pid {
            end.set(Some(decode(status)));
        }
    };
    let mut overdue: Option<Instant> = None;
    let mut left_over = Left::Running;
    loop {
        let mut fds = [watch(control.fd(), libc::POLLIN), watch(signals.fd(), libc::POLLIN)];
        let left = match left_over {
            Left::More => Some(Duration::ZERO),
            Left::Running | Left::Nobody => overdue.map(|at| at.saturating_duration_since(Instant::now())),
        };
        let polled = sys::poll(&mut fds, left);
        let mut stop = signals.asked_to_stop();
        if fds[0].revents != 0 {
            match control.order() {
                Some(Order::Terminate) => stop = true,
                None => break,
            }
        }
        left_over = tree::reap(note);
        if end.get().is_some() || polled.is_err() || overdue.is_some_and(|at| Instant::now() >= at) {
            break;
        }
        if stop && overdue.is_none() {
            sys::signal_group(pid, libc::SIGTERM);
            overdue = Instant::now().checked_add(Duration::from_millis(plan.grace_ms));
        }
    }
    if end.get().is_none() {
        sys::signal_group(pid, libc::SIGKILL);
    }
    tree::end_all(signals, plan.uid, note);
    Ok(end.get().unwrap_or(End::Signal(libc::SIGKILL)))
}

/// A wait status in words.
pub(crate) fn decode(status: i32) -> End {
    if libc::WIFSIGNALED(status) { End::Signal(libc::WTERMSIG(status)) } else { End::Status(libc::WEXITSTATUS(status)) }
}
