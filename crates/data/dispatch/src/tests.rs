//! The dispatcher with peers in process: fake instances that answer when they are told, and a clock that is held.

use super::*;
use parking_lot::Mutex;
use std::collections::HashMap as Map;
use tokio::sync::{oneshot, watch};
use types::{AliasName, Code, Digest, InstanceId, InvocationId, Manifest, Timestamp, record::Outcome};
use wire::{Directory, End, Invocations, Link, Permit, Shape, Started, Weighted};

type Answering = tokio::task::JoinHandle<Result<http::Response<Body>, Fault>>;

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
    fn with(more: &str, options: Options) -> Self {
        let house = Self::new(1, options);
        let revision = revision_of(1, more);
        Self { target: target(&[(&revision, 100)]), revision, ..house }
    }

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

    fn ask(&self, request: http::request::Builder) -> (InvocationId, Answering) {
        let (id, now) = (InvocationId::random(), clock::now());
        let request = request.body(Body::Empty).unwrap();
        let call = Call { id, request: Box::new(request), shape: Shape::Http, arrived: now, deadline: now, peer: None };
        let (dispatcher, target) = (self.dispatcher.clone(), self.target.clone());
        (id, tokio::spawn(async move { dispatcher.invoke(&target, call).await }))
    }

    fn call(&self) -> (InvocationId, tokio::task::JoinHandle<Result<http::Response<Body>, Fault>>) {
        let id = InvocationId::random();
        let now = chassis::clock::now();
        let request = http::Request::new(Body::Empty);
        let call = Call { id, request: Box::new(request), shape: Shape::Http, arrived: now, deadline: now, peer: None };
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
    revision_of(number, &format!("concurrency = {concurrency}"))
}

pub(crate) fn revision_of(number: u32, more: &str) -> Arc<Revision> {
    let text = format!("name = 'hello'\nruntime = 'nodejs'\nentry = 'a.b'\n{more}");
    let manifest = Manifest::parse(&text).unwrap();
    Arc::new(Revision {
        id: RevisionId { function: manifest.name.clone(), number },
        content: Digest::from_sha256(&[0; 32]),
        artifact: Digest::from_sha256(&[0; 32]),
        spec: manifest.spec(),
        created: Timestamp(0),
    })
}

pub(crate) fn target(revisions: &[(&Arc<Revision>, u8)]) -> Target {
    let weighted =
        revisions.iter().map(|(revision, weight)| Weighted { revision: Arc::clone(revision), weight: *weight });
    Target {
        function: "hello".parse().unwrap(),
        tenant: types::TenantName::default(),
        alias: AliasName::live(),
        revisions: weighted.collect(),
    }
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
    assert_eq!(call.await.unwrap().unwrap_err(), fault.clone().of(&house.revision.id));

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

/// A call of `fake` that ends like this.
async fn through(house: &House, fake: &Fake, end: End) -> Result<http::Response<Body>, Fault> {
    let (id, call) = house.call();
    settle().await;
    fake.end(id, Ok(end));
    call.await.unwrap()
}

fn limits(dispatcher: &Dispatcher, max: Option<u32>) -> watch::Sender<Arc<wire::Snapshot>> {
    let limits = max.map(|max| ("hello".parse().unwrap(), max)).into_iter().collect();
    let snapshot = wire::Snapshot { limits: Arc::new(limits), ..Default::default() };
    let (sender, receiver) = watch::channel(Arc::new(snapshot));
    dispatcher.follow(receiver);
    sender
}

#[tokio::test(start_paused = true)]
async fn a_functions_limit_counts_calls_that_run_and_that_wait() {
    let house = House::new(1, Options::default());
    let sender = limits(&house.dispatcher, Some(2));
    let (fake, _) = house.add();
    let (first, running) = house.call();
    let (_, waiting) = house.call();
    settle().await;
    assert_eq!(house.call().1.await.unwrap().unwrap_err().code, Code::FunctionLimit);
    // Who leaves the queue, and who ends, makes room.
    waiting.abort();
    settle().await;
    let (third, waiting) = house.call();
    settle().await;
    fake.end(first, Ok(End::ok(200)));
    assert!(running.await.unwrap().is_ok());
    settle().await;
    fake.end(third, Ok(End::ok(200)));
    assert!(waiting.await.unwrap().is_ok());
    // 0 stops it, at once, and none lets all through.
    let stop = |max: Option<u32>| {
        let limits = max.map(|max| ("hello".parse().unwrap(), max)).into_iter().collect();
        sender.send_replace(Arc::new(wire::Snapshot { limits: Arc::new(limits), ..Default::default() }));
    };
    stop(Some(0));
    settle().await;
    assert_eq!(house.call().1.await.unwrap().unwrap_err().code, Code::FunctionStopped);
    stop(None);
    settle().await;
    assert!(through(&house, &fake, End::ok(200)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_bad_instance_is_ejected_and_told() {
    let house = House::new(10, Options::default());
    let (bad, bad_id) = house.add();
    let others = [house.add().0, house.add().0];
    for _ in 0..30 {
        let (id, call) = house.call();
        settle().await;
        for fake in others.iter().filter(|fake| fake.ids().contains(&id)) {
            fake.end(id, Ok(End::ok(200)));
        }
        if bad.ids().contains(&id) {
            bad.end(id, Ok(End::ok(500)));
        }
        call.await.unwrap().unwrap();
        // The next one is the least loaded of all: make the instances take turns.
        house.dispatcher.pool(&house.revision).state.lock().slots.rotate_left(1);
    }
    assert_eq!(*house.asked.overdue.lock(), [bad_id]);
    let events = house.dispatcher.events(&"hello".parse().unwrap());
    assert_eq!((events.len(), events[0].what, events[0].instance), (1, types::Happening::Ejected, Some(bad_id)));
    assert!(events[0].text.contains("calls failed"), "{}", events[0].text);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_at_once_and_degrades_as_the_owner_says() {
    let circuit = "concurrency = 10\n[resilience.circuit]\ncalls_min = 4\n";
    for (more, code, by) in [
        ("", Some(Code::CircuitOpen), ""),
        ("[resilience.degrade]\nanswer = { status = 203, body = 'later' }", None, "static"),
        ("[resilience.degrade]\nstale = '1m'\nanswer = { status = 203 }", None, "stale"),
    ] {
        let house = House::with(&format!("{circuit}{more}"), Options::default());
        let (fake, _) = house.add();
        assert!(through(&house, &fake, End::ok(200)).await.is_ok());
        for _ in 0..3 {
            let _ = through(&house, &fake, End::ok(500)).await;
        }
        let answer = house.call().1.await.unwrap();
        match code {
            Some(code) => assert_eq!(answer.unwrap_err().code, code, "{more}"),
            None => assert_eq!(answer.unwrap().headers()["mayfly-degraded"], by, "{more}"),
        }
        assert_eq!(house.dispatcher.events(&"hello".parse().unwrap())[0].what, types::Happening::CircuitOpened);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_too_long_is_refused_at_once() {
    let house = House::with("[scale]\nmax = 1\n[resilience]\nwait = '100ms'", Options::default());
    let (fake, _) = house.add();
    let (first, call) = house.call();
    settle().await;
    tokio::time::advance(Duration::from_millis(40)).await;
    fake.end(first, Ok(End::ok(200)));
    assert!(call.await.unwrap().is_ok());
    let calls: Vec<_> = (0..8).map(|_| house.call()).collect();
    settle().await;
    let refused = calls.iter().filter(|(_, call)| call.is_finished()).count();
    // One runs; of the others, those wait that fit into 100 ms.
    assert!((4..=6).contains(&refused), "{refused} of 8 were refused");
    let codes: Vec<_> =
        house.dispatcher.recent(&"hello".parse().unwrap(), refused).into_iter().map(|i| i.code).collect();
    assert!(codes.iter().all(|code| code.as_deref() == Some("overloaded")), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_take_turns_for_slots() {
    let house = House::new(1, Options::default());
    let caller = |n: u64| http::Request::builder().extension(wire::Caller(n));
    let flood: Vec<_> = (0..20).map(|_| house.ask(caller(1))).collect();
    settle().await;
    let (quiet, call) = house.ask(caller(2));
    settle().await;
    let (fake, _) = house.add();
    settle().await;
    fake.end_all();
    settle().await;
    assert_eq!(fake.ids(), [quiet], "the second turn is the other caller's");
    fake.end_all();
    assert!(call.await.unwrap().is_ok());
    flood.into_iter().for_each(|(_, call)| call.abort());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_hedged_and_the_first_one_counts() {
    let house = House::with("[traffic]\nhedge = '50ms'", Options::default());
    let fakes = [house.add().0, house.add().0];
    let (id, call) = house.ask(http::Request::get("/"));
    settle().await;
    let busy = |fakes: &[Arc<Fake>; 2]| fakes.each_ref().map(|fake| fake.ids().len()).iter().sum::<usize>();
    assert_eq!(busy(&fakes), 1);
    let first = fakes.iter().position(|fake| !fake.ids().is_empty()).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    settle().await;
    assert_eq!(busy(&fakes), 2);
    fakes[1 - first].end(id, Ok(End::ok(200)));
    assert!(call.await.unwrap().is_ok());
    settle().await;
    assert_eq!(house.in_flight(), 0, "the other one is given up");
    // What may change something is never sent twice.
    let (_, post) = house.ask(http::Request::post("/"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.in_flight(), 1);
    post.abort();
}

#[tokio::test(start_paused = true)]
async fn a_caller_stays_with_its_instance() {
    let house = House::with("concurrency = 10\n[traffic]\naffinity = true", Options::default());
    let fakes = [house.add(), house.add(), house.add()];
    let mut cookie = None::<String>;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let mut request = http::Request::get("/");
        if let Some(cookie) = &cookie {
            request = request.header("cookie", cookie);
        }
        let (id, call) = house.ask(request);
        settle().await;
        let (fake, instance) = fakes.iter().find(|(fake, _)| fake.ids().contains(&id)).unwrap();
        fake.end(id, Ok(End::ok(200)));
        seen.push(*instance);
        let answer = call.await.unwrap().unwrap();
        let set = answer.headers().get("set-cookie").map(|v| v.to_str().unwrap().split(';').next().unwrap().to_owned());
        assert_eq!(set.is_some(), cookie.is_none(), "told once");
        cookie = cookie.or(set);
        house.dispatcher.pool(&house.revision).state.lock().slots.rotate_left(1);
    }
    assert!(seen.iter().all(|instance| *instance == seen[0]));
    house.dispatcher.remove(seen[0]);
    let (id, call) = house.ask(http::Request::get("/").header("cookie", cookie.unwrap()));
    settle().await;
    let (fake, _) = fakes.iter().find(|(fake, _)| fake.ids().contains(&id)).unwrap();
    fake.end(id, Ok(End::ok(200)));
    assert!(call.await.unwrap().unwrap().headers().contains_key("set-cookie"), "best effort: another one");
}

#[tokio::test(start_paused = true)]
async fn a_caller_stays_with_its_instance_whatever_the_weights() {
    const AFFINITY: &str = "concurrency = 100\n[traffic]\naffinity = true";
    let mut house = House::with(AFFINITY, Options::default());
    let (old, kept) = house.add();
    let newer = revision_of(2, AFFINITY);
    let first = std::mem::replace(&mut house.revision, Arc::clone(&newer));
    let (new, other) = house.add();
    let cookie = |instance| http::Request::get("/").header("cookie", format!("mayfly-affinity={instance}"));
    for weight in [50, 1, 99] {
        house.target = target(&[(&first, 100 - weight), (&newer, weight)]);
        for (fake, instance) in [(&old, kept), (&new, other)].into_iter().cycle().take(40) {
            let (id, call) = house.ask(cookie(instance));
            settle().await;
            assert_eq!(fake.ids(), [id], "at {weight} %");
            fake.end(id, Ok(End::ok(200)));
            assert!(!call.await.unwrap().unwrap().headers().contains_key("set-cookie"), "no other cookie");
        }
    }
    // A revision without a share gets nobody, and an instance that is leaving neither.
    house.target = target(&[(&first, 0), (&newer, 100)]);
    let (id, call) = house.ask(cookie(kept));
    settle().await;
    new.end(id, Ok(End::ok(200)));
    assert!(call.await.unwrap().unwrap().headers().contains_key("set-cookie"));
    house.target = target(&[(&first, 1), (&newer, 99)]);
    let calls: Vec<_> = (0..20).map(|_| house.ask(cookie(kept))).collect();
    settle().await;
    assert_eq!(old.ids().len(), 20);
    old.end_all();
    drop(calls);
    let _drained = house.dispatcher.drain(kept);
    let calls: Vec<_> = (0..20).map(|_| house.ask(cookie(kept))).collect();
    settle().await;
    assert!(!new.ids().is_empty() && old.ids().is_empty(), "by weight again");
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn a_fault_says_which_revision_was_chosen() {
    let house = House::with("[resilience.circuit]\ncalls_min = 1\n", Options::default());
    let revision = |fault: Fault| fault.revision().map(ToString::to_string);
    let fault = house.call().1.await.unwrap().unwrap_err();
    assert_eq!((fault.code, revision(fault).as_deref()), (Code::CapacityExhausted, Some("hello@1")));
    let (fake, _) = house.add();
    let (id, call) = house.call();
    settle().await;
    fake.end(id, Err(Refused::Broken(Fault::new(Code::FunctionTimeout, "30s"))));
    let fault = call.await.unwrap().unwrap_err();
    assert_eq!((fault.code, revision(fault).as_deref()), (Code::FunctionTimeout, Some("hello@1")));
    let fault = house.call().1.await.unwrap().unwrap_err();
    assert_eq!((fault.code, revision(fault).as_deref()), (Code::CircuitOpen, Some("hello@1")));
    type Answered = Result<http::Response<Body>, Fault>;
    assert_eq!(size_of::<Answered>(), size_of::<http::Response<Body>>(), "a fault makes no call's state larger");
    // Where no revision could be chosen, none is named.
    let nowhere = House { target: target(&[]), ..House::new(1, Options::default()) };
    assert_eq!(nowhere.call().1.await.unwrap().unwrap_err().revision(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_another_try_is_worth_it() {
    let after = |answer: Result<http::Response<Body>, Fault>| {
        let fault = answer.unwrap_err();
        (fault.code, fault.retry_after().unwrap())
    };
    // A call takes 8 s, and there is one slot.
    let slow = async |more: &str, options| {
        let house = House::with(&format!("[scale]\nmax = 1\n{more}"), options);
        let (fake, _) = house.add();
        let (id, call) = house.call();
        settle().await;
        tokio::time::advance(Duration::from_secs(8)).await;
        fake.end(id, Ok(End::ok(200)));
        assert!(call.await.unwrap().is_ok());
        (house, fake)
    };
    // Two wait before it, the third turn is its own: 24 s, a quarter more than the mean says, less the bound of 25 s.
    let (house, _) = slow("[resilience]\nwait = '25s'", Options::default()).await;
    let _held: Vec<_> = (0..3).map(|_| house.call()).collect();
    settle().await;
    assert_eq!(after(house.call().1.await.unwrap()), (Code::Overloaded, 5));

    let options = Options { queue_max: 2, ..Options::default() };
    let (house, _) = slow("[resilience]\nwait = '60s'", options).await;
    let _held: Vec<_> = (0..3).map(|_| house.call()).collect();
    settle().await;
    assert_eq!(after(house.call().1.await.unwrap()), (Code::QueueFull, 30));
    // Nothing is known yet.
    let house = House::new(1, Options { queue_max: 0, ..Options::default() });
    assert_eq!(after(house.call().1.await.unwrap()), (Code::QueueFull, 1));

    // Of two calls that take 8 s, one ends every 4 s.
    let (house, _) = slow("", Options::default()).await;
    let limited = limits(&house.dispatcher, Some(2));
    let _held: Vec<_> = (0..2).map(|_| house.call()).collect();
    settle().await;
    assert_eq!(after(house.call().1.await.unwrap()), (Code::FunctionLimit, 4));
    let stopped = HashMap::from([("hello".parse().unwrap(), 0)]);
    limited.send_replace(Arc::new(wire::Snapshot { limits: Arc::new(stopped), ..Default::default() }));
    settle().await;
    assert_eq!(after(house.call().1.await.unwrap()), (Code::FunctionStopped, 60));

    let house = House::with("[resilience.circuit]\ncalls_min = 1\nopen = '20s'", Options::default());
    let (fake, _) = house.add();
    let _ = through(&house, &fake, End::ok(500)).await;
    tokio::time::advance(Duration::from_millis(6500)).await;
    assert_eq!(after(house.call().1.await.unwrap()), (Code::CircuitOpen, 14));
}

#[tokio::test(start_paused = true)]
async fn the_tally_counts_what_is_the_functions_fault() {
    let house = House::with("[resilience.circuit]\ncalls_min = 3\nfailures = 60", Options::default());
    let (fake, _) = house.add();
    let tally = || house.dispatcher.tally(&house.revision.id).map(|tally| (tally.calls, tally.failed));
    assert_eq!(tally(), Some((0, 0)));
    for (end, want) in [
        (End::ok(200), (1, 0)),
        (End::ok(404), (2, 0)),
        (End { outcome: Outcome::Cancelled, status: 0, code: None }, (2, 0)),
        (End::fault(&Fault::new(Code::BadRequest, "")), (2, 0)),
        (End::fault(&Fault::new(Code::FunctionError, "")), (3, 1)),
        (End::ok(503), (4, 2)),
        (End::ok(503), (5, 3)),
    ] {
        let _ = through(&house, &fake, end).await;
        assert_eq!(tally(), Some(want), "{end:?}");
    }
    // The circuit opened: who is refused was failed by the function.
    assert_eq!(house.call().1.await.unwrap().unwrap_err().code, Code::CircuitOpen);
    assert_eq!(tally(), Some((6, 4)));
    // Too many calls are nobody's failure.
    let limited = limits(&house.dispatcher, Some(0));
    assert_eq!(house.call().1.await.unwrap().unwrap_err().code, Code::FunctionStopped);
    assert_eq!(tally(), Some((6, 4)));
    drop(limited);
}

/// A host whose instances are fakes.
struct Place(Arc<Fake>);

impl wire::Host for Place {
    fn start(&self, _: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        let link = Arc::clone(&self.0) as Arc<dyn Link>;
        Box::pin(async move {
            let (_alive, exit) = watch::channel(None);
            std::mem::forget(_alive);
            Ok(Started { id: InstanceId::random(), link, phases: Vec::new(), at: Timestamp(0), exit })
        })
    }
    fn stop(&self, _: InstanceId, _: wire::Stop) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    fn instances(&self) -> Vec<types::api::InstanceView> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn cold_starts_work_without_fleet_and_control() {
    let house = House::new(1, Options::default());
    let sender = limits(&house.dispatcher, None);
    drop(sender);
    let fake = Arc::new(Fake::default());
    house.dispatcher.stand_by(Arc::new(Place(Arc::clone(&fake))));
    let begun = tokio::time::Instant::now();
    let (id, call) = house.call();
    while fake.ids().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(9), "nobody started an instance");
    }
    fake.end(id, Ok(End::ok(200)));
    assert!(call.await.unwrap().is_ok());
    // Warm from here on.
    assert!(through(&house, &fake, End::ok(200)).await.is_ok());
    assert_eq!(house.dispatcher.events(&"hello".parse().unwrap())[0].what, types::Happening::EmergencyStart);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_looks_is_not_stood_in_for() {
    let house = House::new(1, Options::default());
    let fake = Arc::new(Fake::default());
    house.dispatcher.stand_by(Arc::new(Place(Arc::clone(&fake))));
    let (_, call) = house.call();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        house.dispatcher.load();
    }
    assert!(fake.ids().is_empty() && house.waiting() == 1);
    call.abort();
}
