//! What a deployment says while it runs: a file of NDJSON that readers can follow.

use super::now;
use crate::publish;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};
use tokio::{io::AsyncReadExt, sync::watch};
use tokio_util::sync::CancellationToken;
use types::{api::BuildLine, id::DeploymentId};

/// Longest log, whatever the builds say ([`publish`] bounds each one already); the platform's own steps are always written.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Longest line; the rest of a longer one is left out.
const LINE_BYTES_MAX: usize = 8 << 10;

/// All logs that there are.
pub(super) struct Logs {
    dir: PathBuf,
    /// Those that are still written.
    live: Arc<Mutex<HashMap<DeploymentId, watch::Receiver<State>>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    lines: u64,
    ended: bool,
}

impl Logs {
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, live: Arc::default() })
    }

    fn path(&self, id: DeploymentId) -> PathBuf {
        self.dir.join(format!("{id}.ndjson"))
    }

    pub fn create(&self, id: DeploymentId) -> io::Result<BuildLog> {
        let file = File::create(self.path(id))?;
        let (state, receiver) = watch::channel(State::default());
        self.live.lock().insert(id, receiver);
        Ok(BuildLog(Arc::new(Inner { id, file: Mutex::new((file, 0)), state, live: Arc::clone(&self.live) })))
    }

    pub fn delete(&self, id: DeploymentId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an old log cannot be deleted");
        }
    }

    /// Ids that a log on disk has.
    pub fn ids(&self) -> io::Result<Vec<DeploymentId>> {
        let id = |name: &str| name.strip_suffix(".ndjson")?.parse().ok();
        Ok(fs::read_dir(&self.dir)?.flatten().filter_map(|entry| id(entry.file_name().to_str()?)).collect())
    }

    /// What is there, and with `follow` what comes until the end. A log that was deleted or never written is empty.
    pub fn read(&self, id: DeploymentId, follow: bool, shutdown: CancellationToken) -> io::Result<Body> {
        let live = if follow { self.live.lock().get(&id).cloned() } else { None };
        let file = match File::open(self.path(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Body::empty()),
            Err(error) => return Err(error),
        };
        let reader = Reader { file: tokio::fs::File::from_std(file), live, shutdown };
        Ok(Body::from_stream(stream::try_unfold(reader, Reader::next)))
    }
}

struct Reader {
    file: tokio::fs::File,
    live: Option<watch::Receiver<State>>,
    shutdown: CancellationToken,
}

impl Reader {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            // Asked before the file is read: what was written before the end is then read for sure.
            let over = self.live.as_mut().is_none_or(|live| live.borrow_and_update().ended);
            let mut chunk = bytes::BytesMut::with_capacity(16 << 10);
            if self.file.read_buf(&mut chunk).await? > 0 {
                return Ok(Some((chunk.freeze(), self)));
            }
            let Some(live) = self.live.as_mut().filter(|_| !over) else { return Ok(None) };
            tokio::select! {
                changed = live.changed() => if changed.is_err() { self.live = None },
                () = self.shutdown.cancelled() => return Ok(None),
            }
        }
    }
}

/// Where one deployment writes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BuildLog(Arc<Inner>);

struct Inner {
    id: DeploymentId,
    /// And the bytes written so far.
    file: Mutex<(File, u64)>,
    state: watch::Sender<State>,
    live: Arc<Mutex<HashMap<DeploymentId, watch::Receiver<State>>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.ended = true);
        self.live.lock().remove(&self.id);
    }
}

impl publish::BuildLog for BuildLog {
    fn step(&self, text: &str) {
        self.write(text, true);
    }
    fn line(&self, text: &str) {
        self.write(text, false);
    }
}

impl BuildLog {
    /// A step of the platform.
    pub fn step(&self, text: &str) {
        self.write(text, true);
    }

    pub fn end(&self) {
        self.0.state.send_modify(|state| state.ended = true);
    }

    /// A log that cannot be written must not fail a deploy: it is left short.
    fn write(&self, text: &str, step: bool) {
        let mut file = self.0.file.lock();
        let full = file.1 > LOG_BYTES_MAX;
        if full && !step {
            return;
        }
        let line = BuildLine { time: now(), text: shortened(text), step };
        let Ok(mut json) = serde_json::to_vec(&line) else { return };
        json.push(b'\n');
        file.1 += json.len() as u64;
        let cut = !full && file.1 > LOG_BYTES_MAX;
        // One write, so that a reader never sees half a line.
        if let Err(error) = file.0.write_all(&json) {
            tracing::warn!(id = %self.0.id, %error, "a deployment's log is short of a line");
        }
        drop(file);
        self.0.state.send_modify(|state| state.lines += 1);
        if cut {
            self.step("The build tool's output is over 4 MiB: what follows is left out");
        }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= LINE_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = LINE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
