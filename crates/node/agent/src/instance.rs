//! One running instance, as the host knows it.

use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::watch;
use types::{
    InstanceId, Revision, Timestamp,
    api::{InstanceState, InstanceView},
};
use wire::Exit;

pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) revision: Arc<Revision>,
    pub(crate) started: Timestamp,
    /// `None` for WebAssembly: there is no process.
    pub(crate) process: Option<Arc<dyn sandbox::Instance>>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
    /// Its stderr was read to the end.
    silent: watch::Sender<bool>,
    status: Mutex<Status>,
}

struct Status {
    state: InstanceState,
    /// Why we ended it, where we did.
    cause: Option<Exit>,
    phases: Vec<(&'static str, Duration)>,
    last_words: VecDeque<String>,
}

/// A pipe without writers is read to its end within milliseconds; a full journal or a busy host may hold that up.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Lines of stderr kept for the sentence that says why a start failed.
const LAST_WORDS_MAX: usize = 20;

impl Instance {
    pub(crate) fn new(
        id: InstanceId,
        revision: Arc<Revision>,
        started: Timestamp,
        process: Option<Arc<dyn sandbox::Instance>>,
    ) -> Arc<Self> {
        let status =
            Status { state: InstanceState::Starting, cause: None, phases: Vec::new(), last_words: VecDeque::new() };
        let (exit, silent) = (watch::channel(None).0, watch::channel(false).0);
        Arc::new(Self { id, revision, started, process, exit, silent, status: Mutex::new(status) })
    }

    pub(crate) fn ready(&self, phases: &[(&'static str, Duration)]) {
        let mut status = self.status.lock();
        status.phases = phases.to_vec();
        if status.state == InstanceState::Starting {
            status.state = InstanceState::Ready;
        }
    }

    /// The first cause counts: what follows is only its consequence.
    pub(crate) fn end(&self, cause: Exit) {
        let gently = cause == Exit::Stopped;
        {
            let mut status = self.status.lock();
            status.state = InstanceState::Draining;
            status.cause.get_or_insert(cause.clone());
        }
        match &self.process {
            Some(process) if gently => process.terminate(),
            Some(process) => process.kill(),
            None => self.gone(cause),
        }
    }

    /// Nothing of it is left.
    pub(crate) fn gone(&self, exit: Exit) {
        let exit = {
            let mut status = self.status.lock();
            status.state = InstanceState::Stopped;
            status.cause.take().unwrap_or(exit)
        };
        self.exit.send_replace(Some(exit));
    }

    pub(crate) async fn wait(&self) {
        let _ = self.exit.subscribe().wait_for(Option::is_some).await;
    }

    pub(crate) fn fell_silent(&self) {
        self.silent.send_replace(true);
    }

    /// Until what it wrote before its end was read.
    pub(crate) async fn silence(&self) {
        let _ = tokio::time::timeout(SILENCE_MAX, self.silent.subscribe().wait_for(|silent| *silent)).await;
    }

    pub(crate) fn heard(&self, line: &str) {
        let mut status = self.status.lock();
        if status.state == InstanceState::Starting {
            if status.last_words.len() == LAST_WORDS_MAX {
                status.last_words.pop_front();
            }
            status.last_words.push_back(line.to_owned());
        }
    }

    /// The line that most likely says why: the last that speaks of an error, or the last one.
    pub(crate) fn last_words(&self) -> Option<String> {
        let status = self.status.lock();
        let lines = || status.last_words.iter().rev().filter(|line| !line.trim().is_empty());
        let telling =
            lines().find(|line| line.contains("Error") || line.contains("error") || line.contains("panicked"));
        telling.or_else(|| lines().next()).map(|line| line.trim().to_owned())
    }

    pub(crate) fn view(&self) -> InstanceView {
        let status = self.status.lock();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        InstanceView {
            id: self.id,
            revision: self.revision.id.clone(),
            state: status.state,
            started: self.started,
            pid: self.process.as_ref().map(|process| process.pid()),
            memory_bytes: self.process.as_ref().map_or(0, |process| process.memory()),
            start_us: status.phases.iter().map(|(phase, time)| ((*phase).to_owned(), us(*time))).collect(),
        }
    }
}
