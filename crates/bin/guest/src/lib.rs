//! The parent of user code: one small process per instance, which starts the code, passes orders on, and sees to it
//! that nothing of it outlives the platform.
//!
//! The platform starts it with its standard input being one end of a UNIX stream socket (the control socket), and
//! its standard output and error being the pipes that user code inherits. On the socket come a [`plan::Plan`] and then
//! [`plan::Order`]s; back go [`plan::Report`]s. The end of that stream means that the platform is gone, by `kill -9`
//! even, or wants everything killed: the guest then ends all of its descendants and itself.
//!
//! It is a subreaper, so whatever user code leaves behind becomes its child; it runs as the platform's user, so user
//! code with a user of its own cannot signal it, and it is not dumpable, so nobody but root can trace it.
//!
//! **Invariant**: single-threaded, synchronous; allocates nothing between `fork` and `exec`.

mod call;
mod command;
mod control;
mod frame;
pub mod plan;
mod serve;
mod spawn;
mod sys;
mod tree;

use control::Control;
use plan::{Mode, Report};
use std::{ffi::OsString, io};

/// Runs the guest to its end and returns the exit code: 0 where it did its duty, 70 where it could not.
///
/// The arguments are for whoever reads the list of processes; they mean nothing to the guest.
pub fn main(_args: impl IntoIterator<Item = OsString>) -> i32 {
    match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mayfly-guest: {error}");
            70
        }
    }
}

fn run() -> io::Result<()> {
    let mut control = Control::new(sys::take_stdin()?);
    sys::become_keeper()?;
    // Blocked before any child exists, so that no end of one is missed.
    let signals = sys::Signals::new()?;
    let Some(plan) = control.plan()? else {
        return Ok(()); // The platform died before it said what to run.
    };
    let outcome = match &plan.mode {
        Mode::Serve => serve::run(&plan, &mut control, &signals),
        Mode::Command { socket, slots } => command::run(&plan, socket, *slots, &mut control, &signals),
    };
    match outcome {
        Ok(end) => control.report(&Report::Exited(end)),
        Err(failure) => control.report(&Report::ExecFailed(failure)),
    }
    Ok(())
}
