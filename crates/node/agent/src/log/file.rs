//! One function's log on disk: a current file and a few older ones, lines of JSON.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};
use types::LogLine;

pub(crate) struct LogFile {
    folder: PathBuf,
    current: File,
    size: u64,
    max: u64,
    keep: u32,
    buffer: Vec<u8>,
}

/// `0.ndjson` is the current one, `1.ndjson` the one before it.
fn path(folder: &Path, age: u32) -> PathBuf {
    folder.join(format!("{age}.ndjson"))
}

impl LogFile {
    /// At most `max` bytes in each of `keep` older files and the current one.
    pub(crate) fn open(folder: PathBuf, max: u64, keep: u32) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let current = OpenOptions::new().create(true).append(true).open(path(&folder, 0))?;
        let size = current.metadata()?.len();
        Ok(Self { folder, current, size, max, keep, buffer: Vec::new() })
    }

    pub(crate) fn push(&mut self, line: &LogLine) -> io::Result<()> {
        let start = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.size += (self.buffer.len() - start) as u64;
        if self.size >= self.max { self.rotate() } else { Ok(()) }
    }

    /// Hands what was pushed to the system: it survives the death of this process from here on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.current.write_all(&self.buffer);
        // A full disk must not become a full memory: what cannot be written is let go.
        self.buffer.clear();
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        for age in (0..self.keep).rev() {
            let from = path(&self.folder, age);
            if from.exists() {
                fs::rename(from, path(&self.folder, age + 1))?;
            }
        }
        self.current = OpenOptions::new().create(true).append(true).open(path(&self.folder, 0))?;
        self.size = 0;
        Ok(())
    }
}

/// The last `tail` lines that `wanted` picks, oldest first. Lines that cannot be read (cut by a crash) are passed over.
pub(crate) fn tail(folder: &Path, keep: u32, tail: usize, wanted: impl Fn(&LogLine) -> bool) -> Vec<LogLine> {
    let mut blocks: Vec<Vec<LogLine>> = Vec::new();
    let mut missing = tail;
    for age in 0..=keep {
        if missing == 0 {
            break;
        }
        let Ok(file) = File::open(path(folder, age)) else { continue };
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let mut block: Vec<LogLine> =
            lines.filter_map(|line| serde_json::from_slice(&line).ok()).filter(&wanted).collect();
        block.drain(..block.len().saturating_sub(missing));
        missing -= block.len();
        blocks.push(block);
    }
    blocks.into_iter().rev().flatten().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use types::{InstanceId, Timestamp, record::Stream};

    fn line(n: usize) -> LogLine {
        LogLine {
            time: Timestamp(n as u64),
            revision: "hello@1".parse().unwrap(),
            instance: InstanceId::default(),
            invocation: None,
            stream: Stream::Stdout,
            text: format!("line {n}"),
        }
    }

    #[test]
    fn old_lines_go_when_the_limit_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = LogFile::open(folder.path().to_owned(), 4096, 2).unwrap();
        for n in 0..200 {
            file.push(&line(n)).unwrap();
        }
        file.flush().unwrap();
        let total: u64 =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(total <= 3 * 4096 + 256, "{total}");
        let lines = tail(folder.path(), 2, 5, |_| true);
        assert_eq!(lines.iter().map(|line| line.time.0).collect::<Vec<_>>(), [195, 196, 197, 198, 199]);
        let even = tail(folder.path(), 2, 2, |line| line.time.0 % 2 == 0);
        assert_eq!(even.iter().map(|line| line.time.0).collect::<Vec<_>>(), [196, 198]);
        assert!(tail(folder.path(), 2, 1000, |_| true).len() < 200);
    }
}
