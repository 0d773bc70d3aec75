//! What build tools print: cut into lines, cleaned, and bounded.

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line; the rest of a longer one is left out.
const LINE_MAX: usize = 8 << 10;
/// All lines of a build. Of what follows only the end is kept: a failing tool says why in its last lines.
const HEAD_MAX: usize = 1 << 20;
const TAIL_MAX: usize = 64 << 10;

/// Where a build says what it does. Called from several tasks; must not block for long.
pub trait BuildLog: Send + Sync {
    /// A step of the platform.
    fn step(&self, text: &str);
    /// A line of a build tool's output.
    fn line(&self, text: &str);
}

/// Passes the first [`HEAD_MAX`] bytes of lines on as they come, and the last [`TAIL_MAX`] at the end.
pub(super) struct Output<'a> {
    log: &'a dyn BuildLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    passed: usize,
    tail: VecDeque<String>,
    tail_bytes: usize,
    left_out: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(log: &'a dyn BuildLog) -> Self {
        Self { log, state: Mutex::default() }
    }

    pub(super) fn step(&self, text: &str) {
        self.log.step(text);
    }

    fn line(&self, text: String) {
        let mut state = self.state.lock();
        let size = text.len() + 1;
        if state.passed + size <= HEAD_MAX && state.tail.is_empty() {
            state.passed += size;
            drop(state);
            return self.log.line(&text);
        }
        state.tail.push_back(text);
        state.tail_bytes += size;
        while state.tail_bytes > TAIL_MAX {
            let Some(oldest) = state.tail.pop_front() else { break };
            state.tail_bytes -= oldest.len() + 1;
            state.left_out += 1;
        }
    }

    /// Passes on the end of what was held back.
    pub(super) fn finish(&self) {
        let State { tail, left_out, .. } = std::mem::take(&mut *self.state.lock());
        if left_out > 0 {
            self.log.step(&format!("{left_out} lines are left out here: the output is over {} KiB", HEAD_MAX >> 10));
        }
        for line in tail {
            self.log.line(&line);
        }
    }

    /// Reads lines until the pipe's other end is closed everywhere.
    pub(super) async fn read(&self, mut pipe: impl AsyncRead + Unpin) {
        let mut line = Line::default();
        let mut buffer = [0; 4096];
        // An error is the end of the pipe too: there is nobody to tell but the tool.
        while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
            for byte in buffer.iter().take(n) {
                if let Some(text) = line.push(*byte) {
                    self.line(text);
                }
            }
        }
        if let Some(text) = line.end() {
            self.line(text);
        }
    }
}

/// A line as it grows.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    cut: bool,
}

impl Line {
    /// The line that this byte completes.
    fn push(&mut self, byte: u8) -> Option<String> {
        match byte {
            b'\n' => return Some(self.take()),
            // A progress bar draws over its line: what was there is gone.
            b'\r' => {}
            _ if self.bytes.last() == Some(&b'\r') => {
                self.bytes.clear();
                self.cut = false;
            }
            _ => {}
        }
        if self.bytes.len() < LINE_MAX {
            self.bytes.push(byte)
        } else {
            self.cut = true
        }
        None
    }

    fn end(mut self) -> Option<String> {
        (!self.bytes.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let mut text = clean(&String::from_utf8_lossy(&self.bytes));
        if self.cut {
            text.push('…');
        }
        self.bytes.clear();
        self.cut = false;
        text
    }
}

/// Without terminal sequences and control characters: a build's output is shown in other people's terminals.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends with a byte of 0x40 to 0x7e (ECMA-48, §5.4).
                while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);
    impl BuildLog for Kept {
        fn step(&self, text: &str) {
            self.0.lock().push(format!("# {text}"));
        }
        fn line(&self, text: &str) {
            self.0.lock().push(text.to_owned());
        }
    }

    async fn read(bytes: &[u8]) -> Vec<String> {
        let kept = Kept::default();
        let output = Output::new(&kept);
        output.read(bytes).await;
        output.finish();
        kept.0.into_inner()
    }

    #[tokio::test]
    async fn lines_are_cut_and_cleaned() {
        for (bytes, lines) in [
            (&b"one\ntwo"[..], vec!["one", "two"]),
            (b"a\r\nb\r\n", vec!["a", "b"]),
            (b"10%\r50%\r100%\ndone\n", vec!["100%", "done"]),
            (b"\x1b[31mred\x1b[0m \x07bell\x1b]0;title\x07\n", vec!["red bell]0;title"]),
            (b"\xff\xfe\n", vec!["\u{fffd}\u{fffd}"]),
            (b"\n\n", vec!["", ""]),
            (b"", vec![]),
        ] {
            assert_eq!(read(bytes).await, lines, "{bytes:?}");
        }
        let long = read(&[b'x'; 3 * LINE_MAX]).await;
        assert_eq!((long.len(), long[0].len()), (1, LINE_MAX + '…'.len_utf8()));
    }

    #[tokio::test]
    async fn the_beginning_and_the_end_of_much_output_are_kept() {
        let text: String = (0..300_000).map(|n| format!("line {n}\n")).collect();
        let lines = read(text.as_bytes()).await;
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert!(bytes <= HEAD_MAX + TAIL_MAX + 200, "{bytes}");
        assert_eq!((lines[0].as_str(), lines.last().unwrap().as_str()), ("line 0", "line 299999"));
        let notes: Vec<&String> = lines.iter().filter(|line| line.starts_with('#')).collect();
        assert_eq!(notes.len(), 1);
        let left_out: usize = notes[0].split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(left_out + lines.len() - 1, 300_000);
    }
}
