//! The peers: they note what they are asked for and answer what the test says.

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use store::{
    Entry, LeaseId, Records, Txn, Version,
    record::{BoxFuture as StoreFuture, Error, Watch, WatchError},
};
use tokio::sync::{mpsc, watch};
use types::{Event, Fault, FunctionName, InstanceId, Invocation, LogLine, Revision, RevisionId, api::InstanceView};
use wire::{
    Body, BoxFuture, Call, Ensured, Hold, Host, Invocations, Invoke, LogFilter, Logs, Scaler, Shape, Share, Started,
    Stop, Tally, Target,
};

/// Starts nothing: every revision is ready, unless the test says otherwise.
pub struct FakeScaler {
    pub ensured: watch::Sender<Vec<RevisionId>>,
    pub fault: Mutex<Option<Fault>>,
    /// While false, nothing becomes ready.
    pub open: watch::Sender<bool>,
    /// The only one that `open` is about, where there is one.
    pub only: Mutex<Option<String>>,
}

impl Default for FakeScaler {
    fn default() -> Self {
        Self {
            ensured: watch::Sender::default(),
            fault: Mutex::default(),
            open: watch::Sender::new(true),
            only: Mutex::default(),
        }
    }
}

impl Scaler for FakeScaler {
    fn ensure(&self, revision: Arc<Revision>, _: Share) -> BoxFuture<'_, Result<Ensured, Fault>> {
        Box::pin(async move {
            self.ensured.send_modify(|all| all.push(revision.id.clone()));
            let free = self.only.lock().as_ref().is_some_and(|only| *only != revision.id.to_string());
            self.open.subscribe().wait_for(|open| *open || free).await.map_err(Fault::internal)?;
            match self.fault.lock().clone() {
                Some(fault) => Err(fault),
                None => {
                    let phases = vec![("spawn", Duration::from_millis(2)), ("ready", Duration::from_millis(3))];
                    Ok(Ensured { phases, ready: 1, wanted: 1, hold: Hold::default() })
                }
            }
        })
    }
}

/// What reached the dispatcher.
pub struct Seen {
    pub id: String,
    pub method: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub target: Target,
}

/// Answers with what the function was sent.
#[derive(Default)]
pub struct FakeInvoke {
    pub seen: Mutex<Vec<Seen>>,
    pub fault: Mutex<Option<Fault>>,
}

impl Invoke for FakeInvoke {
    fn invoke<'a>(&'a self, target: &'a Target, call: Call) -> BoxFuture<'a, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            assert_eq!(call.shape, Shape::Event);
            let (parts, body) = call.request.into_parts();
            let body = body.collect(1 << 20).await.map_err(|error| Fault::internal(format!("{error:?}")))?;
            let seen = Seen {
                id: call.id.to_string(),
                method: parts.method.to_string(),
                headers: parts.headers,
                body: body.clone(),
                target: target.clone(),
            };
            self.seen.lock().push(seen);
            if let Some(fault) = self.fault.lock().clone() {
                return Err(fault);
            }
            let response = Response::builder()
                .header("content-type", "application/json")
                .header(types::api::REVISION_HEADER, target.revisions[0].revision.id.to_string())
                .header("connection", "keep-alive")
                .body(Body::from(body));
            response.map_err(Fault::internal)
        })
    }
}

#[derive(Default)]
pub struct FakeHost(pub Mutex<Vec<InstanceView>>);

impl Host for FakeHost {
    fn start(&self, _: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        unreachable!("control starts nothing itself")
    }
    fn stop(&self, _: InstanceId, _: Stop) -> BoxFuture<'_, ()> {
        unreachable!("control stops nothing itself")
    }
    fn instances(&self) -> Vec<InstanceView> {
        self.0.lock().clone()
    }
}

/// The lines that the test puts in; follows until the test drops its sender.
#[derive(Default)]
pub struct FakeLogs {
    pub lines: Mutex<Vec<LogLine>>,
    pub filters: Mutex<Vec<LogFilter>>,
    pub followers: Mutex<Vec<mpsc::Sender<LogLine>>>,
    pub forgotten: Mutex<Vec<FunctionName>>,
    pub noted: Mutex<Vec<Event>>,
}

impl Logs for FakeLogs {
    fn read(&self, filter: LogFilter) -> BoxFuture<'_, mpsc::Receiver<LogLine>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(1000);
            let lines = self.lines.lock().clone();
            for line in lines.iter().skip(lines.len().saturating_sub(filter.tail)) {
                sender.try_send(line.clone()).unwrap();
            }
            if filter.follow {
                self.followers.lock().push(sender);
            }
            self.filters.lock().push(filter);
            receiver
        })
    }
    fn forget(&self, function: &FunctionName) {
        self.forgotten.lock().push(function.clone());
    }
    fn note(&self, event: &Event) {
        self.noted.lock().push(event.clone());
    }
}

#[derive(Default)]
pub struct FakeInvocations(pub Mutex<Vec<Invocation>>, Mutex<HashMap<String, Ends>>);

/// Calls that end between two looks, and all of them so far.
#[derive(Clone, Copy)]
struct Ends {
    calls: u64,
    failed: u64,
    all: Tally,
}

impl FakeInvocations {
    /// From now on so many calls of a revision end before each look at it.
    pub fn each_look(&self, revision: &str, calls: u64, failed: u64) {
        let mut ends = self.1.lock();
        let all = ends.get(revision).map_or_else(Tally::default, |ends| ends.all);
        ends.insert(revision.to_owned(), Ends { calls, failed, all });
    }
}

impl Invocations for FakeInvocations {
    fn recent(&self, function: &FunctionName, limit: usize) -> Vec<Invocation> {
        self.0.lock().iter().filter(|call| call.revision.function == *function).take(limit).cloned().collect()
    }
    fn tally(&self, revision: &RevisionId) -> Option<Tally> {
        let mut ends = self.1.lock();
        let ends = ends.get_mut(&revision.to_string())?;
        (0..ends.calls).for_each(|n| ends.all.add(n < ends.failed, Duration::from_millis(3)));
        Some(ends.all)
    }
}

/// What becomes of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Written,
    /// The disk is full.
    Full,
    /// So many are written; then the process is as good as dead.
    Dies {
        after: usize,
    },
}

/// A store whose disk the test holds in its hand.
pub struct Fragile {
    pub inner: Arc<dyn Records>,
    pub fate: watch::Sender<Fate>,
    /// Writes that never return because the process died.
    pub hanging: watch::Sender<usize>,
}

impl Fragile {
    pub fn new(inner: Arc<dyn Records>) -> Arc<Self> {
        Arc::new(Self { inner, fate: watch::Sender::new(Fate::Written), hanging: watch::Sender::new(0) })
    }
}

impl Records for Fragile {
    fn get(&self, key: &str) -> Option<Entry> {
        self.inner.get(key)
    }
    fn list(&self, prefix: &str) -> Vec<Entry> {
        self.inner.list(prefix)
    }
    fn version(&self) -> Version {
        self.inner.version()
    }
    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Version, Error>> {
        Box::pin(async move {
            let mut dead = false;
            self.fate.send_modify(|fate| match fate {
                Fate::Dies { after: 0 } => dead = true,
                Fate::Dies { after } => *after -= 1,
                Fate::Written | Fate::Full => {}
            });
            if dead {
                self.hanging.send_modify(|hanging| *hanging += 1);
                std::future::pending::<()>().await;
            }
            if *self.fate.borrow() == Fate::Full {
                return Err(Error::Full);
            }
            self.inner.commit(txn).await
        })
    }
    fn watch(&self, prefix: &str, from: Option<Version>) -> Result<Watch, WatchError> {
        self.inner.watch(prefix, from)
    }
    fn list_and_watch(&self, prefix: &str) -> (Vec<Entry>, Watch) {
        self.inner.list_and_watch(prefix)
    }
    fn grant(&self, ttl: Duration) -> StoreFuture<'_, Result<LeaseId, Error>> {
        self.inner.grant(ttl)
    }
    fn keep_alive(&self, lease: LeaseId) -> StoreFuture<'_, Result<(), Error>> {
        self.inner.keep_alive(lease)
    }
    fn revoke(&self, lease: LeaseId) -> StoreFuture<'_, Result<(), Error>> {
        self.inner.revoke(lease)
    }
    fn tick(&self) -> StoreFuture<'_, Result<usize, Error>> {
        self.inner.tick()
    }
}
