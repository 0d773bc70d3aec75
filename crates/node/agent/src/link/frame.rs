//! Frames on a UNIX socket: what our bootstraps speak. (The guest's are `sandbox::command`.)
//!
//! A frame is `kind: u8, length: u32 little-endian, payload`. A connection carries one call at a time.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::address::Stream;

pub(crate) const HEAD: usize = 5;

/// A call: its metadata and event.
pub(crate) const INVOKE: u8 = b'I';
/// A handler's result as JSON.
pub(crate) const RESULT: u8 = b'R';
/// A handler's error as JSON.
pub(crate) const ERROR: u8 = b'E';

/// A connection with what was read ahead on it.
pub(crate) struct Framed {
    pub(crate) stream: Stream,
    buffer: Vec<u8>,
}

/// A frame whose payload is over the limit: its length.
#[derive(Debug)]
pub(crate) enum ReadError {
    TooLong(u64),
    /// The connection broke; why is the instance's to tell.
    Broken,
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Framed {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame).await
    }

    /// The next frame: its kind and payload. An end of the stream is `UnexpectedEof`.
    ///
    /// Not cancel safe for the caller: what was read of a frame is kept, but the answer belongs to one call.
    pub(crate) async fn read(&mut self, max: u64) -> Result<(u8, Vec<u8>), ReadError> {
        while self.buffer.len() < HEAD {
            self.fill(4096).await?;
        }
        let kind = self.buffer[0];
        let length = u32::from_le_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]) as usize;
        if length as u64 > max {
            return Err(ReadError::TooLong(length as u64));
        }
        let end = HEAD + length;
        while self.buffer.len() < end {
            self.fill((end - self.buffer.len()).max(4096)).await?;
        }
        let rest = self.buffer.split_off(end);
        let mut payload = std::mem::replace(&mut self.buffer, rest);
        payload.drain(..HEAD);
        Ok((kind, payload))
    }

    async fn fill(&mut self, room: usize) -> io::Result<()> {
        self.buffer.reserve(room);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// True where nothing is left over from an earlier call.
    pub(crate) fn is_clean(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// A frame in one piece, so that it goes out in one write.
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    pub(crate) fn open(kind: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + capacity);
        bytes.extend_from_slice(&[kind, 0, 0, 0, 0]);
        Self(bytes)
    }

    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The bytes, with the length filled in.
    pub(crate) fn close(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - HEAD).unwrap_or(u32::MAX).to_le_bytes();
        self.0[1..HEAD].copy_from_slice(&length);
        self.0
    }
}
