//! The platform's half of the `command` contract: calls over a connection to an instance's guest.
//!
//! | direction | kind | payload |
//! |---|---|---|
//! | to the guest | `I` | JSON [`Invoke`]: begins a call |
//! | | `D` | a part of the body |
//! | | `F` | none: the body's end |
//! | from the guest | `D` | a part of the standard output |
//! | | `X` | JSON [`Ended`]: the call's end |
//!
//! A frame is its kind (`u8`), the payload's length (`u32`, little-endian) and the payload. A connection carries one
//! call after the other; each connection takes one of the guest's slots for as long as it is open. Closing it kills the
//! call that runs on it. What a call writes to standard error goes to the instance's.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Longest frame of either side; the guest reads and writes 64 KiB at a time.
const FRAME_MAX: usize = 1 << 20;
const HEAD: usize = 5;

/// Begins a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoke {
    pub id: String,
    /// Added to the plan's environment; these win.
    pub env: BTreeMap<String, String>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    #[serde(flatten)]
    pub how: How,
    /// The last 4 KiB of what it wrote to standard error.
    #[serde(default)]
    pub stderr_tail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Status(i32),
    Signal(i32),
    /// No process was started.
    ExecFailed(String),
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part of its standard output.
    Data(Bytes),
    /// Nothing more comes, and no process of it is left.
    Ended(Ended),
}

/// Connects to a guest.
///
/// # Errors
/// Those of `connect`. Where all slots are taken the connection waits at the guest.
pub async fn connect(socket: &Path) -> io::Result<(Sender, Receiver)> {
    let (read, write) = UnixStream::connect(socket).await?.into_split();
    Ok((Sender { write, state: State::Idle }, Receiver { read, buffer: BytesMut::new() }))
}

/// The way to a guest.
#[derive(Debug)]
pub struct Sender {
    write: OwnedWriteHalf,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A call began and its body did not end.
    Body,
    /// A write was given up half-way: nothing can follow it.
    Torn,
}

impl Sender {
    /// Begins a call; the last one's body is ended where it was not. Call it once the last one's [`Event::Ended`] came.
    ///
    /// # Errors
    /// The guest is gone, or an earlier write was dropped half-way; the connection is of no more use.
    pub async fn begin(&mut self, invoke: &Invoke) -> io::Result<()> {
        if self.state == State::Body {
            self.finish().await?;
        }
        self.put(b'I', &serde_json::to_vec(invoke)?, State::Body).await
    }

    /// Sends a part of the body; waits while the process does not read.
    ///
    /// Not cancel safe: dropped half-way, the connection can only be closed.
    ///
    /// # Errors
    /// As [`Sender::begin`].
    pub async fn data(&mut self, body: &[u8]) -> io::Result<()> {
        for part in body.chunks(FRAME_MAX) {
            self.put(b'D', part, State::Body).await?;
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`Sender::begin`].
    pub async fn finish(&mut self) -> io::Result<()> {
        self.put(b'F', &[], State::Idle).await
    }

    async fn put(&mut self, kind: u8, payload: &[u8], then: State) -> io::Result<()> {
        if self.state == State::Torn {
            return Err(io::Error::other("an earlier frame was sent by half"));
        }
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?.to_le_bytes();
        let head = [kind, length[0], length[1], length[2], length[3]];
        self.state = State::Torn;
        // In one piece where it is taken so: one wake-up of the guest.
        let mut both = Buf::chain(&head[..], payload);
        self.write.write_all_buf(&mut both).await?;
        self.state = then;
        Ok(())
    }
}

/// The way back from a guest.
#[derive(Debug)]
pub struct Receiver {
    read: OwnedReadHalf,
    buffer: BytesMut,
}

impl Receiver {
    /// What comes next. Cancel safe.
    ///
    /// # Errors
    /// The guest is gone (`UnexpectedEof`) or says what is no frame.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.cut()? {
                return Ok(event);
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn cut(&mut self) -> io::Result<Option<Event>> {
        let Some(&[kind, a, b, c, d]) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if !matches!(kind, b'D' | b'X') || length > FRAME_MAX {
            return Err(io::Error::other(format!("a frame {kind:#04x} of {length} bytes is none of the contract")));
        }
        if self.buffer.len() < HEAD + length {
            self.buffer.reserve(HEAD + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(if kind == b'D' { Event::Data(payload) } else { Event::Ended(serde_json::from_slice(&payload)?) }))
    }
}
