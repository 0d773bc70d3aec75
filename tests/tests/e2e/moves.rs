//! Calls that move from one set of instances to another find as many there as they need; starts that hang are in nobody's way.

use mayfly_tests::{Client, Folder, Platform, eventually};
use serde_json::Value;
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Callers that each have a call under way all the time, and what a call takes.
const CALLERS: usize = 5;
const CALL: Duration = Duration::from_millis(100);
/// Calls of all callers together that have to be seen on each side of a change.
const ENOUGH: u64 = 50;

fn busy(salt: u32) -> Folder {
    let code = format!(
        "// {salt}\nrequire('node:http').createServer((_, response) => setTimeout(() => response.end('ok'), {})).listen(process.env.MAYFLY_SOCKET);\n",
        CALL.as_millis()
    );
    Folder::node_server("busy", "concurrency = 1\n[scale]\nmax = 12", &code)
}

/// What the callers met.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    calls: AtomicU64,
    slowest_ms: AtomicU64,
}

impl Seen {
    /// Calls until told to stop; a call that fails is a panic.
    fn call(&self, client: &Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            client.get("/busy").ok();
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
            self.slowest_ms.fetch_max(ms, Ordering::Relaxed);
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn goes_on(&self) {
        let seen = self.calls.load(Ordering::Relaxed);
        eventually(LIMIT, "the load goes on", || self.calls.load(Ordering::Relaxed) > seen + ENOUGH);
    }
}

/// Stops the callers however the test ends.
struct Stop<'a>(&'a Seen);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Calls that waited for a start, of those that are remembered of a revision.
fn cold(platform: &Platform, revision: &str) -> (usize, usize) {
    let list = platform.api().get("/v1/functions/busy/invocations?limit=1000").ok().json();
    let all: Vec<Value> = list["invocations"].as_array().cloned().unwrap_or_default();
    let own: Vec<&Value> = all.iter().filter(|call| call["revision"] == revision).collect();
    (own.iter().filter(|call| call["cold"] == true).count(), own.len())
}

/// "an exclusive function with several busy instances under constant load through deploy and take-over".
#[test]
fn busy_exclusive_instances_are_there_before_their_calls_move() {
    let mut platform = Platform::start();
    platform.deploy(&busy(1));
    let (client, seen) = (platform.gateway(), Seen::default());
    thread::scope(|scope| {
        let _stop = Stop(&seen);
        for _ in 0..CALLERS {
            scope.spawn(|| seen.call(&client));
        }
        eventually(LIMIT, "an instance for each caller", || platform.instances("busy").len() >= CALLERS);
        seen.goes_on();
        let before = seen.slowest_ms.swap(0, Ordering::Relaxed);
        let ended = platform.mayfly(&["deploy", &busy(2).arg()]).ok();
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("instances are ready for its calls"), "{said}");
        seen.goes_on();
        let (waited, all) = cold(&platform, "busy@2");
        let deploy = seen.slowest_ms.swap(0, Ordering::Relaxed);
        assert!(all > 0 && waited <= 1, "after the deploy, {waited} of {all} calls waited for a start");

        platform.take_over(LIMIT);
        seen.goes_on();
        let (waited, all) = cold(&platform, "busy@2");
        let take_over = seen.slowest_ms.load(Ordering::Relaxed);
        assert!(all > 0 && waited <= 1, "after the take-over, {waited} of {all} calls waited for a start");
        println!("slowest call: {before} ms at first, {deploy} ms at the deploy, {take_over} ms at the take-over");
    });
}

/// "function A's starts hang, function B answers its cold call within its usual time and a deploy of C passes".
#[test]
fn starts_that_hang_are_in_nobodys_way() {
    let platform = Platform::start();
    let flag = platform.scratch().join("database-is-down");
    let hangs = format!(
        "import os, time\nwhile os.path.exists({:?}):\n    time.sleep(0.1)\ndef handler(event, context):\n    return 1\n",
        flag.to_str().unwrap()
    );
    let works = "def handler(event, context):\n    return 1\n";
    let places = thread::available_parallelism().map_or(1, usize::from) * 8;
    let many = format!("concurrency = 1\nstart_timeout = \"2m\"\n[scale]\nidle = \"1s\"\nmax = {}", places + 4);
    platform.deploy(&Folder::python("hangs", &many, &hangs));
    platform.deploy(&Folder::python("works", "[scale]\nidle = \"1s\"", works));
    eventually(LIMIT, "both are at zero", || {
        platform.instances("hangs").is_empty() && platform.instances("works").is_empty()
    });
    fs::write(&flag, "").unwrap();
    let starting = || {
        let list = platform.api().get("/v1/functions/hangs/instances").ok().json();
        let all = list["instances"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|instance| instance["state"] == "starting").count()
    };
    let gateway = platform.gateway();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..places + 4).map(|_| scope.spawn(|| gateway.try_send("GET", "/hangs", b""))).collect();
        eventually(LIMIT, "half of all places hang", || starting() == places / 2);
        let begun = Instant::now();
        gateway.get("/works").ok();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "its cold call took {took:?}");
        platform.deploy(&Folder::python("third", "", works));
        gateway.get("/third").ok();
        assert_eq!(starting(), places / 2, "they hang still, and are not more");
        fs::remove_file(&flag).unwrap();
        for caller in callers {
            let answer = caller.join().unwrap().unwrap();
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
        }
    });
}
