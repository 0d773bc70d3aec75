//! Starts children that end with this process, however it ends.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{LazyLock, Mutex, mpsc},
    thread,
};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// The kernel ties the death signal to the thread that forked, and a test's thread ends with its test: one thread
/// that never ends starts them all.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = mpsc::channel::<Order>();
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        })
        .expect("a thread");
    Mutex::new(orders)
});

/// Starts `command`; it is killed when this process ends.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    // SAFETY: prctl is a plain system call, which is all that may happen between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (answer, answered) = mpsc::channel();
    SPAWNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).send((command, answer)).expect("the spawner");
    answered.recv().expect("the spawner")
}
