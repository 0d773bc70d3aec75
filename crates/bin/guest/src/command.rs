//! A process per call: listens on a UNIX socket and gives each connection a process of its own.
//!
//! A connection's process is the subreaper of the call that runs on it, so whatever the call leaves behind is known to
//! be that call's, and several calls at once need no thread.

use crate::{
    call,
    control::Control,
    plan::{End, Failure, Order, Plan, Report},
    spawn::Prepared,
    sys::{self, Signals, watch},
    tree,
};
use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

/// Takes calls until the platform wants no more; returns once nothing is left of any.
pub(crate) fn run(
    plan: &Plan,
    socket: &str,
    slots: u32,
    control: &mut Control,
    signals: &Signals,
) -> Result<End, Failure> {
    Prepared::new(plan, [])?.probe()?;
    let listener = listen(socket).map_err(|error| Failure::new("listen", &error))?;
    // Its writing end lives in this process alone: its end tells the connections' processes that this one is gone.
    let (alive, life) = sys::pipe().map_err(|error| Failure::new("pipe", &error))?;
    // Shared with the connections' processes only; user code never sees it.
    sys::nonblocking(libc::STDERR_FILENO).map_err(|error| Failure::new("stderr", &error))?;
    control.report(&Report::Started { pid: std::process::id() as i32 });
    let mut keeper = Keeper { plan, slots: slots.max(1) as usize, listener: Some(listener), connections: Vec::new() };
    let end = keeper.take_calls(control, signals, alive, &life);
    drop(life);
    tree::end_all(signals, plan.uid, |_, _| {});
    Ok(end)
}

/// The socket, for this user alone from its first moment on.
fn listen(socket: &str) -> io::Result<UnixListener> {
    if let Err(error) = fs::remove_file(socket)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    sys::private_files();
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Keeper<'a> {
    plan: &'a Plan,
    slots: usize,
    /// `None` once no more is taken.
    listener: Option<UnixListener>,
    /// The processes of the open connections.
    connections: Vec<i32>,
}

impl Keeper<'_> {
    fn take_calls(&mut self, control: &mut Control, signals: &Signals, alive: OwnedFd, life: &OwnedFd) -> End {
        let killed = End::Signal(libc::SIGKILL);
        let mut overdue: Option<Instant> = None;
        loop {
            let accepting = if self.connections.len() < self.slots { self.listener.as_ref() } else { None };
            let mut fds = [
                watch(control.fd(), libc::POLLIN),
                watch(signals.fd(), libc::POLLIN),
                watch(accepting.map_or(-1, AsRawFd::as_raw_fd), libc::POLLIN),
            ];
            let left = overdue.map(|at| at.saturating_duration_since(Instant::now()));
            let polled = sys::poll(&mut fds, left);
            let mut stop = signals.asked_to_stop();
            if fds[0].revents != 0 {
                match control.order() {
                    Some(Order::Terminate) => stop = true,
                    None => return killed,
                }
            }
            tree::reap_most(|pid, _| self.connections.retain(|known| *known != pid));
            if polled.is_err() || overdue.is_some_and(|at| Instant::now() >= at) {
                return killed;
            }
            if stop && overdue.is_none() {
                self.listener = None;
                self.connections.iter().for_each(|pid| sys::signal_child(*pid, libc::SIGTERM));
                overdue = Instant::now().checked_add(Duration::from_millis(self.plan.grace_ms));
            }
            if self.listener.is_none() && self.connections.is_empty() {
                return End::Status(0);
            }
            if fds[2].revents != 0 && self.listener.is_some() {
                self.accept(control, &alive, life);
            }
        }
    }

    /// Gives a waiting connection its process. Where none can be made, the caller sees it closed.
    fn accept(&mut self, control: &Control, alive: &OwnedFd, life: &OwnedFd) {
        let Some(Ok((connection, _))) = self.listener.as_ref().map(UnixListener::accept) else { return };
        match sys::fork() {
            Ok(Some(pid)) => self.connections.push(pid),
            Ok(None) => {
                // Held by the guest alone: the platform and the other processes read their ends from them.
                let ours = [control.fd(), life.as_raw_fd(), self.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd)];
                sys::leave(call::serve(self.plan, connection, alive.as_raw_fd(), &ours))
            }
            Err(_) => {}
        }
    }
}
