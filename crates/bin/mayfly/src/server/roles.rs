//! The assembly: every role, what it stands on, and the order in which they stop.

use super::{
    Handle, Listeners, Options,
    artifacts::Local,
    data::DataDir,
    handover::{DOOR, Door, Inheritance},
    leader::{self, Leader, Office, Term},
    outage::Outages,
};
use agent::Agent;
use anyhow::Context;
use chassis::{Lanes, Shutdown, admin, metrics::Metrics, task};
use dispatch::Dispatcher;
use fleet::Fleet;
use gateway::{Gateway, Listener};
use sandbox::Sandbox;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use store::Blobs;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use toolchain::Toolchain;
use wire::{Host, Invoke, Scaler};

/// Between two attempts to take the office again, after an heir that did not come to serve.
const RESUME_PAUSE: Duration = Duration::from_secs(1);

/// The roles, ready to run.
struct Roles {
    gateway: Gateway,
    fleet: Fleet,
    leader: Leader,
    sandbox: sandbox::Process,
    lanes: Arc<Lanes>,
    admin: admin::Service,
    ready: watch::Sender<bool>,
}

pub async fn start(options: Options) -> anyhow::Result<Handle> {
    let data = Arc::new(DataDir::open(&options.data_dir)?);
    let door = data.run()?.join(DOOR);
    let claimed = if options.take_over { Inheritance::claim(door.clone()).await? } else { None };
    let (inheritance, listeners) = match claimed {
        Some((inheritance, sockets)) => (Some(inheritance), Listeners::take(sockets, &options)?),
        None => (None, Listeners::bind(&options)?),
    };
    let (gateway_addr, admin_addr) = (listeners.gateway.local_addr()?, listeners.admin.local_addr()?);
    let tls_addr = listeners.tls.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let api_url = format!("http://{}", listeners.api.local_addr()?);
    let token = data.token()?;
    let picture = watch::Sender::default();
    let office = Office::take(&data, picture.clone()).await?;
    let roles = Roles::assemble(&options, &data, picture, token.clone(), gateway_addr).await?;
    let term = roles.leader.begin(office, &listeners.api).await?;
    if inheritance.is_some() {
        // The traffic comes with the sockets: what takes it is there first.
        roles.fleet.inherit().await;
    }
    let door = Door::open(&door)?;
    let (shutdown, reload) = (Shutdown::new(), roles.gateway.reload());
    let outages = Outages::new(options.rehearse_outages)?;
    let done = tokio::spawn(roles.run(listeners, term, door, outages, shutdown.clone()));
    if let Some(inheritance) = inheritance
        && let Err(error) = inheritance.serving()
    {
        tracing::warn!(%error, "the platform that was taken over is gone already");
    }
    Ok(Handle { gateway_addr, tls_addr, admin_addr, api_url, token, reload, shutdown, done })
}

impl Roles {
    async fn assemble(
        options: &Options,
        data: &Arc<DataDir>,
        picture: watch::Sender<Arc<wire::Snapshot>>,
        token: String,
        gateway_addr: SocketAddr,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::default();
        let lanes = Arc::new(Lanes::start(options.lanes.map_or_else(Lanes::default_count, usize::from))?);
        let snapshots = picture.subscribe();
        let blobs = data.root.join("blobs");
        let blobs = Arc::new(Blobs::open(&blobs).with_context(|| format!("cannot open {}", blobs.display()))?);
        // What an earlier process left running is ended before anything new starts.
        let sandbox = process_sandbox(data).await?;
        let toolchain = Toolchain::discover(rustix::process::geteuid().is_root());
        let engine = sandbox_wasm::Engine::new(&options.wasm)?;
        let agent =
            agent(data, Arc::clone(&blobs), sandbox.clone(), engine, toolchain.clone(), Arc::clone(&lanes), &metrics)?;
        let dispatcher =
            Dispatcher::new(dispatch::Options { calls_max: options.calls_max, ..Default::default() }, &metrics);
        let directory = Arc::new(dispatcher.clone());
        let history = Some(data.root.join("fleet/history.json"));
        let will = Some(data.root.join("fleet/heir.json"));
        let fleet_options = fleet::Options { history, will, ..fleet::Options::default() };
        let fleet = Fleet::new(fleet_options, Arc::new(agent.clone()), directory, snapshots.clone());
        dispatcher.connect(Arc::new(fleet.clone()));
        dispatcher.tell(Arc::new(agent.clone()));
        dispatcher.stand_by(Arc::new(agent.clone()));
        dispatcher.follow(snapshots.clone());
        let gateway = Gateway::new(options.gateway.clone(), snapshots, Arc::new(dispatcher.clone()), &metrics)?;
        let leader = Leader {
            data: Arc::clone(data),
            picture,
            options: control::Options {
                token,
                data_dir: data.root.clone(),
                gateway_url: format!("http://{gateway_addr}"),
                isolation: sandbox.isolation().to_string(),
                limits: types::tenant::TenantLimits { calls_max: options.calls_max, rate: options.gateway.rate },
            },
            roles: leader::Roles {
                blobs,
                invoke: Arc::new(dispatcher.clone()) as Arc<dyn Invoke>,
                scaler: Arc::new(fleet.clone()) as Arc<dyn Scaler>,
                host: Arc::new(agent.clone()) as Arc<dyn Host>,
                logs: Arc::new(agent),
                invocations: Arc::new(dispatcher),
                toolchain,
                canary_metrics: control::CanaryMetrics::register(&metrics),
            },
        };
        let (ready, is_ready) = watch::channel(true);
        let admin = admin::Service { metrics, ready: is_ready };
        Ok(Self { gateway, fleet, leader, sandbox, lanes, admin, ready })
    }

    /// Runs until `shutdown` or until an heir serves; then: no new calls → running calls end → instances end → API and
    /// admin port → lanes.
    async fn run(
        self,
        listeners: Listeners,
        term: Term,
        door: Door,
        outages: Outages,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let Self { gateway, fleet, leader, sandbox, lanes, admin, ready } = self;
        let (instances, admin_stop) = (Shutdown::new(), Shutdown::new());
        let own = listeners.try_clone()?;
        let decides = fleet.clone();
        let fleet = task::spawn("fleet", outages.frozen(fleet.run(instances.clone())));
        let admin = task::spawn("admin port", admin.run(TcpListener::from_std(own.admin)?, admin_stop.clone()));
        let (calls, on) = (shutdown.clone(), Arc::clone(&lanes));
        let plain = Listener { socket: own.gateway, tls: false };
        let tls = own.tls.map(|socket| Listener { socket, tls: true });
        let sockets = [plain].into_iter().chain(tls).collect();
        let hurry = gateway.hurry();
        let mut gateway = tokio::spawn(async move { gateway.run(sockets, &on, calls).await });
        let mut term = Some(term);
        let mut served = None;
        tokio::select! {
            () = lead(&leader, &decides, &mut term, door, outages, &listeners) => admin_stop.cancel(),
            () = shutdown.cancelled() => hurry.cancel(),
            ended = &mut gateway => served = Some(ended),
        }
        // The gateway ends with the shutdown, or because it cannot listen: either way everything else ends now.
        shutdown.cancel();
        ready.send_replace(false);
        drop(listeners);
        let served = match served {
            Some(ended) => ended?,
            None => gateway.await?,
        };
        instances.cancel();
        fleet.await?;
        sandbox.idle().await;
        admin_stop.cancel();
        if let Some(term) = term {
            term.end().await?;
        }
        admin.await?;
        drop(leader);
        if let Ok(lanes) = Arc::try_unwrap(lanes) {
            lanes.join();
        }
        served.context("the gateway cannot serve")
    }
}

/// Decides until an heir serves. `term` is `None` then, and while nobody decides.
async fn lead(
    leader: &Leader,
    fleet: &Fleet,
    term: &mut Option<Term>,
    mut door: Door,
    mut outages: Outages,
    listeners: &Listeners,
) {
    loop {
        let heir = tokio::select! {
            heir = door.knock() => heir,
            () = outages.begins() => {
                end(term).await;
                tracing::warn!("a rehearsed outage of control and fleet begins");
                outages.ends().await;
                *term = Some(begin_again(leader, listeners).await);
                tracing::warn!("the rehearsed outage ends");
                continue;
            }
        };
        tracing::info!("another process takes over");
        end(term).await;
        fleet.bequeath().await;
        match heir.hand_over(listeners).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "nobody came to serve: this platform goes on");
            }
        }
        (*term, door) = resume(leader, listeners, door).await;
    }
}

async fn end(term: &mut Option<Term>) {
    if let Some(term) = term.take()
        && let Err(error) = term.end().await
    {
        tracing::warn!(error = format!("{error:#}"), "the API did not end well");
    }
}

async fn begin_again(leader: &Leader, listeners: &Listeners) -> Term {
    loop {
        match leader.resume(&listeners.api).await {
            Ok(term) => return term,
            Err(error) => tracing::error!(error = format!("{error:#}"), "nobody decides on this data directory"),
        }
        sleep(RESUME_PAUSE).await;
    }
}

/// Takes the office again, however long that takes: calls are served meanwhile.
async fn resume(leader: &Leader, listeners: &Listeners, door: Door) -> (Option<Term>, Door) {
    loop {
        match leader.resume(&listeners.api).await.and_then(|term| Ok((term, door.reopen()?))) {
            Ok((term, door)) => return (Some(term), door),
            Err(error) => tracing::error!(error = format!("{error:#}"), "nobody decides on this data directory"),
        }
        sleep(RESUME_PAUSE).await;
    }
}

/// One after the other: the sandboxes of the data directory that no living platform has are swept, and the first is
/// ours.
async fn process_sandbox(data: &DataDir) -> anyhow::Result<sandbox::Process> {
    let mut own = None;
    for run_dir in data.sandboxes() {
        let options = sandbox::Options {
            guest: vec!["/proc/self/exe".into(), "guest".into()],
            run_dir,
            users: sandbox::Users::detect(),
        };
        let sandbox = match sandbox::Process::new(options) {
            Ok(sandbox) => sandbox,
            // A platform that was taken over ends its calls in it.
            Err(sandbox::Error::Locked(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let swept = sandbox.sweep().await?;
        tracing::debug!(?swept, "swept");
        own.get_or_insert(sandbox);
    }
    own.context("two platforms that were taken over still end their calls: wait until one is gone")
}

fn agent(
    data: &DataDir,
    blobs: Arc<Blobs>,
    sandbox: sandbox::Process,
    engine: sandbox_wasm::Engine,
    toolchain: Toolchain,
    lanes: Arc<Lanes>,
    metrics: &Metrics,
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
        engine,
        toolchain,
        lanes,
        outbound: bindings::Client::new(metrics),
    };
    Ok(Agent::new(options, deps)?)
}
