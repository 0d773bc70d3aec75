//! Ends instances whose guest cannot: those of an earlier platform, and those whose guest was killed or hangs.

use crate::{
    Error, evidence,
    process::Inner,
    record::{self, Record},
    remove,
    table::Table,
};
use rustix::process::Signal;
use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

/// A guest ends its instance by itself once its platform is gone; after so long it is taken for hanging.
const GUEST_PATIENCE: Duration = Duration::from_secs(2);
/// After so long with a process left, something holds it in the kernel.
const PATIENCE: Duration = Duration::from_secs(20);

/// What [`crate::Process::sweep`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Records of instances that no platform holds any more.
    pub instances: usize,
    /// Processes that were killed, besides those that their guests ended.
    pub processes: usize,
}

/// Ends what every record says that is not this platform's own instance. Blocks.
pub(crate) fn all(inner: &Inner) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    for record in Record::all(&inner.folder())? {
        if inner.is_live(record.id) {
            continue;
        }
        let killed = end(inner, &record)?;
        clear(inner, &record);
        tracing::info!(id = %record.id, killed, "ended an instance of an earlier platform");
        swept.instances += 1;
        swept.processes += killed;
    }
    Ok(swept)
}

/// Ends all processes of an instance, and returns how many it killed. Blocks until none is left.
///
/// # Errors
/// Where one cannot be killed.
pub(crate) fn end(inner: &Inner, record: &Record) -> Result<usize, Error> {
    if record.boot != record::boot() {
        return Ok(0);
    }
    let owns_uid = record.uid.map_or(Ok(false), |uid| inner.users.owns(uid))?;
    let begun = Instant::now();
    let mut killed = HashSet::new();
    let mut pause = Duration::from_millis(1);
    loop {
        let table = Table::read().map_err(Error::io("cannot read /proc"))?;
        let left = evidence::left(record, &table, owns_uid);
        if left.is_empty() {
            return Ok(killed.len());
        }
        let guest_hangs = begun.elapsed() > GUEST_PATIENCE;
        for line in &left {
            // Last: without it, its children could no more be told by their parent.
            let is_guest = line.pid == record.guest && line.start == record.start;
            if !is_guest || guest_hangs {
                line.kill();
                killed.insert((line.pid, line.start));
            } else {
                line.signal(Signal::CONT);
            }
        }
        if begun.elapsed() > PATIENCE {
            let pids: Vec<i32> = left.iter().map(|line| line.pid).collect();
            return Err(Error::Guest(format!("processes {pids:?} of instance {} cannot be killed", record.id)));
        }
        thread::sleep(pause); // Who is not our child cannot be waited for.
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes an instance's files; no process of it may be left. Blocks.
pub(crate) fn clear(inner: &Inner, record: &Record) {
    if let Err(error) = remove::all(&record.tmp) {
        tracing::warn!(id = %record.id, tmp = %record.tmp.display(), %error, "cannot remove an instance's folder");
    }
    if let Some(socket) = &record.socket {
        let _never_made = std::fs::remove_file(socket);
    }
    Record::remove(&inner.folder(), record.id);
}
