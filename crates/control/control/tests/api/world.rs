//! A platform of one role, and a client for it.

use crate::peers::{FakeHost, FakeInvocations, FakeInvoke, FakeLogs, FakeScaler, Fragile};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mayfly_control::{Deps, Options, Registry, Service};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, sync::Arc};
use store::{Blobs, Records, record::Store};
use tempfile::TempDir;
use tokio::{net::TcpListener, net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use toolchain::Toolchain;
use types::{Alias, Code, Deployment, api::BuildLine, fault::Problem, record::Stage};

pub const TOKEN: &str = "a-token-for-tests";

/// The platform's disk: it outlives the process.
#[derive(Clone)]
pub struct Disk {
    pub dir: Arc<TempDir>,
    pub records: Arc<dyn Records>,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            records: Arc::new(Store::memory(store::record::Options::default())),
        }
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// One process.
pub struct World {
    pub disk: Disk,
    pub records: Arc<Fragile>,
    pub blobs: Arc<Blobs>,
    pub snapshots: wire::Snapshots,
    pub scaler: Arc<FakeScaler>,
    pub invoke: Arc<FakeInvoke>,
    pub host: Arc<FakeHost>,
    pub logs: Arc<FakeLogs>,
    pub invocations: Arc<FakeInvocations>,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub server: JoinHandle<std::io::Result<()>>,
}

impl World {
    pub async fn new() -> Self {
        Self::on(Disk::new()).await
    }

    pub async fn on(disk: Disk) -> Self {
        Self::with(disk, None).await
    }

    /// With a limit of calls of all functions together.
    pub async fn with(disk: Disk, calls_max: Option<u32>) -> Self {
        let records = Fragile::new(Arc::clone(&disk.records));
        let blobs = Arc::new(Blobs::open(disk.path().join("blobs")).unwrap());
        let (scaler, invoke, host) = (Arc::<FakeScaler>::default(), Arc::<FakeInvoke>::default(), Arc::default());
        let (logs, invocations) = (Arc::<FakeLogs>::default(), Arc::<FakeInvocations>::default());
        let registry = Registry::open(Arc::clone(&records) as Arc<dyn Records>).unwrap();
        let snapshots = registry.snapshots();
        let deps = Deps {
            registry,
            blobs: Arc::clone(&blobs),
            invoke: Arc::clone(&invoke) as _,
            scaler: Arc::clone(&scaler) as _,
            host: Arc::clone(&host) as Arc<FakeHost> as _,
            logs: Arc::clone(&logs) as _,
            invocations: Arc::clone(&invocations) as _,
            toolchain: Toolchain::within([], false),
            canary_metrics: Default::default(),
        };
        let options = Options {
            token: TOKEN.to_owned(),
            data_dir: disk.path().to_owned(),
            gateway_url: "http://gateway.test:8080".to_owned(),
            isolation: "none: a test".to_owned(),
            limits: types::tenant::TenantLimits { calls_max, rate: None },
        };
        let service = Service::new(options, deps).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(service.run(listener, shutdown.clone()));
        Self { disk, records, blobs, snapshots, scaler, invoke, host, logs, invocations, address, shutdown, server }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        self.ask_with(method, path, body, &[]).await
    }

    pub async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Reply {
        Reply::read(self.send(request(method, path, body, headers)).await).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, "").await
    }

    /// Uploads a folder; gives the deployment as it began.
    pub async fn upload(&self, name: &str, files: &[(&str, &str)]) -> Deployment {
        let reply = self.ask(Method::POST, &format!("/v1/functions/{name}/deployments"), archive(files)).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text());
        reply.json()
    }

    /// Waits for a deployment's end, which is the end of its log; gives both.
    pub async fn ended(&self, deployment: &Deployment) -> (Deployment, Vec<BuildLine>) {
        let log = self.get(&format!("/v1/deployments/{}/log?follow=true", deployment.id)).await;
        assert_eq!(log.status, StatusCode::OK);
        let lines = log.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (self.get(&format!("/v1/deployments/{}", deployment.id)).await.json(), lines)
    }

    /// Uploads and waits.
    pub async fn deploy(&self, name: &str, files: &[(&str, &str)]) -> Deployment {
        let deployment = self.upload(name, files).await;
        self.ended(&deployment).await.0
    }

    /// Deploys a binary whose only content is `content`; it must go live.
    pub async fn live(&self, name: &str, content: &str) -> Deployment {
        let deployment = self.deploy(name, &binary(name, content, "")).await;
        assert_eq!(deployment.stage, Stage::Live, "{deployment:?}");
        deployment
    }

    pub async fn alias(&self, name: &str, alias: &str) -> Alias {
        self.get(&format!("/v1/functions/{name}/aliases/{alias}")).await.json()
    }

    /// What the picture says that an alias points to.
    pub fn served(&self, name: &str, alias: &str) -> Option<Vec<(u32, u8)>> {
        let snapshot = self.snapshots.borrow();
        let target = snapshot.target(&name.parse().unwrap(), &alias.parse().unwrap())?;
        Some(target.revisions.iter().map(|weighted| (weighted.revision.id.number, weighted.weight)).collect())
    }

    pub fn ensured(&self) -> Vec<String> {
        self.scaler.ensured.borrow().iter().map(ToString::to_string).collect()
    }
}

pub fn request(method: Method, path: &str, body: impl Into<Bytes>, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "api.test");
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        builder = builder.header("authorization", format!("Bearer {TOKEN}"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub async fn read(response: http::Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// The problem document, checked for what every one has.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.status, self.text());
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.status.as_u16(), problem.status);
        assert_eq!(problem.status, problem.code.status());
        problem
    }
    pub fn code(&self) -> Code {
        self.problem().code
    }
    pub fn value(&self) -> Value {
        self.json()
    }
}

/// A folder that needs no build.
pub fn binary<'a>(name: &str, content: &'a str, more: &str) -> Vec<(&'static str, &'a str)> {
    let manifest = format!("name = '{name}'\nruntime = 'binary'\ncontract = 'http'\nentry = 'app'\n{more}");
    vec![("mayfly.toml", Box::leak(manifest.into_boxed_str())), ("app", content)]
}

pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        std::fs::write(dir.path().join(path), content).unwrap();
    }
    let mut bytes = Vec::new();
    pack::Pack::source().write(dir.path(), &mut bytes).unwrap();
    bytes
}
