//! `fork` and `exec` of user code, with everything it must not have taken away in between.

use crate::{
    plan::{Failure, Plan},
    sys::{self, check},
};
use std::{
    ffi::{CString, c_char},
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, RawFd},
    ptr,
};

/// The steps of a child between `fork` and `exec`, by the number it reports where one fails.
const STEPS: [&str; 9] =
    ["stdio", "setpgid", "setrlimit", "setgroups", "setgid", "setuid", "no_new_privs", "chdir", "exec"];

/// A process ready to be started: everything allocated.
pub(crate) struct Prepared {
    program: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    cwd: CString,
    uid: Option<u32>,
    files: u64,
    processes: u64,
}

impl Prepared {
    /// From the plan; `extra` variables win over its own of the same name.
    pub(crate) fn new<'a>(plan: &Plan, extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Failure> {
        let mut env: Vec<(&str, &str)> = plan.env.iter().map(|(name, value)| (&**name, &**value)).collect();
        for (name, value) in extra {
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
        }
        let argv = [&plan.program].into_iter().chain(&plan.args);
        Ok(Self {
            program: text(&plan.program)?,
            argv: argv.map(|arg| text(arg)).collect::<Result<_, _>>()?,
            envp: env.iter().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?,
            cwd: text(&plan.cwd)?,
            uid: plan.uid,
            files: plan.files,
            processes: plan.processes,
        })
    }

    /// Starts it with these descriptors as 0, 1 and 2, and returns its pid once the program was executed.
    pub(crate) fn spawn(&self, stdio: [RawFd; 3]) -> Result<i32, Failure> {
        self.fork(stdio, libc::execve)
    }

    /// Whether user code could execute the program: tried by a child in its place, access control lists and all.
    pub(crate) fn probe(&self) -> Result<(), Failure> {
        self.fork([0, 1, 2], probe_exec).map(|_| ())
    }

    fn fork(&self, stdio: [RawFd; 3], exec: Exec) -> Result<i32, Failure> {
        let (argv, envp) = (pointers(&self.argv), pointers(&self.envp));
        let (reading, writing) = sys::pipe().map_err(|error| Failure::new("pipe", &error))?;
        let Some(pid) = sys::fork().map_err(|error| Failure::new("fork", &error))? else {
            let step = self.child(stdio, exec, &argv, &envp);
            // SAFETY: writes five bytes that live on this stack, then leaves for good.
            unsafe {
                let errno = (*libc::__errno_location()).to_le_bytes();
                let word = [step, errno[0], errno[1], errno[2], errno[3]];
                libc::write(writing.as_raw_fd(), word.as_ptr().cast(), word.len());
                libc::_exit(127)
            }
        };
        drop(writing);
        let mut word = [0; 5];
        if File::from(reading).read_exact(&mut word).is_err() {
            return Ok(pid); // Closed by exec.
        }
        // SAFETY: reaps the child that just failed.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        let [step, errno @ ..] = word;
        let step = STEPS.get(usize::from(step)).copied().unwrap_or("exec");
        Err(Failure::new(step, &io::Error::from_raw_os_error(i32::from_le_bytes(errno))))
    }

    /// What the child does. Returns the step that failed, with `errno` set.
    ///
    /// **Invariant**: calls nothing but system calls: no allocation, no lock, no panic.
    fn child(&self, stdio: [RawFd; 3], exec: Exec, argv: &[*const c_char], envp: &[*const c_char]) -> u8 {
        // SAFETY: system calls on values that were prepared before the fork.
        unsafe {
            for (to, from) in (0..).zip(stdio) {
                if from != to && libc::dup2(from, to) < 0 {
                    return 0;
                }
            }
            if libc::setpgid(0, 0) < 0 {
                return 1;
            }
            plain_signals();
            libc::umask(0o022);
            if lower(libc::RLIMIT_CORE, 0).is_err() || lower(libc::RLIMIT_NOFILE, self.files).is_err() {
                return 2;
            }
            if let Some(uid) = self.uid {
                // In a user namespace without setgroups there is nothing to drop and no way to.
                if libc::setgroups(0, ptr::null()) < 0 && libc::getgroups(0, ptr::null_mut()) != 0 {
                    return 3;
                }
                if libc::setresgid(uid, uid, uid) < 0 {
                    return 4;
                }
                if libc::setresuid(uid, uid, uid) < 0 {
                    return 5;
                }
            }
            // After the change of user: it counts the processes of the user that sets it.
            if lower(libc::RLIMIT_NPROC, self.processes).is_err() {
                return 2;
            }
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
                return 6;
            }
            if libc::chdir(self.cwd.as_ptr()) < 0 {
                return 7;
            }
            // Everything of ours is closed on exec already; this is for what is not ours.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            for _ in 0..TEXT_BUSY_TRIES {
                exec(self.program.as_ptr(), argv.as_ptr(), envp.as_ptr());
                if *libc::__errno_location() != libc::ETXTBSY {
                    break;
                }
                libc::usleep(1000);
            }
        }
        8
    }
}

/// A program that was unpacked a moment ago is "busy" while another process, forked just then, still holds it open for
/// writing: until that one's own `exec`, some milliseconds.
const TEXT_BUSY_TRIES: u32 = 500;

type Exec = unsafe extern "C" fn(*const c_char, *const *const c_char, *const *const c_char) -> libc::c_int;

/// Says what `execve` would, as far as permissions and existence go, and does not do it.
unsafe extern "C" fn probe_exec(
    program: *const c_char,
    _argv: *const *const c_char,
    _envp: *const *const c_char,
) -> libc::c_int {
    // SAFETY: the caller gives a C string; `_exit` closes the pipe as exec would.
    unsafe {
        if libc::access(program, libc::X_OK) == 0 {
            libc::_exit(0);
        }
    }
    -1
}

/// The default action for every signal, and none blocked: ignored ones would survive exec.
unsafe fn plain_signals() {
    // SAFETY: plain calls; `none` is initialised by sigemptyset.
    unsafe {
        // By the system call: libc keeps 32 and 33 for itself, and an ancestor may have ignored them. All zero, the
        // kernel's `sigaction` (at most 32 bytes) says SIG_DFL.
        let default = [0_u64; 4];
        for signal in 1..=64 {
            let no_old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, 8);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Sets both limits, to at most what this process may have itself.
unsafe fn lower(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: wanted, rlim_max: wanted };
    // SAFETY: `limit` lives through the calls.
    unsafe {
        if libc::setrlimit(resource, &raw const limit) == 0 {
            return Ok(());
        }
        check(libc::getrlimit(resource, &raw mut limit))?;
        limit = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        check(libc::setrlimit(resource, &raw const limit))?;
    }
    Ok(())
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

fn text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure {
        step: "plan".into(),
        errno: libc::EINVAL,
        text: format!("`{}` has a zero byte", text.escape_default()),
    })
}

fn variable(name: &str, value: &str) -> Result<CString, Failure> {
    if name.is_empty() || name.contains('=') {
        let text = format!("`{}` is no name of a variable", name.escape_default());
        return Err(Failure { step: "plan".into(), errno: libc::EINVAL, text });
    }
    text(&format!("{name}={value}"))
}
