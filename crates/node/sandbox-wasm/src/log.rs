//! What a guest prints, line by line, to the sink that the caller gave.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use types::InvocationId;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError},
};

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Takes what guests print: one call per line, without its end, at most 64 KiB (longer lines come in pieces).
///
/// It is called in the middle of guest code: it must not block.
pub type LogSink = Arc<dyn Fn(Output, InvocationId, &[u8]) + Send + Sync>;

/// The longest line.
const LINE_MAX: usize = 64 << 10;

/// The open lines of one call. What has no end when the call ends is a line too.
pub(crate) struct Lines {
    sink: LogSink,
    id: InvocationId,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(sink: LogSink, id: InvocationId) -> Self {
        Self { sink, id, stdout: Vec::new(), stderr: Vec::new() }
    }

    pub(crate) fn write(&mut self, output: Output, mut bytes: &[u8]) {
        let open = match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            if open.is_empty() {
                // A line in one piece is not copied.
                pieces(line, |piece| (self.sink)(output, self.id, piece));
            } else {
                open.extend_from_slice(line);
                pieces(open, |piece| (self.sink)(output, self.id, piece));
                open.clear();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        open.extend_from_slice(bytes);
        while open.len() >= LINE_MAX {
            let rest = open.split_off(LINE_MAX);
            (self.sink)(output, self.id, open);
            *open = rest;
        }
    }

    pub(crate) fn flush(&mut self) {
        for (output, open) in [(Output::Stdout, &mut self.stdout), (Output::Stderr, &mut self.stderr)] {
            if !open.is_empty() {
                (self.sink)(output, self.id, open);
                open.clear();
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A line in pieces of the greatest length; an empty line is one piece.
fn pieces(line: &[u8], mut each: impl FnMut(&[u8])) {
    if line.is_empty() {
        return each(line);
    }
    line.chunks(LINE_MAX).for_each(each);
}

/// A guest's stdout or stderr; all handles to it continue the same line.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) output: Output,
    pub(crate) lines: Arc<Mutex<Lines>>,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Only WASI 0.3 asks for this one, and the linker has none of it.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.lines.lock().write(self.output, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(LINE_MAX)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(writes: &[&[u8]]) -> Vec<Vec<u8>> {
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let sink: LogSink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |_, _, line| seen.lock().push(line.to_vec()))
        };
        let mut lines = Lines::new(sink, InvocationId::random());
        for bytes in writes {
            lines.write(Output::Stdout, bytes);
        }
        drop(lines);
        let seen = seen.lock();
        seen.clone()
    }

    #[test]
    fn one_call_per_line() {
        type Pieces = &'static [&'static [u8]];
        let cases: [(Pieces, Pieces); 5] = [
            (&[b"a\nb\n"], &[b"a", b"b"]),
            (&[b"a", b"b\nc"], &[b"ab", b"c"]),
            (&[b"\n\n"], &[b"", b""]),
            (&[b""], &[]),
            (&[b"a\r\n"], &[b"a\r"]),
        ];
        for (writes, lines) in cases {
            assert_eq!(printed(writes), lines, "{writes:?}");
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let long = vec![b'x'; 2 * LINE_MAX + 5];
        let mut ended = long.clone();
        ended.push(b'\n');
        for writes in [&[&long[..]][..], &[&ended[..]], &[b"", &long[..LINE_MAX - 1], &ended[LINE_MAX - 1..]]] {
            let lengths: Vec<usize> = printed(writes).iter().map(Vec::len).collect();
            assert_eq!(lengths, [LINE_MAX, LINE_MAX, 5]);
        }
    }
}
