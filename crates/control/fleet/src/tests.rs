//! The fleet with peers in process: a host that starts what it is told, a directory that says what it is told.

use super::*;
use std::collections::HashSet;
use tokio::sync::watch;
use types::{Code, api::InstanceView};
use wire::{Exit, InstanceLoad, Link, Refusal, Started, Stop};

mod crowd;

struct Nobody;

impl Link for Nobody {
    fn call<'a>(
        &'a self,
        _: wire::Call,
        _: wire::Permit,
    ) -> BoxFuture<'a, Result<http::Response<wire::Body>, Refusal>> {
        Box::pin(async { Err(Fault::internal("nobody calls here").into()) })
    }
}

/// Host and directory in one: what was started is what is listed.
#[derive(Default)]
struct World {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<InstanceId, watch::Sender<Option<Exit>>>,
    listed: Vec<InstanceId>,
    drained: HashSet<InstanceId>,
    stopped: Vec<(InstanceId, Stop)>,
    waiting: u32,
    /// Of those that wait.
    deferred: u32,
    in_flight: u32,
    /// How long an instance has been idle.
    idle: Duration,
    starts: u32,
    /// Starts wait for a permit of it.
    gate: Option<Arc<tokio::sync::Semaphore>>,
    start_fault: Option<Fault>,
    /// No more instances than these find room.
    room: Option<usize>,
    /// So many of the next starts are lost as soon as they are made.
    stillborn: u32,
    told: Vec<Fault>,
    /// Starts of these never end.
    hangs: HashSet<FunctionName>,
    /// Revisions beside the one of these tests: theirs are idle.
    others: HashMap<RevisionId, (Arc<Revision>, Vec<InstanceId>)>,
    /// Where the heir reads.
    will: Option<PathBuf>,
}

impl World {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock())
    }

    fn kill(&self, id: InstanceId) {
        let exit = self.with(|state| state.running.remove(&id)).expect("it runs");
        exit.send_replace(Some(Exit::Status(1)));
    }
}

impl Host for World {
    fn start(&self, revision: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let gate = self.with(|state| {
                state.starts += 1;
                state.gate.clone()
            });
            if self.with(|state| state.hangs.contains(&revision.id.function)) {
                std::future::pending::<()>().await;
            }
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            self.with(|state| {
                if let Some(fault) = &state.start_fault {
                    return Err(fault.clone());
                }
                if state.room.is_some_and(|room| state.running.len() >= room) {
                    return Err(Fault::new(Code::StartFailed, "no memory for another"));
                }
                let (id, (sender, exit)) = (InstanceId::random(), watch::channel(None));
                if state.stillborn > 0 {
                    state.stillborn -= 1;
                    sender.send_replace(Some(Exit::Signal(9)));
                } else {
                    state.running.insert(id, sender);
                }
                let phases = vec![("load", Duration::from_millis(1))];
                Ok(Started { id, link: Arc::new(Nobody), phases, at: Timestamp(0), exit })
            })
        })
    }

    fn stop(&self, id: InstanceId, how: Stop) -> BoxFuture<'_, ()> {
        self.with(|state| {
            state.stopped.push((id, how));
            if let Some(exit) = state.running.remove(&id) {
                exit.send_replace(Some(Exit::Stopped));
            }
        });
        Box::pin(std::future::ready(()))
    }

    fn instances(&self) -> Vec<InstanceView> {
        Vec::new()
    }
}

/// The directory's view of the one revision of these tests.
struct Listing {
    world: Arc<World>,
    revision: Arc<Revision>,
}

impl Directory for Listing {
    fn add(&self, revision: &Arc<Revision>, started: &Started) {
        self.world.with(|state| {
            if revision.id != self.revision.id {
                let other = state.others.entry(revision.id.clone()).or_insert((Arc::clone(revision), Vec::new()));
                return other.1.push(started.id);
            }
            state.listed.push(started.id);
            (state.waiting, state.deferred) = (0, 0);
        });
    }

    fn drain(&self, id: InstanceId) -> BoxFuture<'_, ()> {
        self.world.with(|state| state.drained.insert(id));
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, id: InstanceId) {
        self.world.with(|state| {
            state.listed.retain(|listed| *listed != id);
            state.others.values_mut().for_each(|(_, listed)| listed.retain(|listed| *listed != id));
        });
    }

    fn fail(&self, _: &RevisionId, fault: &Fault) {
        self.world.with(|state| {
            state.waiting = 0;
            state.told.push(fault.clone());
        });
    }

    fn load(&self) -> Vec<Load> {
        let others: Vec<RevisionId> = self.world.with(|state| state.others.keys().cloned().collect());
        [self.revision.id.clone()].iter().chain(&others).filter_map(|id| self.load_of(id)).collect()
    }

    fn load_of(&self, id: &RevisionId) -> Option<Load> {
        self.world.with(|state| {
            if *id != self.revision.id {
                let (revision, listed) = state.others.get(id).filter(|(_, listed)| !listed.is_empty())?;
                let idle = |id: &InstanceId| InstanceLoad {
                    id: *id,
                    in_flight: 0,
                    idle_since: Some(Instant::now()),
                    draining: state.drained.contains(id),
                };
                return Some(Load {
                    revision: Arc::clone(revision),
                    waiting: 0,
                    deferred: 0,
                    peak: 0,
                    activity: Activity::default(),
                    instances: listed.iter().map(idle).collect(),
                });
            }
            if state.listed.is_empty() && state.waiting == 0 {
                return None;
            }
            let share = |index: usize| u32::from((index as u32) < state.in_flight);
            let instances = state.listed.iter().enumerate().map(|(index, id)| InstanceLoad {
                id: *id,
                in_flight: share(index),
                idle_since: (share(index) == 0).then(|| Instant::now() - state.idle),
                draining: state.drained.contains(id),
            });
            Some(Load {
                revision: Arc::clone(&self.revision),
                waiting: state.waiting,
                deferred: state.deferred,
                peak: state.waiting + state.in_flight,
                activity: Activity::default(),
                instances: instances.collect(),
            })
        })
    }

    fn retain(&self, _: &dyn Fn(&RevisionId) -> bool) {}
}

struct House {
    world: Arc<World>,
    fleet: Fleet,
    revision: Arc<Revision>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
}

impl House {
    /// A fleet that runs; its one revision is live.
    fn new(extra: &str) -> Self {
        let revision = wire::sample::revision("hello", extra).unwrap();
        Self::on(Arc::new(World::default()), revision)
    }

    /// A fleet over what a world runs already.
    fn on(world: Arc<World>, revision: Arc<Revision>) -> Self {
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot(&revision)));
        let directory = Arc::new(Listing { world: Arc::clone(&world), revision: Arc::clone(&revision) });
        let options = Options {
            tick: Duration::from_millis(5),
            retire_after: Duration::ZERO,
            starts_max: 8,
            settle: Duration::from_millis(500),
            will: world.with(|state| state.will.clone()),
            ..Options::default()
        };
        let fleet = Fleet::new(options, Arc::clone(&world) as Arc<dyn Host>, directory, receiver);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(fleet.clone().run(shutdown.clone()));
        Self { world, fleet, revision, snapshots, shutdown, running }
    }

    fn ask(&self, waiting: u32) {
        self.world.with(|state| state.waiting = waiting);
        self.fleet.nudge(&self.revision);
    }

    async fn until(&self, what: &str, reached: impl Fn(&mut State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.world.with(&reached) {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A few looks later, nothing has moved.
    async fn still(&self, what: &str, holds: impl Fn(&mut State) -> bool) {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(self.world.with(&holds), "{what}");
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

/// All calls of `live`.
fn all() -> Share {
    Share { alias: "live".parse().unwrap(), percent: 100 }
}

fn snapshot(revision: &Arc<Revision>) -> Snapshot {
    wire::sample::snapshot(&wire::sample::target(revision))
}

#[tokio::test]
async fn what_waits_gets_instances_up_to_the_maximum() {
    let house = House::new("[scale]\nmax=3");
    house.ask(2);
    house.until("two for two", |state| state.listed.len() == 2).await;
    house.world.with(|state| state.in_flight = 2);
    house.ask(10);
    house.until("three at most", |state| state.listed.len() == 3).await;
    house.ask(10);
    house.still("no fourth", |state| state.starts == 3).await;
    house.stop().await;
}

#[tokio::test]
async fn one_shared_instance_takes_what_it_can_hold() {
    let house = House::new("concurrency=10");
    house.ask(10);
    house.until("one for ten", |state| state.listed.len() == 1).await;
    house.still("no second", |state| state.starts == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn idle_instances_go_down_to_the_minimum() {
    let house = House::new("[scale]\nmin=1\nidle='50ms'");
    house.until("the minimum without a call", |state| state.listed.len() == 1).await;
    house.ask(3);
    house.until("three for three", |state| state.listed.len() == 3).await;
    house.world.with(|state| state.idle = Duration::from_secs(1));
    house.until("down to one", |state| state.listed.len() == 1).await;
    house.still("and no further", |state| state.listed.len() == 1).await;
    assert!(house.world.with(|state| state.stopped.iter().all(|(_, how)| *how == Stop::Gently)));
    assert_eq!(house.world.with(|state| state.drained.len()), 2, "drained before it is stopped");
    house.stop().await;
}

#[tokio::test]
async fn scale_to_zero_and_back() {
    let house = House::new("[scale]\nidle='20ms'");
    house.ask(1);
    house.until("one", |state| state.listed.len() == 1).await;
    house.until("none", |state| state.listed.is_empty()).await;
    house.ask(1);
    house.until("one again", |state| state.listed.len() == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn a_busy_instance_is_not_retired() {
    let house = House::new("[scale]\nidle='40ms'");
    house.ask(1);
    house.until("one", |state| state.listed.len() == 1).await;
    house.world.with(|state| state.in_flight = 1);
    house.still("it works", |state| state.stopped.is_empty()).await;
    house.still("and goes on", |state| state.stopped.is_empty()).await;
    house.world.with(|state| state.in_flight = 0);
    house.until("idle now", |state| state.stopped.len() == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_and_not_repeated_at_once() {
    let house = House::new("");
    let fault = Fault::new(Code::StartFailed, "status 1");
    house.world.with(|state| state.start_fault = Some(fault.clone()));
    house.ask(1);
    house.until("told", |state| state.told.len() == 1).await;
    // The next caller within the pause hears the same at once, without another start.
    house.ask(1);
    house.until("told again", |state| state.told.len() == 2).await;
    assert_eq!(house.world.with(|state| (state.starts, state.told[1].clone())), (1, fault));
    house.world.with(|state| state.start_fault = None);
    let deadline = Instant::now() + Duration::from_secs(10);
    while house.world.with(|state| state.listed.is_empty()) {
        assert!(Instant::now() < deadline, "it is never tried again");
        house.ask(1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.stop().await;
}

#[tokio::test]
async fn an_instance_that_dies_is_forgotten_and_replaced() {
    let house = House::new("[scale]\nmin=1");
    house.until("one", |state| state.listed.len() == 1).await;
    let first = house.world.with(|state| state.listed[0]);
    house.world.kill(first);
    house.until("another", |state| state.listed.len() == 1 && state.listed[0] != first).await;
    house.stop().await;
}

#[tokio::test]
async fn an_instance_that_overran_is_killed() {
    let house = House::new("");
    house.ask(1);
    house.until("one", |state| state.listed.len() == 1).await;
    let id = house.world.with(|state| state.listed[0]);
    house.fleet.overdue(&house.revision, id);
    house.until("killed", |state| state.stopped.contains(&(id, Stop::Overdue))).await;
    house.until("forgotten", |state| !state.listed.contains(&id)).await;
    house.stop().await;
}

#[tokio::test]
async fn the_probe_starts_one_and_keeps_it_until_the_alias_moves() {
    let house = House::new("[scale]\nidle='1ms'");
    house.snapshots.send_replace(Arc::new(Snapshot::default()));
    let first = house.fleet.ensure(Arc::clone(&house.revision), all()).await.unwrap();
    assert_eq!(first.phases[0].0, "load");
    house.still("it is held, though no alias points to it", |state| state.listed.len() == 1).await;
    let second = house.fleet.ensure(Arc::clone(&house.revision), all()).await.unwrap();
    assert!(second.phases.is_empty(), "it is there already");
    house.snapshots.send_replace(Arc::new(snapshot(&house.revision)));
    drop(first);
    house.still("the other change still needs it", |state| state.listed.len() == 1).await;
    drop(second);
    house.until("now its traffic decides", |state| state.listed.is_empty()).await;

    let fault = Fault::new(Code::StartFailed, "status 1");
    house.world.with(|state| state.start_fault = Some(fault.clone()));
    assert_eq!(house.fleet.ensure(Arc::clone(&house.revision), all()).await.map(|_| ()).unwrap_err(), fault);
    house.stop().await;
}

#[tokio::test]
async fn what_becomes_ready_after_the_end_is_ended() {
    let house = House::new("");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    house.world.with(|state| state.gate = Some(Arc::clone(&gate)));
    house.ask(1);
    house.until("it starts", |state| state.starts == 1).await;
    let world = Arc::clone(&house.world);
    house.stop().await;
    gate.add_permits(1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.with(|state| state.stopped.is_empty()) {
        assert!(Instant::now() < deadline, "the late instance stays");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.with(|state| assert!(state.running.is_empty() && state.listed.is_empty()));
}

#[tokio::test]
async fn what_no_alias_points_to_is_retired() {
    let house = House::new("");
    house.ask(1);
    house.until("one", |state| state.listed.len() == 1).await;
    house.snapshots.send_replace(Arc::new(Snapshot::default()));
    house.until("none", |state| state.listed.is_empty()).await;
    house.stop().await;
}

#[tokio::test]
async fn deferred_calls_are_lag_and_not_a_start_each() {
    let house = House::new("");
    house.world.with(|state| state.deferred = 40);
    house.ask(40);
    house.until("one finds out how long they take", |state| state.listed.len() == 1).await;
    house.still("and no second", |state| state.starts == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn a_late_start_is_not_made_twice() {
    let house = House::new("");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    house.world.with(|state| state.gate = Some(Arc::clone(&gate)));
    house.ask(1);
    house.until("it starts", |state| state.starts == 1).await;
    for _ in 0..20 {
        house.ask(1);
        house.still("what starts is counted", |state| state.starts == 1).await;
    }
    gate.add_permits(1);
    house.until("it is there", |state| state.listed.len() == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn an_end_that_is_told_twice_is_one_end() {
    let house = House::new("[scale]\nmin=1");
    house.until("one", |state| state.listed.len() == 1).await;
    let (id, exit) = house.world.with(|state| {
        let id = state.listed[0];
        (id, state.running.remove(&id).unwrap())
    });
    exit.send_replace(Some(Exit::Status(1)));
    exit.send_replace(Some(Exit::Stopped));
    house.until("another", |state| state.listed.len() == 1 && state.listed[0] != id).await;
    exit.send_replace(Some(Exit::Status(1)));
    house.still("one start for one end", |state| state.starts == 2).await;
    house.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_lost_while_it_starts_is_replaced() {
    let house = House::new("[scale]\nmin=1");
    house.world.with(|state| state.stillborn = 2);
    house.until("the third lives", |state| state.listed.len() == 1 && state.running.len() == 1).await;
    house.still("and no fourth", |state| state.starts <= 3 && state.listed.len() == 1).await;
    house.stop().await;
}

#[tokio::test]
async fn a_crash_loop_backs_off_and_says_why() {
    let house = House::new("[scale]\nmin=1");
    let fault = Fault::new(Code::StartFailed, "status 3: no database");
    house.world.with(|state| state.start_fault = Some(fault.clone()));
    house.until("it fails", |state| state.told.contains(&fault)).await;
    let before = house.world.with(|state| state.starts);
    house.still("no start within the pause of 250 ms", |state| state.starts <= before + 1).await;
    let name = house.revision.id.function.clone();
    let scaling = house.fleet.explain(&name);
    assert!(scaling[0].failing.as_ref().is_some_and(|why| why.contains("no database")), "{scaling:?}");
    house.world.with(|state| state.start_fault = None);
    house.until("healed by itself", |state| state.listed.len() == 1).await;
    assert_eq!(house.fleet.explain(&name)[0].failing, None);
    house.stop().await;
}

/// `live` sends the revision `weight` per cent and another one the rest; a tag names it as well.
fn shared(revision: &Arc<Revision>, weight: u8) -> Arc<Snapshot> {
    let mut other = (*wire::sample::revision("hello", "").unwrap()).clone();
    other.id.number = revision.id.number + 1;
    let other = wire::Weighted { revision: Arc::new(other), weight: 100 - weight };
    let own = wire::Weighted { revision: Arc::clone(revision), weight };
    let tag = wire::sample::target(revision);
    let live =
        wire::Target { revisions: [own, other].into_iter().filter(|w| w.weight > 0).collect(), ..(*tag).clone() };
    let mut snapshot = wire::sample::snapshot(&Arc::new(live));
    let function = snapshot.functions.get_mut(&revision.id.function).unwrap();
    Arc::make_mut(function).aliases.insert("tagged".parse().unwrap(), tag);
    Arc::new(snapshot)
}

#[tokio::test]
async fn the_minimum_and_the_maximum_follow_the_traffic() {
    let house = House::new("[scale]\nmin=10\nmax=20\nidle='20ms'");
    house.until("all of it", |state| state.listed.len() == 10).await;
    house.world.with(|state| state.idle = Duration::from_secs(1));
    for (weight, min, max) in [(70, 7, 14), (30, 3, 6), (70, 7, 14), (0, 0, 20)] {
        house.snapshots.send_replace(shared(&house.revision, weight));
        house.until("its share of the minimum", |state| state.listed.len() == min).await;
        house.still("and stays there", |state| state.listed.len() == min).await;
        let scaling = house.fleet.explain(&house.revision.id.function);
        let own = scaling.iter().find(|scaling| scaling.revision == house.revision.id).unwrap();
        assert_eq!((own.limits.min as usize, own.limits.max), (min, max), "at {weight}: {}", own.reason);
        let told = own.reason.contains(&format!("for {weight} % of the traffic"));
        assert_eq!(told, weight > 0, "at {weight}: {}", own.reason);
    }
    // Who calls the tag is served all the same.
    house.ask(2);
    house.until("for the tag's calls", |state| state.listed.len() == 2).await;
    house.stop().await;
}

#[tokio::test]
async fn a_minimum_that_finds_no_room_keeps_what_there_is() {
    let house = House::new("[scale]\nmin=5");
    house.world.with(|state| state.room = Some(2));
    house.until("as many as there is room for", |state| state.listed.len() == 2 && !state.told.is_empty()).await;
    house
        .still("they stay, and it is not tried at every look", |state| {
            state.listed.len() == 2 && state.stopped.is_empty() && state.starts <= 10
        })
        .await;
    assert!(house.fleet.explain(&house.revision.id.function)[0].failing.is_some());
    house.world.with(|state| state.room = None);
    house.until("room again", |state| state.listed.len() == 5).await;
    house.stop().await;
}

#[tokio::test]
async fn a_new_fleet_over_running_instances_starts_and_kills_none() {
    let house = House::new("[scale]\nmin=2\nidle='1h'");
    house.until("two", |state| state.listed.len() == 2).await;
    // Its fleet goes silent without an end.
    house.running.abort();
    house.world.with(|state| state.in_flight = 1);
    let again = House::on(Arc::clone(&house.world), Arc::clone(&house.revision));
    again.still("what serves goes on serving", |state| state.starts == 2 && state.stopped.is_empty()).await;
    again.stop().await;
}

fn other(name: &str, number: u32, extra: &str) -> Arc<Revision> {
    let mut revision = Arc::unwrap_or_clone(wire::sample::revision(name, extra).unwrap());
    revision.id.number = number;
    Arc::new(revision)
}

fn starting(house: &House) -> u32 {
    house.fleet.0.tracks.lock()[&house.revision.id].starting
}

#[tokio::test]
async fn starts_that_hang_keep_nobody_out_and_are_given_up() {
    let house = House::new("[scale]\nmax=50");
    house.world.with(|state| state.hangs.insert("hello".parse().unwrap()));
    house.ask(40);
    house.until("half of the places", |state| state.starts == 4).await;
    house.still("and no more", |state| state.starts == 4).await;
    assert_eq!(starting(&house), 40, "the others wait for their turn");
    for number in 1..=10 {
        let started = house.fleet.start(&other("second", number, "")).await;
        assert!(started.unwrap().is_ok(), "another function starts as if it were alone");
    }
    let probed = house.fleet.ensure(other("third", 1, ""), all()).await.unwrap();
    assert_eq!((probed.ready, probed.wanted), (1, 1));
    // The callers are gone, and with them all that the directory knows of it.
    house.world.with(|state| state.waiting = 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while starting(&house) != 4 {
        assert!(Instant::now() < deadline, "{} are starting: what waits is not given up", starting(&house));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    house.still("what hangs still hangs, alone", |state| state.starts == 4 + 10 + 1).await;
    house.stop().await;
}

#[tokio::test]
async fn a_share_of_the_calls_has_its_instances_before_it_has_the_calls() {
    let house = House::new("[scale]\ntarget=100");
    house.ask(6);
    house.until("six for six", |state| state.listed.len() == 6).await;
    house.world.with(|state| state.in_flight = 6);
    let (second, third) = (other("hello", 2, "[scale]\ntarget=100"), other("hello", 3, "[scale]\ntarget=100"));
    let tenth = Share { percent: 10, ..all() };
    let step = house.fleet.ensure(Arc::clone(&second), tenth).await.unwrap();
    assert_eq!((step.ready, step.wanted), (1, 1));
    let moved = house.fleet.ensure(Arc::clone(&second), all()).await.unwrap();
    assert_eq!((moved.ready, moved.wanted, house.fleet.ready(&second.id)), (6, 6, 6));
    house.still("they are held without a call", |state| state.others[&second.id].1.len() == 6).await;
    drop((step, moved));
    house.still("and on until their calls have come", |state| state.others[&second.id].1.len() == 6).await;

    // No room for all: the move is not kept waiting, and is told.
    let room = house.world.with(|state| state.running.len()) + 2;
    house.world.with(|state| state.room = Some(room));
    let short = house.fleet.ensure(Arc::clone(&third), all()).await.unwrap();
    assert!((1..=2).contains(&short.ready) && short.wanted == 6, "{} of {}", short.ready, short.wanted);
    house.stop().await;
}

#[tokio::test]
async fn a_move_waits_no_longer_than_it_may() {
    let house = House::new("[scale]\ntarget=100");
    house.ask(3);
    house.until("three", |state| state.listed.len() == 3).await;
    let gate = Arc::new(tokio::sync::Semaphore::new(1));
    house.world.with(|state| (state.in_flight, state.gate) = (3, Some(Arc::clone(&gate))));
    let moved = house.fleet.ensure(other("hello", 2, "[scale]\ntarget=100"), all()).await.unwrap();
    assert_eq!((moved.ready, moved.wanted), (1, 3), "the others start slowly");
    gate.add_permits(100);
    house.stop().await;
}

#[tokio::test]
async fn an_heir_has_the_instances_before_it_has_the_traffic() {
    let dir = tempfile::tempdir().unwrap();
    let will = Some(dir.path().join("fleet/heir.json"));
    let world = || {
        let world = Arc::new(World::default());
        world.with(|state| state.will = will.clone());
        world
    };
    let revision = wire::sample::revision("hello", "[scale]\ntarget=100").unwrap();
    let old = House::on(world(), Arc::clone(&revision));
    old.ask(5);
    old.until("five", |state| state.listed.len() == 5).await;
    old.world.with(|state| state.in_flight = 5);
    old.fleet.bequeath().await;
    let heir = House::on(world(), Arc::clone(&revision));
    heir.fleet.inherit().await;
    assert_eq!(heir.world.with(|state| state.listed.len()), 5);
    heir.still("they are kept until its calls come", |state| state.listed.len() == 5).await;
    heir.fleet.inherit().await;
    assert_eq!(heir.world.with(|state| state.starts), 5, "a will is carried out once");
    old.stop().await;
    heir.stop().await;
}
