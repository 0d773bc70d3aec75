//! A streamed answer of one JSON document a line (NDJSON).

use super::{Answer, Error};
use bytes::BytesMut;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Longest line; a log line is cut far below it.
const LINE_MAX: usize = 4 << 20;

/// Documents as they come.
pub struct Lines<T> {
    answer: Answer,
    url: String,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no line's end.
    seen: usize,
    ended: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(super) fn new(answer: Answer, url: String) -> Self {
        Self { answer, url, buffer: BytesMut::new(), seen: 0, ended: false, kind: PhantomData }
    }

    /// The next document; `None` once the platform ended the stream in an orderly way.
    ///
    /// Cancel safe: what has been read stays in the buffer.
    ///
    /// # Errors
    /// [`Error::Broken`] where the connection broke, a line is too long, or is no such document.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(line) = self.take_line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|e| self.broken(e));
            }
            if self.ended {
                return Ok(None);
            }
            if self.buffer.len() > LINE_MAX {
                return Err(self.broken(format_args!("a line is longer than {} MiB", LINE_MAX >> 20)));
            }
            match self.answer.piece().await {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(error)) => return Err(self.broken(error)),
                None => self.ended = true,
            }
        }
    }

    /// A whole line, or what is left at the end.
    fn take_line(&mut self) -> Option<BytesMut> {
        let fresh = self.buffer.get(self.seen..).unwrap_or_default();
        if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.seen + at + 1);
            self.seen = 0;
            return Some(line);
        }
        self.seen = self.buffer.len();
        (self.ended && !self.buffer.is_empty()).then(|| {
            self.seen = 0;
            self.buffer.split()
        })
    }

    fn broken(&self, cause: impl std::fmt::Display) -> Error {
        Error::Broken { url: self.url.clone(), cause: cause.to_string() }
    }
}
