//! From a revision to a ready instance, phase by phase.

use crate::{
    Inner,
    address::Address,
    instance::Instance,
    launch::{self, Launch, Places, Programs, Way},
    link::{
        command::CommandLink, component::ComponentLink, h2c::H2cLink, handler::HandlerLink, http::HttpLink,
        runtime_api::RuntimeApi, vitals::Vitals,
    },
    log::{Marks, Pipe, Source, capture},
    port, ready,
};
use chassis::{Shutdown, task};
use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use types::{Code, Contract, Fault, InstanceId, Protocol, Revision, Runtime, Timestamp, record::Stream};
use wire::{Exit, Link, Started};

/// The clock of a cold start.
struct Phases {
    last: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Phases {
    fn start() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }
    fn end(&mut self, phase: &'static str) {
        let now = Instant::now();
        self.done.push((phase, now - self.last));
        self.last = now;
    }
}

impl Inner {
    /// Fetch and unpack → sandbox → load → ready.
    pub(crate) async fn start(self: &Arc<Self>, revision: Arc<Revision>) -> Result<Started, Fault> {
        let mut phases = Phases::start();
        let tree = self.artifacts.tree(&revision.artifact).await?;
        phases.end("fetch");
        match revision.spec.contract {
            Contract::Component => self.start_component(revision, tree, phases).await,
            Contract::Handler | Contract::Http | Contract::Command => self.start_process(revision, tree, phases).await,
        }
    }

    async fn start_component(
        self: &Arc<Self>,
        revision: Arc<Revision>,
        tree: PathBuf,
        mut phases: Phases,
    ) -> Result<Started, Fault> {
        let component = self.modules.component(&revision.artifact, &tree, revision.spec.entry.as_deref()).await?;
        phases.end("load");
        let instance = Instance::new(InstanceId::random(), revision, now(), None);
        let outbound = self.outbound(&instance);
        let link = ComponentLink::new(component.reaching(outbound), self.vitals(&instance), self.journal.clone());
        Ok(self.register(&instance, Arc::new(link), phases))
    }

    async fn start_process(
        self: &Arc<Self>,
        revision: Arc<Revision>,
        tree: PathBuf,
        mut phases: Phases,
    ) -> Result<Started, Fault> {
        let id = InstanceId::random();
        let port = port::free().map_err(Fault::internal)?;
        let places = self.places(id, tree, port, revision.spec.contract);
        let launch = launch::launch(&revision, id, &places, self.as_ref())?;
        let way = launch.way.clone();
        // A server binds the port itself; the Runtime API's listener is ours.
        let listener = match way {
            Way::RuntimeApi => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(Fault::internal)?),
            Way::Bootstrap | Way::Server(_) | Way::Command => None,
        };
        let running = self.sandbox.start(self.plan(id, &revision, &places, launch)).await.map_err(|e| e.fault())?;
        phases.end("sandbox");
        let instance = Instance::new(id, Arc::clone(&revision), now(), Some(Arc::clone(&running.instance)));
        let marks = self.capture(&instance, running.stdout, running.stderr);
        let ended = Shutdown::new();
        self.supervise(Arc::clone(&instance), ended.clone());
        let vitals = self.vitals(&instance);
        let api = listener.map(|listener| {
            let lane = self.next_lane();
            RuntimeApi::start(vitals.clone(), marks.clone(), listener, &self.lanes, lane, ended)
        });
        let socket = Address::Unix(places.socket.clone());
        let init = api.as_ref().map(RuntimeApi::init);
        let limit = revision.spec.start_timeout.duration();
        let probe =
            revision.spec.ready_path.as_deref().map(|path| ready::Probe { path, protocol: revision.spec.protocol });
        let user = running.instance.user();
        let ready = ready::ready(&way, &socket, user, probe, init, vitals.exit.clone(), limit).await;
        let address = match ready {
            Ok(address) => address.unwrap_or(socket),
            Err(fault) => return Err(self.failed(&instance, fault).await),
        };
        phases.end("load");
        let lanes = self.lanes.count();
        let link: Arc<dyn Link> = match (way, api) {
            (_, Some(api)) => Arc::new(api),
            (Way::Server(_), None) => match revision.spec.protocol {
                Protocol::Http1 => Arc::new(HttpLink::new(address, vitals, lanes)),
                Protocol::H2c => Arc::new(H2cLink::new(address, vitals, lanes)),
            },
            (Way::Command, None) => Arc::new(CommandLink::new(places.socket, vitals)),
            (Way::Bootstrap | Way::RuntimeApi, None) => Arc::new(HandlerLink::new(address, vitals, marks, lanes)),
        };
        Ok(self.register(&instance, link, phases))
    }

    fn register(&self, instance: &Arc<Instance>, link: Arc<dyn Link>, phases: Phases) -> Started {
        instance.ready(&phases.done);
        if instance.process.is_none() {
            self.instances.lock().insert(instance.id, Arc::clone(instance));
        }
        Started { id: instance.id, link, phases: phases.done, at: instance.started, exit: instance.exit.subscribe() }
    }

    /// What the code may call; its circuits' changes become lines of its log.
    fn outbound(&self, instance: &Instance) -> Option<Arc<bindings::Outbound>> {
        let (revision, journal) = (&instance.revision, self.journal.clone());
        if revision.spec.bindings.is_empty() {
            return None;
        }
        let source = Source { revision: revision.id.clone(), instance: instance.id };
        let tell: bindings::Tell = Arc::new(move |what, text| {
            journal.try_write(source.line(Stream::Platform, None, format!("{}: {text}", what.as_str())));
        });
        self.outbound.open(&revision.id, &revision.spec.bindings, &tell)
    }

    fn vitals(&self, instance: &Instance) -> Vitals {
        Vitals { id: instance.id, revision: Arc::clone(&instance.revision), exit: instance.exit.subscribe() }
    }

    fn places(&self, id: InstanceId, task: PathBuf, port: u16, contract: Contract) -> Places {
        let tmp = self.run_dir.join(id.to_string());
        // The guest's socket is beside the folder: user code has no way to it.
        let socket = match contract {
            Contract::Command => self.run_dir.join(format!("{id}.s")),
            Contract::Handler | Contract::Http | Contract::Component => tmp.join("s"),
        };
        Places { task, tmp, socket, port, bootstraps: self.bootstraps.clone() }
    }

    fn plan(&self, id: InstanceId, revision: &Revision, places: &Places, launch: Launch) -> sandbox::Plan {
        let mode = match launch.way {
            Way::Command => sandbox::Mode::Command { socket: places.socket.clone(), slots: revision.spec.concurrency },
            Way::Bootstrap | Way::RuntimeApi | Way::Server(_) => sandbox::Mode::Serve,
        };
        sandbox::Plan {
            id,
            program: launch.program,
            args: launch.args,
            env: launch.env,
            cwd: places.task.clone(),
            tmp: places.tmp.clone(),
            limits: sandbox::Limits::default(),
            mode,
            grace: revision.spec.stop_grace.duration(),
        }
    }

    /// Reads both pipes to their ends. Only an exclusive instance's output can be told apart by call.
    fn capture(
        &self,
        instance: &Arc<Instance>,
        stdout: tokio::net::unix::pipe::Receiver,
        stderr: tokio::net::unix::pipe::Receiver,
    ) -> Marks {
        let source = Source { revision: instance.revision.id.clone(), instance: instance.id };
        let (stdout, stderr) = (Pipe::new(stdout), Pipe::new(stderr));
        for (stream, pipe) in [(Stream::Stdout, &stdout), (Stream::Stderr, &stderr)] {
            let pipe = Arc::clone(pipe);
            let listener = (stream == Stream::Stderr).then(|| Arc::clone(instance));
            task::spawn("log capture", capture(pipe, source.clone(), stream, self.journal.clone(), listener));
        }
        match instance.revision.spec.concurrency {
            1 => Marks::new(stdout, stderr),
            _ => Marks::default(),
        }
    }

    /// Follows a process to its end, and tells everybody.
    fn supervise(self: &Arc<Self>, instance: Arc<Instance>, ended: Shutdown) {
        let Some(process) = instance.process.clone() else { return };
        self.instances.lock().insert(instance.id, Arc::clone(&instance));
        let inner = Arc::clone(self);
        task::spawn("instance", async move {
            let exit = match process.wait().await {
                sandbox::Exit::Status(status) => Exit::Status(status),
                sandbox::Exit::Signal(signal) => Exit::Signal(signal),
            };
            instance.gone(exit);
            ended.cancel();
            inner.instances.lock().remove(&instance.id);
            let exit = instance.exit.borrow().clone();
            if let Some(exit) = exit.filter(|exit| *exit != Exit::Stopped) {
                let source = Source { revision: instance.revision.id.clone(), instance: instance.id };
                inner
                    .journal
                    .write(source.line(Stream::Platform, None, format!("the instance ended: {}", words(&exit))))
                    .await;
            }
        });
    }

    /// Ends what did not become ready; the fault gets the instance's own last words.
    async fn failed(&self, instance: &Instance, fault: Fault) -> Fault {
        instance.end(Exit::Deadline);
        instance.wait().await;
        instance.silence().await;
        match instance.last_words() {
            Some(words) if fault.code == Code::StartFailed => {
                Fault::new(fault.code, format!("{}: {words}", fault.detail))
            }
            _ => fault,
        }
    }
}

fn words(exit: &Exit) -> String {
    match exit {
        Exit::Stopped => "stopped".into(),
        Exit::Status(status) => format!("status {status}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Memory { used, limit } => format!("it held {} MiB, {} MiB are allowed", used >> 20, limit >> 20),
        Exit::Deadline => "killed, a call or its start took too long".into(),
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

impl Programs for Inner {
    fn interpreter(&self, runtime: Runtime) -> Result<PathBuf, Fault> {
        let found = self.toolchain.runtime(runtime)?;
        found.map(|found| found.path.clone()).ok_or_else(|| Fault::internal(format!("{runtime} has no interpreter")))
    }

    fn in_path(&self, name: &str) -> Option<PathBuf> {
        launch::PATH.split(':').map(|folder| PathBuf::from(folder).join(name)).find(|path| path.is_file())
    }
}
