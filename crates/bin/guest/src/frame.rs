//! The frames of the `command` contract: `kind: u8`, `length: u32` little-endian, payload.
//!
//! | direction | kind | payload |
//! |---|---|---|
//! | to the guest | `I` | JSON [`Invoke`]: begins a call |
//! | | `D` | a part of the body |
//! | | `F` | none: the body's end |
//! | from the guest | `D` | a part of the standard output |
//! | | `X` | JSON [`Ended`]: the call's end |
//!
//! A connection carries one call after the other. A call may end before its body did: what comes of it until `F` is
//! passed over.

use crate::plan::End;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io};

/// Most bytes held of a body, in either direction.
pub(crate) const CHUNK: usize = 64 << 10;
/// Longest `I`: more than the kernel takes as an environment's variable many times over.
const INVOKE_MAX: usize = 1 << 20;
pub(crate) const HEAD: usize = 5;

/// Begins a call.
#[derive(Debug, Deserialize)]
pub(crate) struct Invoke {
    /// Added to the plan's; these win.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

/// Ends a call: one of `status`, `signal` and `exec_failed`.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    #[serde(flatten)]
    pub(crate) how: How,
    /// The last 4 KiB of what it wrote to standard error.
    pub(crate) stderr_tail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    Status(i32),
    Signal(i32),
    ExecFailed(String),
}

impl From<End> for How {
    fn from(end: End) -> Self {
        match end {
            End::Status(status) => Self::Status(status),
            End::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(payload);
}

/// What came from the platform.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Invoke(Vec<u8>),
    /// A part of the body: a frame, or a piece of a long one.
    Data(Vec<u8>),
    Finish,
}

/// Cuts what was read into events. Holds at most [`CHUNK`] bytes of a body.
#[derive(Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// What of the current `D` has not come yet.
    data_left: usize,
}

impl Parser {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event; `None` until more was read.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        if self.data_left > 0 {
            return Ok(self.data());
        }
        let Some(&[kind, a, b, c, d]) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        match kind {
            b'D' => {
                self.buffer.drain(..HEAD);
                self.data_left = length;
                // An empty part says nothing.
                if length == 0 { self.next() } else { Ok(self.data()) }
            }
            b'F' if length == 0 => {
                self.buffer.drain(..HEAD);
                Ok(Some(Event::Finish))
            }
            b'I' if length <= INVOKE_MAX => {
                if self.buffer.len() < HEAD + length {
                    return Ok(None);
                }
                let payload = self.buffer.drain(..HEAD + length).skip(HEAD).collect();
                Ok(Some(Event::Invoke(payload)))
            }
            _ => Err(io::Error::other(format!("a frame {kind:#04x} of {length} bytes is none of the contract"))),
        }
    }

    fn data(&mut self) -> Option<Event> {
        let length = self.data_left.min(self.buffer.len());
        if length == 0 {
            return None;
        }
        self.data_left -= length;
        Some(Event::Data(self.buffer.drain(..length).collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn frames() -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, b'I', b"{}");
        put(&mut bytes, b'D', b"hello");
        put(&mut bytes, b'D', b"");
        put(&mut bytes, b'F', b"");
        bytes
    }

    #[test]
    fn frames_read_back_however_they_are_cut() {
        for cut in 1..=frames().len() {
            let mut parser = Parser::default();
            let (mut invoked, mut body, mut finished) = (0, Vec::new(), 0);
            for piece in frames().chunks(cut) {
                parser.push(piece);
                while let Some(event) = parser.next().unwrap() {
                    match event {
                        Event::Invoke(payload) => invoked += usize::from(payload == b"{}"),
                        Event::Data(part) => body.extend(part),
                        Event::Finish => finished += 1,
                    }
                }
            }
            assert_eq!((invoked, &*body, finished), (1, &b"hello"[..], 1), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        for bad in [&b"GET / "[..], b"F\x01\0\0\0", b"I\xff\xff\xff\xff"] {
            let mut parser = Parser::default();
            parser.push(bad);
            assert!(parser.next().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_end_says_one_thing() {
        let ended = Ended { how: How::Status(3), stderr_tail: "x".into() };
        assert_eq!(serde_json::to_string(&ended).unwrap(), r#"{"status":3,"stderr_tail":"x"}"#);
    }
}
