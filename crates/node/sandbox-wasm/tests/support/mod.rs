//! A bench to put a component on: calls it with an environment and limits, and keeps what it printed and how calls ended.

use mayfly_sandbox_wasm::{Component, Engine, Limits, LogSink, Options, Output};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use types::{Bytes, Fault, InstanceId, InvocationId};
use wire::{Body, CallInfo, End, Lease, Permit};

/// A lane: one thread with its own runtime, as the platform has them.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn guest(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The artifact of the component that does what the path says.
pub fn probe() -> &'static [u8] {
    static ARTIFACT: OnceLock<Vec<u8>> = OnceLock::new();
    ARTIFACT.get_or_init(|| Engine::compile(&guest("probe.wasm")).unwrap())
}

#[derive(Debug, Clone)]
pub struct Line {
    pub output: Output,
    pub id: InvocationId,
    pub text: String,
}

struct Ends(mpsc::UnboundedSender<End>);

impl Lease for Ends {
    fn release(&self, _: &CallInfo, end: End) {
        let _ = self.0.send(end);
    }
}

pub struct Bench {
    pub engine: Engine,
    pub ids: Mutex<Vec<InvocationId>>,
    component: Component,
    env: Arc<[(String, String)]>,
    memory: Bytes,
    deadline: Duration,
    log: LogSink,
    lines: Arc<Mutex<Vec<Line>>>,
    lease: Arc<dyn Lease>,
    ends: tokio::sync::Mutex<mpsc::UnboundedReceiver<End>>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Options { max_instances: 16, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe.cwasm");
        std::fs::write(&path, probe()).unwrap();
        let engine = Engine::new(&options).unwrap();
        let component = engine.load(&path).unwrap();
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let log: LogSink = {
            let lines = Arc::clone(&lines);
            Arc::new(move |output, id, line| {
                lines.lock().push(Line { output, id, text: String::from_utf8_lossy(line).into_owned() });
            })
        };
        let (ended, ends) = mpsc::unbounded_channel();
        Self {
            engine,
            ids: Mutex::default(),
            component,
            env: Arc::from([]),
            memory: Bytes::mib(64),
            deadline: Duration::from_secs(30),
            log,
            lines,
            lease: Arc::new(Ends(ended)),
            ends: tokio::sync::Mutex::new(ends),
        }
    }

    /// Not every test binary calls out.
    #[allow(dead_code)]
    pub fn reaching(mut self, outbound: Option<Arc<bindings::Outbound>>) -> Self {
        self.component = self.component.reaching(outbound);
        self
    }

    pub fn env(mut self, env: &[(&str, &str)]) -> Self {
        self.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self
    }

    pub fn memory(mut self, memory: Bytes) -> Self {
        self.memory = memory;
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub async fn get(&self, path: &str) -> Result<http::Response<Body>, Fault> {
        self.send(http::Request::get(path).body(Body::Empty).unwrap()).await
    }

    pub async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Fault> {
        let (id, arrived) = (InvocationId::random(), Instant::now());
        self.ids.lock().push(id);
        let info = CallInfo { id, instance: InstanceId::random(), arrived, waited: Duration::ZERO, cold: false };
        let permit = Permit::new(Arc::clone(&self.lease), info);
        let limits = Limits { memory: self.memory, deadline: arrived + self.deadline };
        self.component.call(request, id, limits, &self.env, &self.log, permit).await
    }

    /// How the next call ended, once it has.
    pub async fn end(&self) -> End {
        let mut ends = self.ends.lock().await;
        tokio::time::timeout(Duration::from_secs(20), ends.recv()).await.expect("the permit is given back").unwrap()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().clone()
    }
}

pub async fn text(response: http::Response<Body>) -> String {
    String::from_utf8(response.into_body().collect(1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Resident bytes of this process.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}
