//! Turns the records into the picture that gateway and dispatch serve from, and keeps it fresh.
//!
//! Only what changed is built anew: pictures share all functions and routes that did not.

use crate::registry::picture;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use store::{
    Records,
    record::{Kind, Watch, WatchError},
};
use tokio::{sync::watch, task::JoinHandle};
use types::{Fault, FunctionName, Route};
use wire::{FunctionView, Snapshot, Snapshots};

/// Builds pictures and hands them out.
pub(crate) struct Publisher {
    records: Arc<dyn Records>,
    state: Mutex<State>,
    sender: watch::Sender<Arc<Snapshot>>,
    /// Brings in what other processes change.
    follower: Mutex<Option<JoinHandle<()>>>,
}

/// What the last picture was made of, and where in the changes it stood.
struct State {
    watch: Watch,
    functions: HashMap<FunctionName, Arc<FunctionView>>,
    /// By the key of their record.
    routes: BTreeMap<Arc<str>, Vec<Arc<Route>>>,
}

/// What changes mean for the picture.
#[derive(Debug, Default)]
struct Dirty {
    functions: BTreeSet<FunctionName>,
    routes: BTreeSet<Arc<str>>,
}

impl Dirty {
    fn add(&mut self, key: &Arc<str>) {
        match picture::part(key) {
            Some(picture::Part::Function(name)) => {
                self.functions.insert(name);
            }
            Some(picture::Part::Route) => {
                self.routes.insert(Arc::clone(key));
            }
            None => {}
        }
    }
    fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.routes.is_empty()
    }
}

impl Publisher {
    /// Builds the first picture and follows the records from there. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// `internal` where a record cannot be read.
    pub fn start(records: Arc<dyn Records>) -> Result<Arc<Self>, Fault> {
        let (state, version) = load(&*records)?;
        let sender = watch::Sender::new(Arc::new(state.snapshot(version)));
        let publisher = Arc::new(Self { records, state: Mutex::new(state), sender, follower: Mutex::new(None) });
        // Weak: the follower must not keep alive what ends it.
        let follow = follow(Arc::clone(&publisher.records), Arc::downgrade(&publisher));
        let follower = chassis::task::spawn("snapshots", follow);
        *publisher.follower.lock() = Some(follower);
        Ok(publisher)
    }

    pub fn snapshots(&self) -> Snapshots {
        self.sender.subscribe()
    }

    /// Takes in everything that is committed by now. Cheap where nothing is.
    pub fn catch_up(&self) {
        let mut state = self.state.lock();
        let version = self.records.version().0;
        let dirty = match state.changes() {
            Ok(dirty) => dirty,
            Err(error) => {
                tracing::warn!(%error, "reading all records anew");
                return self.reload(&mut state);
            }
        };
        if dirty.is_empty() {
            return;
        }
        state.rebuild(&*self.records, dirty);
        self.sender.send_replace(Arc::new(state.snapshot(version)));
    }

    fn reload(&self, state: &mut State) {
        match load(&*self.records) {
            Ok((new, version)) => {
                *state = new;
                self.sender.send_replace(Arc::new(state.snapshot(version)));
            }
            Err(fault) => tracing::error!(%fault, "the last picture stays"),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.lock().take() {
            follower.abort();
        }
    }
}

async fn follow(records: Arc<dyn Records>, publisher: std::sync::Weak<Publisher>) {
    loop {
        let Ok(mut watch) = records.watch("", None) else { return };
        loop {
            // Between `watch` and this, and whenever it was woken: everything is taken in at once.
            match publisher.upgrade() {
                Some(publisher) => publisher.catch_up(),
                None => return,
            }
            match watch.next().await {
                Ok(_) => {}
                Err(WatchError::Closed) => return,
                Err(WatchError::Lagged { .. } | WatchError::Compacted { .. }) => break,
            }
        }
    }
}

fn load(records: &dyn Records) -> Result<(State, u64), Fault> {
    let (entries, watch) = records.list_and_watch("");
    let version = records.version().0;
    let mut state = State { watch, functions: HashMap::new(), routes: BTreeMap::new() };
    let mut dirty = Dirty::default();
    entries.iter().for_each(|entry| dirty.add(&entry.key));
    for name in dirty.functions {
        if let Some(view) = picture::function(records, &name, None)? {
            state.functions.insert(name, Arc::new(view));
        }
    }
    for key in dirty.routes {
        let routes = picture::routes(records, &key)?;
        state.routes.insert(key, routes);
    }
    Ok((state, version))
}

impl State {
    fn changes(&mut self) -> Result<Dirty, WatchError> {
        let mut dirty = Dirty::default();
        while let Some(change) = self.watch.try_next()? {
            match &change.kind {
                Kind::Put(entry) => dirty.add(&entry.key),
                Kind::Delete { key } => dirty.add(key),
            }
        }
        Ok(dirty)
    }

    /// A part that cannot be read stays as it was: serving an old alias beats serving none.
    fn rebuild(&mut self, records: &dyn Records, dirty: Dirty) {
        for name in dirty.functions {
            match picture::function(records, &name, self.functions.get(&name).map(|view| &**view)) {
                Ok(Some(view)) => drop(self.functions.insert(name, Arc::new(view))),
                Ok(None) => drop(self.functions.remove(&name)),
                Err(fault) => tracing::error!(function = %name, %fault, "its last picture stays"),
            }
        }
        for key in dirty.routes {
            match picture::routes(records, &key) {
                Ok(routes) if routes.is_empty() => drop(self.routes.remove(&key)),
                Ok(routes) => drop(self.routes.insert(key, routes)),
                Err(fault) => tracing::error!(%key, %fault, "its last routes stay"),
            }
        }
    }

    fn snapshot(&self, version: u64) -> Snapshot {
        Snapshot {
            version,
            functions: self.functions.clone(),
            routes: self.routes.values().flatten().cloned().collect(),
        }
    }
}
