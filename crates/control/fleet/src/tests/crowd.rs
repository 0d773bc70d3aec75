//! A hundred functions woken at once: what bounds the starts.

use super::*;
use tokio::sync::Semaphore;

const FUNCTIONS: usize = 100;

/// A directory of many revisions, for each of which a call waits until it has an instance.
struct Crowd {
    world: Arc<World>,
    revisions: Vec<Arc<Revision>>,
    listed: Mutex<HashMap<RevisionId, InstanceId>>,
}

impl Directory for Crowd {
    fn add(&self, revision: &Arc<Revision>, started: &Started) {
        self.listed.lock().insert(revision.id.clone(), started.id);
    }

    fn drain(&self, _: InstanceId) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, id: InstanceId) {
        self.listed.lock().retain(|_, listed| *listed != id);
    }

    fn fail(&self, _: &RevisionId, fault: &Fault) {
        self.world.with(|state| state.told.push(fault.clone()));
    }

    fn load(&self) -> Vec<Load> {
        self.revisions.iter().filter_map(|revision| self.load_of(&revision.id)).collect()
    }

    fn load_of(&self, id: &RevisionId) -> Option<Load> {
        let revision = Arc::clone(self.revisions.iter().find(|revision| revision.id == *id)?);
        let instance = self.listed.lock().get(id).copied();
        let instances = instance.map(|id| InstanceLoad { id, in_flight: 1, idle_since: None, draining: false });
        let waiting = u32::from(instance.is_none());
        let activity = Activity { arrivals: 1, ..Activity::default() };
        Some(Load { revision, waiting, deferred: 0, peak: 1, activity, instances: instances.into_iter().collect() })
    }

    fn retain(&self, _: &dyn Fn(&RevisionId) -> bool) {}
}

/// A fleet whose host lets no start end before `gate` has a permit for it; all functions are called at once.
fn woken(options: Options) -> (Arc<Crowd>, Fleet, Arc<Semaphore>, Shutdown, watch::Sender<Arc<Snapshot>>) {
    let revisions: Vec<_> = (0..FUNCTIONS).map(|n| wire::sample::revision(&format!("many{n}"), "").unwrap()).collect();
    let mut all = Snapshot::default();
    for one in revisions.iter().map(snapshot) {
        all.functions.extend(one.functions);
    }
    let (snapshots, receiver) = watch::channel(Arc::new(all));
    let (world, gate) = (Arc::new(World::default()), Arc::new(Semaphore::new(0)));
    world.with(|state| state.gate = Some(Arc::clone(&gate)));
    let crowd = Arc::new(Crowd { world: Arc::clone(&world), revisions, listed: Mutex::default() });
    let fleet = Fleet::new(options, world, Arc::clone(&crowd) as Arc<dyn Directory>, receiver);
    let shutdown = Shutdown::new();
    tokio::spawn(fleet.clone().run(shutdown.clone()));
    crowd.revisions.iter().for_each(|revision| fleet.nudge(revision));
    (crowd, fleet, gate, shutdown, snapshots)
}

async fn until(crowd: &Crowd, what: &str, reached: impl Fn(&State) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !crowd.world.with(|state| reached(state)) {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn options(growth_host: u32) -> Options {
    let growth_host = Growth { starts: growth_host, every: Duration::from_secs(3600) };
    Options { tick: Duration::from_millis(5), starts_max: 8, growth_host, ..Options::default() }
}

#[tokio::test]
async fn a_hundred_functions_start_eight_at_once_and_each_one_once() {
    let (crowd, _fleet, gate, shutdown, _snapshots) = woken(options(1000));
    for done in 0..=FUNCTIONS {
        let (started, running) = ((done + 8).min(FUNCTIONS), done);
        until(&crowd, "the next one starts", |state| {
            let (starts, runs) = (state.starts as usize, state.running.len());
            assert!(starts <= runs + 8, "{} starts in flight", starts - runs);
            (starts, runs) == (started, running)
        })
        .await;
        gate.add_permits(1);
    }
    // Many looks later, none has a second.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(crowd.world.with(|state| state.starts) as usize, FUNCTIONS);
    assert_eq!(crowd.listed.lock().len(), FUNCTIONS);
    shutdown.cancel();
}

#[tokio::test]
async fn the_hosts_growth_budget_binds_over_all_functions_and_is_told() {
    let (crowd, fleet, gate, shutdown, _snapshots) = woken(options(30));
    gate.add_permits(FUNCTIONS);
    until(&crowd, "thirty", |state| state.running.len() == 30).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(crowd.world.with(|state| state.starts), 30, "no more, however often it is looked at");
    let told = |revision: &&Arc<Revision>| {
        let scaling = fleet.explain(&revision.id.function);
        scaling[0].reason.ends_with("1 of them wait for the growth budget, 30 starts in 3600 s for the whole host")
    };
    let waiting = crowd.revisions.iter().filter(told).count();
    assert_eq!(waiting, FUNCTIONS - 30, "each that waits says why");
    shutdown.cancel();
}
