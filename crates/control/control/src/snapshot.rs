//! Turns the records into the picture that gateway and dispatch serve from, and keeps it fresh.
//!
//! Only what changed is built anew: pictures share all functions and routes that did not.

use crate::registry::picture;
use imbl::OrdMap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use store::{
    Records,
    record::{Kind, Watch, WatchError},
};
use tokio::{sync::watch, task::JoinHandle};
use types::{ApiKey, Fault, FunctionName, TenantName, tenant::TenantLimits};
use wire::{FunctionView, Snapshot, Snapshots, snapshot::Place};

/// Threads that read functions at the start.
const THREADS_MAX: usize = 8;
/// Functions that are worth threads.
const TOGETHER_MIN: usize = 1_000;

/// Builds pictures and hands them out.
pub(crate) struct Publisher {
    records: Arc<dyn Records>,
    state: Mutex<State>,
    sender: watch::Sender<Arc<Snapshot>>,
    /// Brings in what other processes change.
    follower: Mutex<Option<JoinHandle<()>>>,
}

type Functions = OrdMap<FunctionName, Arc<FunctionView>>;

/// What the last picture was made of, and where in the changes it stood.
struct State {
    watch: Watch,
    functions: Functions,
    /// By the key of their record.
    routes: OrdMap<Arc<str>, Place>,
    limits: Arc<HashMap<FunctionName, u32>>,
    keys: Arc<HashMap<[u8; 32], Arc<ApiKey>>>,
    tenants: Arc<HashMap<TenantName, TenantLimits>>,
}

/// What changes mean for the picture.
#[derive(Debug, Default)]
struct Dirty {
    functions: BTreeSet<FunctionName>,
    routes: BTreeSet<Arc<str>>,
    limits: bool,
    keys: bool,
    tenants: bool,
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
            Some(picture::Part::Limit) => self.limits = true,
            Some(picture::Part::Keys) => self.keys = true,
            Some(picture::Part::Tenants) => self.tenants = true,
            None => {}
        }
    }
    fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.routes.is_empty() && !self.limits && !self.keys && !self.tenants
    }
}

impl Publisher {
    /// Builds the first picture and follows the records from there. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// `internal` where limits or keys cannot be read. A function or a route that cannot be read is not served, and told in
    /// the log: the others have nothing to do with it.
    pub fn start(records: Arc<dyn Records>, sender: watch::Sender<Arc<Snapshot>>) -> Result<Arc<Self>, Fault> {
        let (state, version) = load(&*records, None)?;
        sender.send_replace(Arc::new(state.snapshot(version)));
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
        match load(&*self.records, Some(state)) {
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

/// What of the `last` picture cannot be read now stays.
fn load(records: &dyn Records, last: Option<&State>) -> Result<(State, u64), Fault> {
    // The watch first: what changes while the records are read is read again.
    let version = records.version().0;
    let watch = records.watch("", None).map_err(Fault::internal)?;
    let mut dirty = Dirty::default();
    for part in picture::PARTS {
        records.list(part).iter().for_each(|entry| dirty.add(&entry.key));
    }
    let names: Vec<FunctionName> = dirty.functions.into_iter().collect();
    let functions = views(records, &names, last.map(|last| &last.functions))?;
    let functions = functions.into_iter().map(|view| (view.name.clone(), view)).collect();
    let limits = Arc::new(picture::limits(records)?);
    let keys = Arc::new(picture::keys(records)?);
    let tenants = Arc::new(picture::tenants(records)?);
    let mut state = State { watch, functions, routes: OrdMap::new(), limits, keys, tenants };
    for key in dirty.routes {
        let routes = picture::routes(records, &key).or_else(|fault| {
            tracing::error!(%key, %fault, "its routes lead nowhere, or where they led");
            last.and_then(|last| last.routes.get(&key).cloned()).ok_or(())
        });
        if let Ok(routes) = routes {
            state.routes.insert(key, routes);
        }
    }
    Ok((state, version))
}

/// The functions of these names, in their order: on all cores, for a hundred thousand of them are a second of one.
fn views(
    records: &dyn Records,
    names: &[FunctionName],
    last: Option<&Functions>,
) -> Result<Vec<Arc<FunctionView>>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let one = |name: &FunctionName| match picture::function(records, name, None) {
        Ok(view) => view.map(Arc::new),
        Err(fault) => {
            tracing::error!(function = %name, %fault, "it is not served, or as it was");
            last.and_then(|last| last.get(name).cloned())
        }
    };
    let part = |names: &[FunctionName]| -> Vec<_> { names.iter().filter_map(one).collect() };
    if threads == 1 || names.len() < TOGETHER_MIN {
        return Ok(part(names));
    }
    std::thread::scope(|scope| {
        let parts = names.chunks(names.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|names| scope.spawn(move || part(names))).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        let parts: Vec<_> = ended
            .map(|ended| ended.map_err(|_| Fault::internal("reading the functions panicked")))
            .collect::<Result<_, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    })
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
        if dirty.limits {
            match picture::limits(records) {
                Ok(limits) => self.limits = Arc::new(limits),
                Err(fault) => tracing::error!(%fault, "the last limits stay"),
            }
        }
        if dirty.keys {
            match picture::keys(records) {
                Ok(keys) => self.keys = Arc::new(keys),
                Err(fault) => tracing::error!(%fault, "the last API keys stay"),
            }
        }
        if dirty.tenants {
            match picture::tenants(records) {
                Ok(tenants) => self.tenants = Arc::new(tenants),
                Err(fault) => tracing::error!(%fault, "the last limits of tenants stay"),
            }
        }
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
            routes: self.routes.clone(),
            limits: Arc::clone(&self.limits),
            keys: Arc::clone(&self.keys),
            tenants: Arc::clone(&self.tenants),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use store::{Txn, record::Store};
    use types::{AliasName, Digest, Manifest, Revision, RevisionId};

    fn store(history_len_max: usize) -> Arc<dyn Records> {
        Arc::new(Store::memory(store::record::Options { history_len_max, ..Default::default() }))
    }

    /// A function at revision `number`, as a release would write it.
    fn function(txn: Txn, name: &str, number: u32) -> Txn {
        let spec = Manifest::parse(&format!("name = '{name}'\nruntime = 'binary'")).unwrap().spec();
        let id = RevisionId { function: name.parse().unwrap(), number };
        let digest = Digest::from_sha256(&[7; 32]);
        let revision =
            Revision { id: id.clone(), content: digest.clone(), artifact: digest, spec, created: types::Timestamp(1) };
        let revision = serde_json::to_vec(&revision).unwrap();
        alias(txn.put(format!("revision/{name}/{number:010}"), revision), name, number)
    }

    fn alias(txn: Txn, name: &str, number: u32) -> Txn {
        let alias = serde_json::json!({
            "function": name, "name": "live", "targets": [{ "revision": number, "weight": 100 }],
            "changed": "2026-01-01T00:00:00Z",
        });
        txn.put(format!("alias/{name}/live"), alias.to_string())
    }

    fn live(snapshot: &Snapshot, name: &str) -> u32 {
        snapshot.target(&name.parse().unwrap(), &AliasName::live()).unwrap().revisions[0].revision.id.number
    }

    #[tokio::test]
    async fn a_burst_longer_than_the_history_is_read_anew() {
        let records = store(4);
        let publisher = Publisher::start(Arc::clone(&records), watch::Sender::default()).unwrap();
        let burst = (0..50).fold(Txn::new(), |txn, n| function(txn, &format!("f{n}"), 1));
        let version = records.commit(burst).await.unwrap();
        assert!(publisher.state.lock().changes().is_err(), "the burst was too short to be missed");
        publisher.catch_up();
        let snapshot = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!((snapshot.functions.len(), snapshot.version), (50, version.0));

        records.commit(function(Txn::new(), "f7", 2)).await.unwrap();
        publisher.catch_up();
        let after = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!((live(&after, "f7"), live(&after, "f8")), (2, 1), "it follows again");
        assert!(Arc::ptr_eq(&snapshot.functions["f8"], &after.functions["f8"]));
    }

    #[tokio::test]
    async fn many_functions_are_read_by_several_threads() {
        let records = store(1000);
        let count = TOGETHER_MIN * 3 + 1;
        let all = (0..count).fold(Txn::new(), |txn, n| function(txn, &format!("f{n}"), 1 + n as u32 % 7));
        records.commit(all).await.unwrap();
        let publisher = Publisher::start(Arc::clone(&records), watch::Sender::default()).unwrap();
        let snapshot = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!(snapshot.functions.len(), count);
        assert!((0..count).all(|n| live(&snapshot, &format!("f{n}")) == 1 + n as u32 % 7));
        drop(publisher);
        records.commit(alias(Txn::new(), "f77", 99)).await.unwrap();
        let publisher = Publisher::start(records, watch::Sender::default()).unwrap();
        assert_eq!(publisher.snapshots().borrow().functions.len(), count - 1, "one that cannot be read is left out");
    }

    #[tokio::test]
    async fn what_cannot_be_read_stays_as_it_was() {
        let records = store(1000);
        records.commit(function(function(Txn::new(), "a", 1), "b", 1)).await.unwrap();
        let publisher = Publisher::start(Arc::clone(&records), watch::Sender::default()).unwrap();
        let broken = alias(Txn::new(), "a", 9).put("route/x", "no JSON");
        records.commit(function(broken, "b", 2)).await.unwrap();
        publisher.catch_up();
        let snapshot = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!((live(&snapshot, "a"), live(&snapshot, "b")), (1, 2));
        publisher.reload(&mut publisher.state.lock());
        let snapshot = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!((live(&snapshot, "a"), live(&snapshot, "b")), (1, 2), "when all is read anew, too");
        // At the start there is nothing to keep: what can be read is served.
        let publisher = Publisher::start(Arc::clone(&records), watch::Sender::default()).unwrap();
        let snapshot = Arc::clone(&publisher.snapshots().borrow());
        assert_eq!((snapshot.functions.contains_key("a"), live(&snapshot, "b")), (false, 2));
        // Without its limit, a function would have none.
        records.commit(Txn::new().put("limit/b", "no JSON")).await.unwrap();
        assert!(Publisher::start(records, watch::Sender::default()).is_err());
    }

    #[tokio::test]
    async fn the_follower_ends_with_its_publisher() {
        let records = store(1000);
        let publisher = Publisher::start(Arc::clone(&records), watch::Sender::default()).unwrap();
        let mut snapshots = publisher.snapshots();
        records.commit(function(Txn::new(), "a", 1)).await.unwrap();
        snapshots.changed().await.unwrap();
        assert_eq!(live(&snapshots.borrow(), "a"), 1);
        drop(publisher);
        assert!(snapshots.changed().await.is_err(), "nobody is left to send");
    }
}
