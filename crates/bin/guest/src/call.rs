//! One connection of the `command` contract: its calls, one after the other, each a process.
//!
//! All four streams are pumped by one `poll`, each with a buffer of at most 64 KiB, so a child that does not read its
//! input while it writes blocks nobody, and a slow reader holds the writer back.

use crate::{
    frame::{self, CHUNK, Ended, Event, How, Invoke, Parser},
    plan::{Failure, Plan},
    serve::decode,
    spawn::Prepared,
    sys::{self, Signals, watch},
    tree,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
};

/// How much of the standard error goes with the end of a call.
const TAIL: usize = 4 << 10;
/// Longest write to a pipe that stays in one piece (pipe(7)): lines of several calls do not mix.
const PIPE_BUF: usize = 4096;

/// Serves the connection in a process of its own until either side leaves. `ours` are the guest's descriptors.
pub(crate) fn serve(plan: &Plan, connection: UnixStream, alive: RawFd, ours: &[RawFd]) -> i32 {
    sys::close(ours);
    let ready = sys::reap_orphans().and_then(|()| connection.set_nonblocking(true)).and_then(|()| Signals::new());
    let Ok(signals) = ready else { return 70 };
    let mut line = Line { connection, parser: Parser::default(), signals, alive, leaving: false };
    // Whatever went wrong, the connection is over, and with it the call.
    let _over = line.calls(plan);
    tree::end_all(&line.signals, None, |_, _| {});
    0
}

struct Line {
    connection: UnixStream,
    parser: Parser,
    signals: Signals,
    alive: RawFd,
    /// Asked to stop: the current call is the last.
    leaving: bool,
}

impl Line {
    fn calls(&mut self, plan: &Plan) -> io::Result<()> {
        while !self.leaving {
            let Some(invoke) = self.invoke()? else { return Ok(()) };
            let prepared = Prepared::new(plan, invoke.env.iter().map(|(name, value)| (&**name, &**value)));
            match prepared.and_then(|prepared| Call::start(&prepared)) {
                Ok(mut call) => {
                    let pumped = self.pump(&mut call);
                    if call.end.is_none() {
                        sys::signal_group(call.pid, libc::SIGKILL);
                    }
                    pumped?;
                }
                Err(failure) => self.refuse(&failure)?,
            }
        }
        Ok(())
    }

    /// Waits for the next call; passes over what is left of the last one's body. `None`: no more comes.
    fn invoke(&mut self) -> io::Result<Option<Invoke>> {
        loop {
            match self.parser.next()? {
                Some(Event::Invoke(payload)) => return Ok(Some(serde_json::from_slice(&payload)?)),
                Some(Event::Data(_) | Event::Finish) => continue,
                None => {}
            }
            let mut fds = [
                watch(self.connection.as_raw_fd(), libc::POLLIN),
                watch(self.signals.fd(), libc::POLLIN),
                watch(self.alive, libc::POLLIN),
            ];
            sys::poll(&mut fds, None)?;
            if self.signals.asked_to_stop() || fds[2].revents != 0 {
                return Ok(None);
            }
            if fds[0].revents != 0 {
                self.fill()?;
            }
        }
    }

    /// Reads once from the platform.
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; CHUNK];
        match self.connection.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.parser.push(bytes.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) => not_now(error),
        }
    }

    fn refuse(&mut self, failure: &Failure) -> io::Result<()> {
        let mut out = Queue::default();
        out.end(How::ExecFailed(failure.to_string()), &[])?;
        while !out.is_empty() {
            let mut fds = [watch(self.connection.as_raw_fd(), libc::POLLOUT), watch(self.alive, libc::POLLIN)];
            sys::poll(&mut fds, None)?;
            if fds[1].revents != 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            out.flush(&mut self.connection, usize::MAX)?;
        }
        Ok(())
    }

    /// Carries a call to its end. An error means that the platform left: the caller ends what runs.
    fn pump(&mut self, call: &mut Call) -> io::Result<()> {
        loop {
            self.take_body(call)?;
            if let Some(end) = call.end.filter(|_| call.is_drained()) {
                if call.told {
                    return Ok(());
                }
                call.out.end(How::from(decode(end)), &call.tail)?;
                call.told = true;
            }
            let mut fds = self.watches(call);
            sys::poll(&mut fds, None)?;
            let [connection, input, output, error, log, signals, alive] = fds.map(|fd| fd.revents);
            if connection & (libc::POLLHUP | libc::POLLERR) != 0 || alive != 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if connection & libc::POLLIN != 0 {
                self.fill()?;
            }
            if connection & libc::POLLOUT != 0 {
                call.out.flush(&mut self.connection, usize::MAX)?;
            }
            call.step(input, output, error, log);
            if signals != 0 {
                self.note_signals(call);
            }
        }
    }

    fn watches(&self, call: &Call) -> [libc::pollfd; 7] {
        let mut wanted = 0;
        if call.wants_body() {
            wanted |= libc::POLLIN;
        }
        if !call.out.is_empty() {
            wanted |= libc::POLLOUT;
        }
        let readable = |from: &Option<File>, to: &Queue| from.as_ref().filter(|_| to.is_empty()).map_or(-1, fd);
        [
            watch(self.connection.as_raw_fd(), wanted),
            watch(call.stdin.as_ref().filter(|_| !call.body.is_empty()).map_or(-1, fd), libc::POLLOUT),
            watch(readable(&call.stdout, &call.out), libc::POLLIN),
            watch(readable(&call.stderr, &call.log), libc::POLLIN),
            watch(if call.log.is_empty() { -1 } else { libc::STDERR_FILENO }, libc::POLLOUT),
            watch(self.signals.fd(), libc::POLLIN),
            watch(self.alive, libc::POLLIN),
        ]
    }

    /// Moves what has come of the body on, a buffer at a time.
    fn take_body(&mut self, call: &mut Call) -> io::Result<()> {
        while call.wants_body() {
            match self.parser.next()? {
                Some(Event::Data(part)) if call.stdin.is_some() => call.body.set(part),
                Some(Event::Data(_)) => {}
                Some(Event::Finish) => call.finished = true,
                Some(Event::Invoke(_)) => return Err(io::Error::other("a call began before the last one's end")),
                None => break,
            }
        }
        if call.finished && call.body.is_empty() {
            call.stdin = None;
        }
        Ok(())
    }

    fn note_signals(&mut self, call: &mut Call) {
        if self.signals.asked_to_stop() && !self.leaving {
            self.leaving = true;
            if call.end.is_none() {
                sys::signal_group(call.pid, libc::SIGTERM);
            }
        }
        let pid = call.pid;
        tree::reap_most(|child, status| {
            if child == pid {
                call.end = Some(status);
            }
        });
        if call.end.is_some() {
            // What it left behind would hold its output open.
            self.leaving |= tree::end_all(&self.signals, None, |_, _| {});
            call.stdin = None;
        }
    }
}

/// A running call with its streams; a stream is `None` once it ended.
struct Call {
    pid: i32,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    /// On its way to `stdin`.
    body: Queue,
    /// The body's end was read.
    finished: bool,
    /// On its way to the platform.
    out: Queue,
    /// On its way to the log.
    log: Queue,
    tail: Vec<u8>,
    /// Wait status.
    end: Option<i32>,
    /// The platform was told the end.
    told: bool,
}

impl Call {
    fn start(prepared: &Prepared) -> Result<Self, Failure> {
        let pipe = || sys::pipe().map_err(|error| Failure::new("pipe", &error));
        let ((child_in, stdin), (stdout, child_out), (stderr, child_err)) = (pipe()?, pipe()?, pipe()?);
        for end in [&stdin, &stdout, &stderr] {
            sys::nonblocking(end.as_raw_fd()).map_err(|error| Failure::new("pipe", &error))?;
        }
        let pid = prepared.spawn([child_in.as_raw_fd(), child_out.as_raw_fd(), child_err.as_raw_fd()])?;
        Ok(Self {
            pid,
            stdin: Some(stdin.into()),
            stdout: Some(stdout.into()),
            stderr: Some(stderr.into()),
            body: Queue::default(),
            finished: false,
            out: Queue::default(),
            log: Queue::default(),
            tail: Vec::new(),
            end: None,
            told: false,
        })
    }

    fn wants_body(&self) -> bool {
        !self.finished && self.body.is_empty() && self.end.is_none()
    }

    /// It ended, and everything it wrote was passed on.
    fn is_drained(&self) -> bool {
        self.end.is_some()
            && self.stdout.is_none()
            && self.stderr.is_none()
            && self.out.is_empty()
            && self.log.is_empty()
    }

    /// Moves each stream that is ready by one buffer.
    fn step(&mut self, input: i16, output: i16, error: i16, log: i16) {
        if let Some(stdin) = self.stdin.as_mut().filter(|_| input != 0)
            && self.body.flush(stdin, usize::MAX).is_err()
        {
            // It reads no more (EPIPE): its right. The rest of the body is passed over.
            self.stdin = None;
            self.body = Queue::default();
        }
        if output != 0 {
            match take(&mut self.stdout) {
                Some(bytes) => self.out.frame(b'D', &bytes),
                None => self.stdout = None,
            }
        }
        if error != 0 {
            match take(&mut self.stderr) {
                Some(bytes) => {
                    self.tail.extend_from_slice(&bytes);
                    self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                    self.log.set(bytes);
                }
                None => self.stderr = None,
            }
        }
        if log != 0 && self.log.flush(&mut io::stderr(), PIPE_BUF).is_err() {
            self.log = Queue::default(); // Nobody reads the log any more.
        }
    }
}

/// Reads once; `None` at the end, an empty piece where nothing is there yet.
fn take(from: &mut Option<File>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; CHUNK];
    let length = match from.as_mut()?.read(&mut bytes) {
        Ok(0) => return None,
        Ok(length) => length,
        Err(error) => not_now(error).ok().map(|()| 0)?,
    };
    bytes.truncate(length);
    Some(bytes)
}

/// Bytes on their way, at most one buffer of them.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    at: usize,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn set(&mut self, bytes: Vec<u8>) {
        *self = Self { bytes, at: 0 };
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        if !payload.is_empty() {
            let mut bytes = Vec::with_capacity(frame::HEAD + payload.len());
            frame::put(&mut bytes, kind, payload);
            self.set(bytes);
        }
    }

    fn end(&mut self, how: How, tail: &[u8]) -> io::Result<()> {
        let ended = Ended { how, stderr_tail: String::from_utf8_lossy(tail).into_owned() };
        self.frame(b'X', &serde_json::to_vec(&ended)?);
        Ok(())
    }

    /// Writes what `to` takes now, in pieces of at most `piece` bytes that end with a line where they can.
    fn flush(&mut self, to: &mut impl Write, piece: usize) -> io::Result<()> {
        while let Some(left) = self.bytes.get(self.at..).filter(|left| !left.is_empty()) {
            let mut length = left.len().min(piece);
            if length < left.len() {
                length = left.iter().take(length).rposition(|byte| *byte == b'\n').map_or(length, |at| at + 1);
            }
            match to.write(left.get(..length).unwrap_or(left)) {
                Ok(written) => self.at += written,
                Err(error) => return not_now(error),
            }
        }
        Ok(())
    }
}

fn fd(file: &File) -> RawFd {
    file.as_raw_fd()
}

/// An error that only says to come again is none.
fn not_now(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
