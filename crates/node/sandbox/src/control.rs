//! The control socket of a guest: its documents (`guest::plan` has the other half; the suite holds both together).

use crate::{Exit, Mode, Plan};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::{io::AsyncWriteExt, net::UnixStream};

/// Longest document taken from a guest.
const REPORT_MAX: usize = 64 << 10;

/// What the guest is told to run.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    program: &'a str,
    args: &'a [String],
    env: &'a [(String, String)],
    cwd: &'a str,
    uid: Option<u32>,
    files: u64,
    processes: u64,
    mode: ModeDocument<'a>,
    grace_ms: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModeDocument<'a> {
    Serve,
    Command { socket: &'a str, slots: u32 },
}

impl<'a> Document<'a> {
    /// `None` where a path is not UTF-8. `plan.program` is a path by now.
    pub(crate) fn new(plan: &'a Plan, uid: Option<u32>, processes: u64) -> Option<Self> {
        Some(Self {
            program: plan.program.to_str()?,
            args: &plan.args,
            env: &plan.env,
            cwd: plan.cwd.to_str()?,
            uid,
            files: plan.limits.files,
            processes,
            mode: match &plan.mode {
                Mode::Serve => ModeDocument::Serve,
                Mode::Command { socket, slots } => ModeDocument::Command { socket: socket.to_str()?, slots: *slots },
            },
            grace_ms: u64::try_from(plan.grace.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Terminate,
}

/// What a guest says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Started { pid: u32 },
    ExecFailed(Failure),
    Exited(End),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
}

impl From<End> for Exit {
    fn from(end: End) -> Self {
        match end {
            End::Status(status) => Self::Status(status),
            End::Signal(signal) => Self::Signal(signal),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) errno: i32,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct Control {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Control {
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, buffer: Vec::new() })
    }

    pub(crate) async fn send(&mut self, document: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(document)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut framed = length.to_le_bytes().to_vec();
        framed.extend_from_slice(&text);
        self.stream.write_all(&framed).await
    }

    /// Says that everything is to be killed; reports still come.
    pub(crate) fn end(&mut self) {
        use std::os::fd::AsFd;
        let _gone = rustix::net::shutdown(self.stream.as_fd(), rustix::net::Shutdown::Write);
    }

    /// The next report; `None` once the guest is gone. Cancel safe: what was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Report>> {
        loop {
            if let Some(report) = self.cut()? {
                return Ok(Some(report));
            }
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A guest that was killed with our words unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn cut(&mut self) -> io::Result<Option<Report>> {
        let Some(length) = self.buffer.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) else {
            return Ok(None);
        };
        if length > REPORT_MAX {
            return Err(io::Error::other(format!("a report of {length} bytes")));
        }
        let Some(text) = self.buffer.get(4..4 + length) else { return Ok(None) };
        let report = serde_json::from_slice(text)?;
        self.buffer.drain(..4 + length);
        Ok(Some(report))
    }
}
