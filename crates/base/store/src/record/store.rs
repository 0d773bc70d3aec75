//! Joins the table in memory with the log of a back end: one writer decides, makes durable, then shows.

use super::{
    BoxFuture, Entry, Error, LeaseId, Op, Records, Txn, Version, Watch, WatchError,
    log::{Batch, Log, Nothing},
    sqlite, stage,
    table::{State, Table},
};
use crate::clock::{Clock, System};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::Mutex, task::spawn_blocking};

/// Longest key, in bytes; a bound on what a mistake can put into every list.
const KEY_BYTES_MAX: usize = 1024;

/// The limits of a store.
#[derive(Clone)]
pub struct Options {
    pub clock: Arc<dyn Clock>,
    /// Changes that a watcher can resume from or fall behind by.
    pub history_len_max: usize,
    pub history_bytes_max: usize,
    /// Records are metadata; what is larger belongs into a blob. Source: etcd takes 1.5 MiB per request.
    pub value_bytes_max: usize,
    /// Largest database; `None` leaves it to the disk. Only for back ends on disk.
    pub disk_bytes_max: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(System),
            history_len_max: 10_000,
            history_bytes_max: 64 << 20,
            value_bytes_max: 1 << 20,
            disk_bytes_max: None,
        }
    }
}

/// A store of records. Writing to one on disk needs a tokio runtime around it.
pub struct Store {
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
    writer: Arc<Mutex<Writer>>,
}

impl Store {
    /// Nothing survives the process.
    pub fn memory(options: Options) -> Self {
        Self::new(State::default(), Box::new(Nothing), options)
    }

    /// Opens or creates the database at `path` and loads it whole. Blocks on the disk.
    pub fn sqlite(path: &Path, options: Options) -> Result<Self, Error> {
        let (state, log) = sqlite::open(path, options.disk_bytes_max, options.clock.now())?;
        Ok(Self::new(state, Box::new(log), options))
    }

    fn new(state: State, log: Box<dyn Log>, options: Options) -> Self {
        let table = Arc::new(Table::new(state, options.history_len_max, options.history_bytes_max));
        let clock = options.clock.clone();
        let writer = Writer { table: table.clone(), log, options };
        Self { table, clock, writer: Arc::new(Mutex::new(writer)) }
    }

    /// Runs `job` as the only writer. Once it has begun it ends, even if the caller goes away.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // The queue waits here, asynchronously, so that at most one blocking thread is taken.
        let mut writer = self.writer.clone().lock_owned().await;
        if !writer.log.blocks() {
            return job(&mut writer);
        }
        spawn_blocking(move || job(&mut writer)).await.unwrap_or(Err(Error::Stopped))
    }
}

impl Records for Store {
    fn get(&self, key: &str) -> Option<Entry> {
        self.table.read(|state| state.entries.get(key).cloned())
    }
    fn list(&self, prefix: &str) -> Vec<Entry> {
        self.table.list(prefix)
    }
    fn version(&self) -> Version {
        self.table.read(|state| state.version)
    }
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.write(|writer| writer.commit(txn)))
    }
    fn watch(&self, prefix: &str, from: Option<Version>) -> Result<Watch, WatchError> {
        self.table.watch(prefix, from)
    }
    fn list_and_watch(&self, prefix: &str) -> (Vec<Entry>, Watch) {
        self.table.list_and_watch(prefix)
    }
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        Box::pin(self.write(move |writer| writer.grant(ttl)))
    }
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.table.keep_alive(lease, self.clock.now()) })
    }
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |writer| writer.revoke(lease)))
    }
    fn tick(&self) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async {
            // Most ticks find nothing to do and need not queue behind the writers.
            if self.table.read(|state| state.due(self.clock.now()).is_empty()) {
                return Ok(0);
            }
            self.write(Writer::tick).await
        })
    }
}

/// The one that changes the table.
struct Writer {
    table: Arc<Table>,
    log: Box<dyn Log>,
    options: Options,
}

impl Writer {
    fn commit(&mut self, txn: Txn) -> Result<Version, Error> {
        txn.ops.iter().try_for_each(|op| self.fits(op))?;
        self.tick()?;
        let now = self.options.clock.now();
        let batch = self.table.read(|state| stage::txn(state, txn, now))?;
        self.write(batch)
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, Error> {
        let (id, batch) = self.table.read(|state| stage::grant(state, ttl));
        self.write(batch).map(|_| id)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), Error> {
        let known = |state: &State| state.leases.contains_key(&id).then(|| stage::end(state, vec![id]));
        let batch = self.table.read(known).ok_or(Error::NoLease(id))?;
        self.write(batch).map(|_| ())
    }

    fn tick(&mut self) -> Result<usize, Error> {
        let now = self.options.clock.now();
        let batch = self.table.read(|state| stage::end(state, state.due(now)));
        let ended = batch.ended.len();
        self.write(batch).map(|_| ended)
    }

    /// Durable first, visible then.
    fn write(&mut self, batch: Batch) -> Result<Version, Error> {
        if batch.is_empty() {
            return Ok(batch.before);
        }
        self.log.append(&batch)?;
        let version = batch.version;
        self.table.apply(batch, self.options.clock.now());
        Ok(version)
    }

    fn fits(&self, op: &Op) -> Result<(), Error> {
        let (key, value) = match op {
            Op::Put { key, value, .. } => (key, value.len()),
            Op::Delete { key } | Op::DeletePrefix { prefix: key } => (key, 0),
        };
        let too_large = |what, len, max| {
            let key = key.chars().take(64).collect();
            if len > max { Err(Error::TooLarge { what, key, len, max }) } else { Ok(()) }
        };
        too_large("the key", key.len(), KEY_BYTES_MAX)?;
        too_large("the value", value, self.options.value_bytes_max)
    }
}
