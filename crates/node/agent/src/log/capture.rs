//! From an instance's pipes to lines with the call that printed them.
//!
//! In an exclusive instance one call runs at a time. When it begins, the pipe's write position is marked: bytes read so
//! far plus bytes that wait in the pipe (FIONREAD). Output from there on belongs to the call, exactly.

use crate::{instance::Instance, log::Journal};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::{collections::VecDeque, os::fd::AsFd, sync::Arc, time::SystemTime};
use tokio::net::unix::pipe::Receiver;
use types::{InstanceId, InvocationId, LogLine, RevisionId, Timestamp, record::Stream};

/// Longer lines are cut into pieces of this size.
const LINE_MAX: usize = 64 << 10;
const READ_MAX: usize = 64 << 10;
/// Marks that wait for their output to be read; the oldest merge beyond it.
const MARKS_MAX: usize = 10_000;

/// One pipe's reading end and the marks in its stream.
pub(crate) struct Pipe {
    receiver: Receiver,
    state: Mutex<Position>,
}

#[derive(Default)]
struct Position {
    read: u64,
    marks: VecDeque<(u64, InvocationId)>,
    current: Option<InvocationId>,
}

impl Pipe {
    pub(crate) fn new(receiver: Receiver) -> Arc<Self> {
        Arc::new(Self { receiver, state: Mutex::default() })
    }

    /// `holds`: something may wait in the pipe.
    fn mark(&self, id: InvocationId, holds: bool) {
        let mut state = self.state.lock();
        let waiting = if holds { rustix::io::ioctl_fionread(self.receiver.as_fd()).unwrap_or(0) } else { 0 };
        let at = state.read + waiting;
        match state.marks.back_mut() {
            // Nothing was printed since the last mark.
            Some((last, silent)) if *last == at => *silent = id,
            _ => {
                if state.marks.len() >= MARKS_MAX {
                    state.marks.pop_front();
                }
                state.marks.push_back((at, id));
            }
        }
    }

    /// What the pipe holds, with the position of its first byte; empty at its end.
    async fn read(&self, buffer: &mut [u8]) -> std::io::Result<(u64, usize)> {
        loop {
            self.receiver.readable().await?;
            let mut state = self.state.lock();
            match self.receiver.try_read(buffer) {
                Ok(count) => {
                    let at = state.read;
                    state.read += count as u64;
                    return Ok((at, count));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The call that wrote the byte at `position`. Positions only grow.
    fn writer_of(&self, position: u64) -> Option<InvocationId> {
        let mut state = self.state.lock();
        while let Some((at, id)) = state.marks.front().copied() {
            if at > position {
                break;
            }
            state.current = Some(id);
            state.marks.pop_front();
        }
        state.current
    }
}

/// Marks where a call begins, in both pipes of an exclusive instance; a shared one has no marks.
#[derive(Clone, Default)]
pub(crate) struct Marks(Option<[Arc<Pipe>; 2]>);

impl Marks {
    pub(crate) fn new(stdout: Arc<Pipe>, stderr: Arc<Pipe>) -> Self {
        Self(Some([stdout, stderr]))
    }

    /// Most functions print little: one look at both pipes together comes first.
    pub(crate) fn begin(&self, id: InvocationId) {
        let Some(pipes) = &self.0 else { return };
        let mut looks = pipes.each_ref().map(|pipe| PollFd::new(&pipe.receiver, PollFlags::IN));
        let seen = rustix::event::poll(&mut looks, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
        for (pipe, look) in pipes.iter().zip(&looks) {
            pipe.mark(id, !seen || look.revents().contains(PollFlags::IN));
        }
    }
}

/// Whose output it is.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) revision: RevisionId,
    pub(crate) instance: InstanceId,
}

impl Source {
    pub(crate) fn line(&self, stream: Stream, invocation: Option<InvocationId>, text: String) -> LogLine {
        LogLine {
            time: Timestamp::from(SystemTime::now()),
            revision: self.revision.clone(),
            instance: self.instance,
            invocation,
            stream,
            text,
        }
    }
}

/// Reads one pipe to its end. A full journal holds the pipe, and with it the function: nothing is dropped.
///
/// `listener` hears each line: an instance keeps its last words for the sentence that says why its start failed.
pub(crate) async fn capture(
    pipe: Arc<Pipe>,
    source: Source,
    stream: Stream,
    journal: Journal,
    listener: Option<Arc<Instance>>,
) {
    let mut buffer = vec![0; READ_MAX];
    let mut line = Line::default();
    loop {
        let (at, count) = match pipe.read(&mut buffer).await {
            Ok((_, 0)) | Err(_) => break,
            Ok(read) => read,
        };
        for (start, text) in line.feed(at, &buffer[..count]) {
            if let Some(listener) = &listener {
                listener.heard(&text);
            }
            journal.write(source.line(stream, pipe.writer_of(start), text)).await;
        }
    }
    if let Some((start, text)) = line.rest() {
        if let Some(listener) = &listener {
            listener.heard(&text);
        }
        journal.write(source.line(stream, pipe.writer_of(start), text)).await;
    }
    if let Some(listener) = &listener {
        listener.fell_silent();
    }
}

/// Splits a stream into lines with their positions.
#[derive(Default)]
struct Line {
    start: u64,
    bytes: Vec<u8>,
}

impl Line {
    fn feed(&mut self, at: u64, mut data: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Vec::new();
        let mut position = at;
        while !data.is_empty() {
            if self.bytes.is_empty() {
                self.start = position;
            }
            let room = LINE_MAX - self.bytes.len();
            let newline = memchr::memchr(b'\n', &data[..data.len().min(room)]);
            let take = newline.unwrap_or(data.len().min(room));
            self.bytes.extend_from_slice(&data[..take]);
            let skip = take + usize::from(newline.is_some());
            if newline.is_some() || self.bytes.len() == LINE_MAX {
                lines.push((self.start, text(&std::mem::take(&mut self.bytes))));
            }
            position += skip as u64;
            data = &data[skip..];
        }
        lines
    }

    fn rest(self) -> Option<(u64, String)> {
        (!self.bytes.is_empty()).then(|| (self.start, text(&self.bytes)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_keep_their_positions() {
        let mut line = Line::default();
        assert_eq!(line.feed(0, b"ab\ncd"), [(0, "ab".to_owned())]);
        assert_eq!(line.feed(5, b"ef\r\n\nx"), [(3, "cdef".to_owned()), (9, String::new())]);
        assert_eq!(line.rest(), Some((10, "x".to_owned())));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut line = Line::default();
        let lines = line.feed(0, &vec![b'a'; LINE_MAX * 2 + 1]);
        assert_eq!(
            lines.iter().map(|(at, text)| (*at, text.len())).collect::<Vec<_>>(),
            [(0, LINE_MAX), (LINE_MAX as u64, LINE_MAX)]
        );
        assert_eq!(line.rest().unwrap().1, "a");
    }

    #[tokio::test]
    async fn output_belongs_to_the_call_that_began_before_it() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let pipe = Pipe::new(Receiver::from_owned_fd(reader.into()).unwrap());
        let (first, second) = (InvocationId::random(), InvocationId::random());
        writer.write_all(b"load\n").unwrap();
        pipe.mark(first, true);
        writer.write_all(b"one\n").unwrap();
        pipe.mark(second, true);
        writer.write_all(b"two\n").unwrap();
        drop(writer);
        let mut buffer = [0; 100];
        let (at, count) = pipe.read(&mut buffer).await.unwrap();
        let lines = Line::default().feed(at, &buffer[..count]);
        let owners: Vec<_> = lines.iter().map(|(at, text)| (text.as_str(), pipe.writer_of(*at))).collect();
        assert_eq!(owners, [("load", None), ("one", Some(first)), ("two", Some(second))]);
    }
}
