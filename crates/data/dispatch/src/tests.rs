//! The dispatcher with peers in process: fake instances that answer when they are told, and a clock that is held.

use super::*;
use parking_lot::Mutex;
use std::collections::HashMap as Map;
use tokio::sync::{oneshot, watch};
use types::{AliasName, Code, Digest, InstanceId, InvocationId, Manifest, Timestamp, record::Outcome};
use wire::{Directory, End, Invocations, Link, Permit, Shape, Started, Weighted};

/// An instance whose calls are held until the test ends them.
#[derive(Default)]
struct Fake {
    running: Mutex<Map<InvocationId, oneshot::Sender<Result<End, Refused>>>>,
}

/// How a test refuses a call: with the call untouched, or not.
enum Refused {
    Unsent,
    Broken(Fault),
}

impl Fake {
    fn ids(&self) -> Vec<InvocationId> {
        self.running.lock().keys().copied().collect()
    }

    fn end(&self, id: InvocationId, end: Result<End, Refused>) {
        let running = self.running.lock().remove(&id).unwrap();
        assert!(running.send(end).is_ok());
    }

    fn end_all(&self) {
        self.ids().into_iter().for_each(|id| self.end(id, Ok(End::ok(200))));
    }
}

impl Link for Fake {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<http::Response<Body>, Refusal>> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            self.running.lock().insert(call.id, sender);
            match receiver.await.unwrap() {
                Ok(end) => {
                    permit.finish(end);
                    Ok(http::Response::new(Body::Empty))
                }
                Err(Refused::Unsent) => {
                    let fault = Fault::new(Code::Unavailable, "gone");
                    permit.finish(End { outcome: Outcome::Crashed, ..End::fault(&fault) });
                    Err(Refusal::unsent(fault, call))
                }
                Err(Refused::Broken(fault)) => {
                    permit.finish(End::fault(&fault));
                    Err(fault.into())
                }
            }
        })
    }
}

#[derive(Default)]
struct Asked {
    nudges: Mutex<u32>,
    overdue: Mutex<Vec<InstanceId>>,
}

impl Demand for Asked {
    fn nudge(&self, _: &Arc<Revision>) {
        *self.nudges.lock() += 1;
    }
    fn overdue(&self, _: &Arc<Revision>, id: InstanceId) {
        self.overdue.lock().push(id);
    }
}

/// A dispatcher with one function, and what the test holds of it.
struct House {
    dispatcher: Dispatcher,
    asked: Arc<Asked>,
    revision: Arc<Revision>,
    target: Target,
}

impl House {
    fn new(concurrency: u32, options: Options) -> Self {
        let asked = Arc::new(Asked::default());
        let dispatcher = Dispatcher::new(options, &chassis::metrics::Metrics::default());
        dispatcher.connect(Arc::clone(&asked) as Arc<dyn Demand>);
        let revision = revision(1, concurrency);
        let target = target(&[(&revision, 100)]);
        Self { dispatcher, asked, revision, target }
    }

    fn add(&self) -> (Arc<Fake>, InstanceId) {
        let (fake, id) = (Arc::new(Fake::default()), InstanceId::random());
        let started = Started {
            id,
            link: Arc::clone(&fake) as Arc<dyn Link>,
            phases: vec![("load", Duration::from_millis(100))],
            at: Timestamp(0),
            exit: watch::channel(None).1,
        };
        self.dispatcher.add(&self.revision, &started);
        (fake, id)
    }

    fn call(&self) -> (InvocationId, tokio::task::JoinHandle<Result<http::Response<Body>, Fault>>) {
        let id = InvocationId::random();
        let now = chassis::clock::now();
        let request = http::Request::new(Body::Empty);
        let call = Call { id, request, shape: Shape::Http, arrived: now, deadline: now, peer: None };
        let (dispatcher, target) = (self.dispatcher.clone(), self.target.clone());
        (id, tokio::spawn(async move { dispatcher.invoke(&target, call).await }))
    }

    fn waiting(&self) -> u32 {
        self.dispatcher.load_of(&self.revision.id).map_or(0, |load| load.waiting)
    }

    fn in_flight(&self) -> u32 {
        self.dispatcher.load_of(&self.revision.id).map_or(0, |load| load.instances.iter().map(|i| i.in_flight).sum())
    }
}

fn revision(number: u32, concurrency: u32) -> Arc<Revision> {
    let text = format!("name = 'hello'\nruntime = 'nodejs'\nentry = 'a.b'\nconcurrency = {concurrency}");
    let manifest = Manifest::parse(&text).unwrap();
    Arc::new(Revision {
        id: RevisionId { function: manifest.name.clone(), number },
        content: Digest::from_sha256(&[0; 32]),
        artifact: Digest::from_sha256(&[0; 32]),
        spec: manifest.spec(),
        created: Timestamp(0),
    })
}

fn target(revisions: &[(&Arc<Revision>, u8)]) -> Target {
    let weighted =
        revisions.iter().map(|(revision, weight)| Weighted { revision: Arc::clone(revision), weight: *weight });
    Target { function: "hello".parse().unwrap(), alias: AliasName::live(), revisions: weighted.collect() }
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_instance_has_one_call_at_a_time() {
    let house = House::new(1, Options::default());
    let (fake, _) = house.add();
    let calls: Vec<_> = (0..3).map(|_| house.call()).collect();
    settle().await;
    assert_eq!((fake.ids().len(), house.waiting(), house.in_flight()), (1, 2, 1));
    assert!(*house.asked.nudges.lock() >= 2);
    // First come, first served.
    for (id, call) in calls {
        assert_eq!(fake.ids(), [id]);
        fake.end(id, Ok(End::ok(200)));
        assert!(call.await.unwrap().is_ok());
        settle().await;
    }
    assert_eq!((house.waiting(), house.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_least_loaded_instance() {
    let house = House::new(10, Options::default());
    let fakes = [house.add().0, house.add().0, house.add().0];
    let calls: Vec<_> = (0..9).map(|_| house.call()).collect();
    settle().await;
    assert_eq!(fakes.each_ref().map(|fake| fake.ids().len()), [3, 3, 3]);
    fakes.iter().for_each(|fake| fake.end_all());
    for (_, call) in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_instance_that_comes() {
    let house = House::new(1, Options::default());
    let (id, call) = house.call();
    settle().await;
    assert_eq!((house.waiting(), *house.asked.nudges.lock()), (1, 1));
    tokio::time::advance(Duration::from_secs(2)).await;
    let (fake, instance) = house.add();
    settle().await;
    fake.end(id, Ok(End::ok(200)));
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.headers()["mayfly-revision"], "hello@1");
    let recent = house.dispatcher.recent(&"hello".parse().unwrap(), 10);
    assert_eq!((recent[0].id, recent[0].cold, recent[0].instance), (id, true, Some(instance)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_ten_seconds_or_three_and_a_half_starts() {
    let house = House::new(1, Options::default());
    let begun = tokio::time::Instant::now();
    let fault = house.call().1.await.unwrap().unwrap_err();
    assert_eq!(fault.code, Code::CapacityExhausted);
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(fault.code.retry());
    // An instance that takes 8 s to start makes the wait longer.
    let (fake, instance) = (Arc::new(Fake::default()), InstanceId::random());
    let started = Started {
        id: instance,
        link: fake as Arc<dyn Link>,
        phases: vec![("fetch", Duration::from_secs(3)), ("load", Duration::from_secs(5))],
        at: Timestamp(0),
        exit: watch::channel(None).1,
    };
    house.dispatcher.add(&house.revision, &started);
    house.dispatcher.remove(instance);
    let begun = tokio::time::Instant::now();
    assert_eq!(house.call().1.await.unwrap().unwrap_err().code, Code::CapacityExhausted);
    assert_eq!(begun.elapsed().as_secs(), 28);
    assert_eq!(house.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let house = House::new(1, Options { queue_max: 2, ..Options::default() });
    let waiting: Vec<_> = (0..2).map(|_| house.call()).collect();
    settle().await;
    let fault = house.call().1.await.unwrap().unwrap_err();
    assert_eq!((fault.code, house.waiting()), (Code::QueueFull, 2));
    // Who gives up leaves the queue.
    waiting.into_iter().for_each(|(_, call)| call.abort());
    settle().await;
    assert_eq!(house.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_granted_to_who_left_goes_to_the_next() {
    let house = House::new(1, Options::default());
    let (_, first) = house.call();
    let (second, call) = house.call();
    settle().await;
    first.abort();
    settle().await;
    let (fake, _) = house.add();
    settle().await;
    assert_eq!(fake.ids(), [second]);
    fake.end(second, Ok(End::ok(200)));
    assert!(call.await.unwrap().is_ok());
    assert_eq!(house.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_untouched_call_goes_to_another_instance_and_a_touched_one_never() {
    let house = House::new(1, Options::default());
    let (broken, first) = house.add();
    let (id, call) = house.call();
    settle().await;
    let (fake, _) = house.add();
    broken.end(id, Err(Refused::Unsent));
    settle().await;
    fake.end(id, Ok(End::ok(200)));
    assert!(call.await.unwrap().is_ok());
    assert_eq!(*house.asked.overdue.lock(), [first], "the broken one is given up");

    let (id, call) = house.call();
    settle().await;
    fake.end(id, Err(Refused::Broken(Fault::new(Code::FunctionExited, "status 1"))));
    assert_eq!(call.await.unwrap().unwrap_err().code, Code::FunctionExited);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_overran_gets_no_more_calls() {
    let house = House::new(2, Options::default());
    let (fake, instance) = house.add();
    let ((slow, first), (other, second)) = (house.call(), house.call());
    settle().await;
    fake.end(slow, Err(Refused::Broken(Fault::new(Code::FunctionTimeout, "30s"))));
    assert_eq!(first.await.unwrap().unwrap_err().code, Code::FunctionTimeout);
    let third = house.call();
    settle().await;
    assert_eq!((fake.ids(), house.waiting()), (vec![other], 1));
    assert_eq!(*house.asked.overdue.lock(), [instance]);
    // What ran on it ends in peace.
    let drained = house.dispatcher.drain(instance);
    fake.end(other, Ok(End::ok(200)));
    assert!(second.await.unwrap().is_ok());
    drained.await;
    third.1.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_told_to_who_waits_unless_an_instance_will_be_free() {
    let house = House::new(1, Options::default());
    let (_, call) = house.call();
    settle().await;
    let fault = Fault::new(Code::StartFailed, "status 1");
    house.dispatcher.fail(&house.revision.id, &fault);
    assert_eq!(call.await.unwrap().unwrap_err(), fault);

    let (fake, _) = house.add();
    let calls = [house.call(), house.call()];
    settle().await;
    house.dispatcher.fail(&house.revision.id, &fault);
    for (id, call) in calls {
        settle().await;
        fake.end(id, Ok(End::ok(200)));
        assert!(call.await.unwrap().is_ok());
    }
}

#[test]
fn weights_are_kept() {
    let (old, new) = (revision(1, 1), revision(2, 1));
    let target = target(&[(&old, 75), (&new, 25)]);
    let total = 100_000;
    let hits = (0..total).filter(|_| choose(&target).unwrap().id.number == 2).count();
    // Three standard deviations of a binomial distribution: sqrt(n p q) = 137.
    assert!(hits.abs_diff(25_000) < 3 * 137, "{hits}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_permit_counts_as_cancelled() {
    let house = House::new(1, Options::default());
    let (fake, _) = house.add();
    let (id, call) = house.call();
    settle().await;
    assert_eq!(fake.ids(), [id]);
    call.abort();
    settle().await;
    assert_eq!(house.in_flight(), 0);
    let recent = house.dispatcher.recent(&"hello".parse().unwrap(), 1);
    assert_eq!(recent[0].outcome, Outcome::Cancelled);
}

#[test]
fn idle_revisions_are_forgotten_and_busy_ones_kept() {
    let house = House::new(1, Options::default());
    let (_, instance) = house.add();
    house.dispatcher.retain(&|_| false);
    assert!(house.dispatcher.load_of(&house.revision.id).is_some());
    house.dispatcher.remove(instance);
    house.dispatcher.retain(&|_| false);
    assert!(house.dispatcher.load().is_empty());
}
