//! The assembly: every role, what it stands on, and the order in which they stop.

use super::{Handle, Options, artifacts::Local, data::DataDir};
use agent::Agent;
use anyhow::Context;
use chassis::{Lanes, Shutdown, admin, metrics::Metrics, task};
use control::Registry;
use dispatch::Dispatcher;
use fleet::Fleet;
use gateway::Gateway;
use sandbox::Sandbox;
use std::{net::SocketAddr, sync::Arc};
use store::{Blobs, Records, record};
use tokio::{net::TcpListener, sync::watch};
use toolchain::Toolchain;
use wire::{Host, Invoke, Scaler};

/// What is kept, opened before anything serves.
struct Kept {
    records: Arc<dyn Records>,
    blobs: Arc<Blobs>,
    token: String,
}

/// The sockets, bound before anything starts: a taken port is told at once.
struct Listeners {
    gateway: std::net::TcpListener,
    api: TcpListener,
    admin: TcpListener,
}

/// The roles, ready to run.
struct Roles {
    gateway: Gateway,
    fleet: Fleet,
    control: control::Service,
    sandbox: sandbox::Process,
    lanes: Arc<Lanes>,
    admin: admin::Service,
    ready: watch::Sender<bool>,
}

pub async fn start(options: Options) -> anyhow::Result<Handle> {
    let listeners = Listeners::bind(&options).await?;
    let (gateway_addr, api_addr) = (listeners.gateway.local_addr()?, listeners.api.local_addr()?);
    let admin_addr = listeners.admin.local_addr()?;
    let data = DataDir::open(&options.data_dir)?;
    let kept = Kept::open(&data).await?;
    let token = kept.token.clone();
    let roles = Roles::assemble(&options, &data, kept, gateway_addr).await?;
    let shutdown = Shutdown::new();
    let done = tokio::spawn(roles.run(listeners, shutdown.clone()));
    Ok(Handle { gateway_addr, admin_addr, api_url: format!("http://{api_addr}"), token, shutdown, done })
}

impl Listeners {
    async fn bind(options: &Options) -> anyhow::Result<Self> {
        let taken =
            |what: &str, addr: SocketAddr| format!("cannot listen on {addr} for {what}: is another platform running?");
        Ok(Self {
            gateway: std::net::TcpListener::bind(options.listen).with_context(|| taken("functions", options.listen))?,
            api: TcpListener::bind(options.api).await.with_context(|| taken("the API", options.api))?,
            admin: TcpListener::bind(options.admin)
                .await
                .with_context(|| taken("health and metrics", options.admin))?,
        })
    }
}

impl Kept {
    async fn open(data: &DataDir) -> anyhow::Result<Self> {
        let (path, blobs) = (data.records(), data.root.join("blobs"));
        let (records, blobs) = tokio::task::spawn_blocking(move || {
            let records = record::Store::sqlite(&path, record::Options::default())
                .with_context(|| format!("cannot open {}", path.display()))?;
            let blobs = Blobs::open(&blobs).with_context(|| format!("cannot open {}", blobs.display()))?;
            anyhow::Ok((records, blobs))
        })
        .await??;
        Ok(Self { records: Arc::new(records), blobs: Arc::new(blobs), token: data.token()? })
    }
}

impl Roles {
    async fn assemble(options: &Options, data: &DataDir, kept: Kept, gateway_addr: SocketAddr) -> anyhow::Result<Self> {
        let metrics = Metrics::default();
        let lanes = Arc::new(Lanes::start(options.lanes.map_or_else(Lanes::default_count, usize::from))?);
        let registry = Registry::open(kept.records)?;
        let snapshots = registry.snapshots();
        // What an earlier process left running is ended before anything new starts.
        let sandbox = process_sandbox(data)?;
        let swept = sandbox.sweep().await?;
        tracing::debug!(?swept, "swept");
        let toolchain = Toolchain::discover(rustix::process::geteuid().is_root());
        let agent = agent(data, Arc::clone(&kept.blobs), sandbox.clone(), toolchain.clone(), Arc::clone(&lanes))?;
        let dispatcher =
            Dispatcher::new(dispatch::Options { calls_max: options.calls_max, ..Default::default() }, &metrics);
        let directory = Arc::new(dispatcher.clone());
        let fleet = Fleet::new(fleet::Options::default(), Arc::new(agent.clone()), directory, snapshots.clone());
        dispatcher.connect(Arc::new(fleet.clone()));
        dispatcher.tell(Arc::new(agent.clone()));
        dispatcher.stand_by(Arc::new(agent.clone()));
        dispatcher.follow(snapshots.clone());
        let gateway = Gateway::new(gateway::Options::default(), snapshots, Arc::new(dispatcher.clone()));
        let control = control::Service::new(
            control::Options {
                token: kept.token,
                data_dir: data.root.clone(),
                gateway_url: format!("http://{gateway_addr}"),
                isolation: sandbox.isolation().to_string(),
            },
            control::Deps {
                registry,
                blobs: kept.blobs,
                invoke: Arc::new(dispatcher.clone()) as Arc<dyn Invoke>,
                scaler: Arc::new(fleet.clone()) as Arc<dyn Scaler>,
                host: Arc::new(agent.clone()) as Arc<dyn Host>,
                logs: Arc::new(agent),
                invocations: Arc::new(dispatcher),
                toolchain,
            },
        )
        .await?;
        let (ready, is_ready) = watch::channel(true);
        let admin = admin::Service { metrics, ready: is_ready };
        Ok(Self { gateway, fleet, control, sandbox, lanes, admin, ready })
    }

    /// Runs until `shutdown`; then: no new calls → running calls end → instances end → API and admin port → lanes.
    async fn run(self, listeners: Listeners, shutdown: Shutdown) -> anyhow::Result<()> {
        let (instances, rest) = (Shutdown::new(), Shutdown::new());
        let fleet = task::spawn("fleet", self.fleet.run(instances.clone()));
        let admin = task::spawn("admin port", self.admin.run(listeners.admin, rest.clone()));
        let control = tokio::spawn(self.control.run(listeners.api, rest.clone()));
        let served = self.gateway.run(listeners.gateway, &self.lanes, shutdown.clone()).await;
        // The gateway ends with the shutdown, or because it cannot listen: either way everything else ends now.
        shutdown.cancel();
        self.ready.send_replace(false);
        instances.cancel();
        fleet.await?;
        self.sandbox.idle().await;
        rest.cancel();
        control.await??;
        admin.await?;
        if let Ok(lanes) = Arc::try_unwrap(self.lanes) {
            lanes.join();
        }
        served.context("the gateway cannot serve")
    }
}

fn process_sandbox(data: &DataDir) -> anyhow::Result<sandbox::Process> {
    let options = sandbox::Options {
        guest: vec!["/proc/self/exe".into(), "guest".into()],
        run_dir: data.root.join("run/sandbox"),
        users: sandbox::Users::detect(),
    };
    sandbox::Process::new(options).map_err(|error| match error {
        sandbox::Error::Locked(_) => {
            anyhow::anyhow!("another platform runs on {}: stop it, or choose another --data-dir", data.root.display())
        }
        error => error.into(),
    })
}

fn agent(
    data: &DataDir,
    blobs: Arc<Blobs>,
    sandbox: sandbox::Process,
    toolchain: Toolchain,
    lanes: Arc<Lanes>,
) -> anyhow::Result<Agent> {
    let options = agent::Options {
        cache_dir: data.root.join("cache"),
        run_dir: data.run()?,
        logs: agent::LogOptions::new(data.root.join("logs")),
        compiler: vec!["/proc/self/exe".into(), "compile".into()],
    };
    let deps = agent::Deps {
        artifacts: Arc::new(Local(blobs)),
        sandbox: Arc::new(sandbox),
        engine: sandbox_wasm::Engine::new(&sandbox_wasm::Options::default())?,
        toolchain,
        lanes,
    };
    Ok(Agent::new(options, deps)?)
}
