//! The system calls that std lacks: all of the guest's `unsafe` but `fork` and `exec`.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

/// Turns the C convention (-1 and errno) into a result.
pub(crate) fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Takes the control socket off descriptor 0, puts `/dev/null` there, and closes what the platform may have leaked.
pub(crate) fn take_stdin() -> io::Result<UnixStream> {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::open("/dev/null")?;
    // SAFETY: both are open descriptors of ours.
    check(unsafe { libc::dup2(null.as_raw_fd(), 0) })?;
    drop(null);
    let kept = control.as_raw_fd();
    close_range(3, kept - 1);
    close_range(kept + 1, RawFd::MAX);
    Ok(UnixStream::from(control))
}

fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: nothing in this process owns these descriptors: it runs before anything is opened.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        // Linux before 5.9: one by one, those that can be open.
        for fd in first..=last.min(65_535) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// Own session, reaper of all that comes below, closed to tracing.
pub(crate) fn become_keeper() -> io::Result<()> {
    // SAFETY: plain calls with constants; the name is a C string of at most 15 bytes.
    unsafe {
        check(libc::setsid())?;
        check(libc::prctl(libc::PR_SET_NAME, c"mayfly-guest".as_ptr()))?;
    }
    reap_orphans()?;
    // SAFETY: a plain call with constants.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    Ok(())
}

/// Orphans below this process become its children (not inherited by `fork`).
pub(crate) fn reap_orphans() -> io::Result<()> {
    // SAFETY: a plain call with constants.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

/// The signals that the guest looks at: ends of children, and requests to stop.
pub(crate) struct Signals(File);

impl Signals {
    /// Blocks them and opens the queue.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: `set` is initialised by sigemptyset before it is read; the new descriptor is owned at once.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
            let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
            Ok(Self(File::from_raw_fd(fd)))
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Empties the queue; true where somebody asked this process to stop.
    pub(crate) fn asked_to_stop(&self) -> bool {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let mut stop = false;
        while let Ok(length) = (&self.0).read(&mut info) {
            let signal = info.first_chunk().map_or(0, |number| u32::from_ne_bytes(*number));
            stop |= length > 0 && signal != libc::SIGCHLD as u32;
        }
        stop
    }

    /// Waits for the next one, at most this long.
    pub(crate) fn wait(&self, most: Duration) {
        let mut fds = [watch(self.fd(), libc::POLLIN)];
        let _interrupted = poll(&mut fds, Some(most));
    }
}

/// A line of a [`poll`]; descriptor -1 is passed over.
pub(crate) fn watch(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// Waits until one of them is ready, or the time is over.
pub(crate) fn poll(fds: &mut [libc::pollfd], most: Option<Duration>) -> io::Result<()> {
    // Rounded up: a wait of 0.4 ms must not become a busy loop.
    let most = most.map_or(-1, |most| i32::try_from(most.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: the slice lives through the call and its length is given.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, most) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// What [`reap`] found.
pub(crate) enum Reaped {
    /// This child ended, with this wait status.
    Child(i32, i32),
    /// Children are left, and all of them live.
    Alive,
    /// There is no child, so there is no descendant: a subreaper inherits every orphan.
    Nobody,
}

/// Takes the status of one child that ended, without waiting.
pub(crate) fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Reaped::Alive,
        -1 => Reaped::Nobody,
        pid => Reaped::Child(pid, status),
    }
}

/// Sends a signal to a process group that surely is ours: its leader is a child not yet reaped.
pub(crate) fn signal_group(leader: i32, signal: i32) {
    if leader > 1 {
        // SAFETY: a plain call.
        unsafe { libc::kill(-leader, signal) };
    }
}

/// Sends a signal to a child not yet reaped.
pub(crate) fn signal_child(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: a plain call.
        unsafe { libc::kill(pid, signal) };
    }
}

/// A descriptor that means this process and no later one with its number; `None` where it is gone.
pub(crate) fn pidfd(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: plain call; a new descriptor is owned at once.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd >= 0 {
        // SAFETY: the kernel just gave it to us.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        error => Err(error),
    }
}

/// Kills the process that a [`pidfd`] means.
pub(crate) fn kill_pidfd(fd: BorrowedFd<'_>) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a plain call; a null pointer asks for the default information.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), libc::SIGKILL, no_info, 0) };
}

/// A pipe, closed on exec: (reading, writing).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two; the new descriptors are owned at once.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Reads and writes on it return instead of waiting.
pub(crate) fn nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain calls on an open descriptor.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Files made from now on can be opened by this process' user alone.
pub(crate) fn private_files() {
    // SAFETY: a plain call.
    unsafe { libc::umask(0o177) };
}

/// Kills every process of a user in one step that no fork escapes (kill(2): -1), by a process that becomes that user.
///
/// Only for a user that nobody but the instance has. The user's processes may kill that process first; try again.
pub(crate) fn kill_user(uid: u32) {
    // SAFETY: plain calls; the forked process leaves by `_exit`, and signals all only as the other user.
    unsafe {
        if uid == 0 || uid == libc::getuid() {
            return;
        }
        match fork() {
            Ok(None) => {
                if libc::setresuid(uid, uid, uid) == 0 && libc::getuid() == uid && libc::geteuid() == uid {
                    libc::kill(-1, libc::SIGKILL);
                }
                leave(0)
            }
            Ok(Some(pid)) => {
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
            Err(_) => {}
        }
    }
}

/// Splits this single-threaded process in two; true in the new one.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the guest has one thread, so the new process finds every lock free.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// Ends a forked process without running what its parent registered.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// Closes descriptors that a forked process has from its parent and must not hold.
pub(crate) fn close(inherited: &[RawFd]) {
    for fd in inherited.iter().filter(|fd| **fd > 2) {
        // SAFETY: the forked process never uses the values that own them; it leaves by `_exit`.
        unsafe { libc::close(*fd) };
    }
}
