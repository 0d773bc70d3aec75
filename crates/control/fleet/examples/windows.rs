//! What the fleet costs with 100,000 functions of which 20,000 are called: a line of JSON for `cargo xtask bench windows`.
//!
//! The real fleet looks as fast as it can at a directory that always has the same to say; the time of a look is what passes
//! between two of its questions. Memory is what the process grew by.
#![allow(clippy::expect_used)]

use chassis::Shutdown;
use mayfly_fleet::{Fleet, Options};
use std::{
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};
use types::{Fault, InstanceId, Revision, RevisionId, api::InstanceView};
use wire::{Activity, BoxFuture, Directory, Host, InstanceLoad, Load, Snapshot, Started, Stop, sample};

const FUNCTIONS: usize = 100_000;
const ACTIVE: usize = 20_000;
/// Instances of each active one: as many as its manifest allows, so that nothing is started or retired.
const EACH: u32 = 3;
const LOOKS: usize = 60;

struct Nothing;

impl Host for Nothing {
    fn start(&self, _: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        Box::pin(async { Err(Fault::internal("nothing starts here")) })
    }

    fn stop(&self, _: InstanceId, _: Stop) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn instances(&self) -> Vec<InstanceView> {
        Vec::new()
    }
}

/// Says what is called, and notes how long the fleet was busy since it asked last.
struct Calls {
    revisions: Vec<Arc<Revision>>,
    calls: AtomicU64,
    answered: Mutex<Option<Instant>>,
    looks: Mutex<Vec<Duration>>,
    done: Shutdown,
}

impl Calls {
    fn of(&self, revision: &Arc<Revision>, calls: u64, is_active: bool) -> Load {
        let none = Load {
            revision: Arc::clone(revision),
            waiting: 0,
            deferred: 0,
            peak: 0,
            activity: Activity::default(),
            instances: Vec::new(),
        };
        if !is_active {
            return none;
        }
        let spent = Duration::from_millis(200) * u32::try_from(calls).unwrap_or(u32::MAX);
        let activity = Activity { arrivals: calls, ended: calls, area: spent, busy: spent, ..Activity::default() };
        let instance =
            |busy| InstanceLoad { id: InstanceId::random(), in_flight: busy, idle_since: None, draining: false };
        Load { peak: EACH, activity, instances: (0..EACH).map(|_| instance(1)).collect(), ..none }
    }
}

impl Directory for Calls {
    fn add(&self, _: &Arc<Revision>, _: &Started) {}

    fn drain(&self, _: InstanceId) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, _: InstanceId) {}

    fn fail(&self, _: &RevisionId, _: &Fault) {}

    fn load(&self) -> Vec<Load> {
        let mut answered = self.answered.lock().expect("nobody panics");
        let mut looks = self.looks.lock().expect("nobody panics");
        looks.extend(answered.map(|then| then.elapsed()));
        if looks.len() >= LOOKS {
            self.done.cancel();
        }
        // Every function was called once; then only the active ones are.
        let (count, calls) = match looks.len() {
            0 => (FUNCTIONS, 0),
            _ => (ACTIVE, self.calls.fetch_add(10, Ordering::Relaxed)),
        };
        let loads =
            self.revisions.iter().take(count).map(|revision| self.of(revision, calls, count == ACTIVE)).collect();
        *answered = Some(Instant::now());
        loads
    }

    fn load_of(&self, _: &RevisionId) -> Option<Load> {
        None
    }

    fn retain(&self, _: &dyn Fn(&RevisionId) -> bool) {}
}

fn main() {
    let manifest = format!("[scale]\nmax={EACH}");
    let revision = |n| sample::revision(&format!("f{n}"), if n < ACTIVE { &manifest } else { "" }).expect("it is one");
    let revisions: Vec<Arc<Revision>> = (0..FUNCTIONS).map(revision).collect();
    let mut snapshot = Snapshot::default();
    for one in &revisions {
        snapshot.functions.extend(sample::snapshot(&sample::target(one)).functions);
    }
    let done = Shutdown::new();
    let calls = Arc::new(Calls {
        revisions,
        calls: AtomicU64::new(0),
        answered: Mutex::default(),
        looks: Mutex::default(),
        done: done.clone(),
    });
    let (_snapshots, receiver) = tokio::sync::watch::channel(Arc::new(snapshot));
    let options = Options { tick: Duration::from_millis(1), ..Options::default() };
    let before = resident();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
    runtime.block_on(async {
        let fleet = Fleet::new(options, Arc::new(Nothing), Arc::clone(&calls) as Arc<dyn Directory>, receiver);
        fleet.run(done).await;
    });
    let mut looks = calls.looks.lock().expect("nobody panics").split_off(1);
    looks.sort_unstable();
    let look = looks[looks.len() / 2];
    println!(
        "{{\"functions\":{FUNCTIONS},\"active\":{ACTIVE},\"look_ms\":{:.2},\"active_ns\":{:.0},\"grown_mib\":{:.0}}}",
        look.as_secs_f64() * 1e3,
        look.as_nanos() as f64 / ACTIVE as f64,
        resident().saturating_sub(before) as f64 / f64::from(1 << 20),
    );
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
