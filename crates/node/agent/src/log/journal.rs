//! All functions' logs: one writer that owns the files, and whoever follows.

use crate::log::file::{self, LogFile};
use std::{collections::HashMap, path::PathBuf, sync::Arc};
use tokio::sync::{broadcast, mpsc, oneshot};
use types::{FunctionName, LogLine, record::Stream};
use wire::{BoxFuture, LogFilter, Logs};

/// The journal's limits.
#[derive(Debug, Clone)]
pub struct Options {
    pub folder: PathBuf,
    /// Largest file of a function's log in bytes.
    pub file_max: u64,
    /// Older files kept beside the current one.
    pub keep: u32,
}

impl Options {
    /// 8 MiB a file, 4 files a function.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, file_max: 8 << 20, keep: 3 }
    }
}

/// Lines on their way to the writer; then whoever prints waits.
const QUEUE: usize = 4096;
/// Lines that a follower may be behind; then it misses some and is told.
const BEHIND_MAX: usize = 8192;
/// Functions whose files are open at once.
const OPEN_MAX: usize = 256;

type Lines = broadcast::Sender<Arc<LogLine>>;

enum Order {
    Write(Arc<LogLine>),
    /// The tail, and a subscription that begins right behind it.
    Read(LogFilter, oneshot::Sender<(Vec<LogLine>, broadcast::Receiver<Arc<LogLine>>)>),
    Forget(FunctionName),
}

/// The way to the writer; clones share it.
#[derive(Clone)]
pub(crate) struct Journal(mpsc::Sender<Order>);

impl Journal {
    /// Starts the writer: a thread of its own, because disks block. It ends with the last clone.
    pub(crate) fn start(options: Options) -> std::io::Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = Writer { options, open: HashMap::new(), lines: broadcast::channel(BEHIND_MAX).0 };
        std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(receiver))?;
        Ok(Self(sender))
    }

    pub(crate) async fn write(&self, line: LogLine) {
        let _ = self.0.send(Order::Write(Arc::new(line))).await;
    }

    /// From where nothing may wait; a line that finds the queue full is lost.
    pub(crate) fn try_write(&self, line: LogLine) {
        let _ = self.0.try_send(Order::Write(Arc::new(line)));
    }
}

struct Writer {
    options: Options,
    open: HashMap<FunctionName, LogFile>,
    lines: Lines,
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            self.execute(order);
            // All that waits goes out in one write for each file.
            while let Ok(order) = orders.try_recv() {
                self.execute(order);
            }
            self.flush();
        }
    }

    fn execute(&mut self, order: Order) {
        match order {
            Order::Write(line) => {
                if let Err(error) = self.append(&line) {
                    tracing::warn!(%error, function = %line.revision.function, "a log line is lost");
                }
                let _ = self.lines.send(line);
            }
            Order::Read(filter, answer) => {
                self.flush();
                let folder = self.options.folder.join(filter.function.as_str());
                let lines = file::tail(&folder, self.options.keep, filter.tail, |line| matches(&filter, line));
                let _ = answer.send((lines, self.lines.subscribe()));
            }
            Order::Forget(function) => {
                self.open.remove(&function);
                let _ = std::fs::remove_dir_all(self.options.folder.join(function.as_str()));
            }
        }
    }

    fn append(&mut self, line: &LogLine) -> std::io::Result<()> {
        let function = &line.revision.function;
        if !self.open.contains_key(function) {
            if self.open.len() >= OPEN_MAX {
                self.flush();
                self.open.clear();
            }
            let folder = self.options.folder.join(function.as_str());
            let file = LogFile::open(folder, self.options.file_max, self.options.keep)?;
            self.open.insert(function.clone(), file);
        }
        self.open.get_mut(function).map_or(Ok(()), |file| file.push(line))
    }

    fn flush(&mut self) {
        for (function, file) in &mut self.open {
            if let Err(error) = file.flush() {
                tracing::warn!(%error, %function, "log lines are lost");
            }
        }
    }
}

fn matches(filter: &LogFilter, line: &LogLine) -> bool {
    line.revision.function == filter.function
        && filter.revision.as_ref().is_none_or(|revision| *revision == line.revision)
        && filter.invocation.is_none_or(|invocation| Some(invocation) == line.invocation)
}

impl Logs for Journal {
    fn read(&self, filter: LogFilter) -> BoxFuture<'_, mpsc::Receiver<LogLine>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(256);
            let (answer, answered) = oneshot::channel();
            let asked = self.0.send(Order::Read(filter.clone(), answer)).await;
            if asked.is_ok()
                && let Ok((tail, live)) = answered.await
            {
                chassis::task::spawn("log reader", feed(filter, tail, live, sender));
            }
            receiver
        })
    }

    fn forget(&self, function: &FunctionName) {
        let _ = self.0.try_send(Order::Forget(function.clone()));
    }
}

async fn feed(
    filter: LogFilter,
    tail: Vec<LogLine>,
    mut live: broadcast::Receiver<Arc<LogLine>>,
    sender: mpsc::Sender<LogLine>,
) {
    for line in tail {
        if sender.send(line).await.is_err() {
            return;
        }
    }
    if !filter.follow {
        return;
    }
    let mut last: Option<LogLine> = None;
    loop {
        let line = tokio::select! {
            line = live.recv() => line,
            () = sender.closed() => return,
        };
        let line = match line {
            Ok(line) if matches(&filter, &line) => (*line).clone(),
            Ok(_) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
            Err(broadcast::error::RecvError::Lagged(missed)) => match &last {
                Some(last) => LogLine {
                    stream: Stream::Platform,
                    invocation: None,
                    text: format!("this reader is too slow: {missed} lines of all functions were passed over"),
                    ..last.clone()
                },
                None => continue,
            },
        };
        last = Some(line.clone());
        if sender.send(line).await.is_err() {
            return;
        }
    }
}
