//! How many instances there are: exclusive slots, out to the limit, down to nothing, never below the minimum.

use mayfly_tests::{Folder, Platform, eventually};
use std::{
    thread,
    time::{Duration, Instant},
};

/// "slots per instance (exclusive and shared)": two calls are never in one exclusive instance, and ten fit into a
/// shared one.
#[test]
fn an_exclusive_instance_has_one_call_at_a_time() {
    let platform = Platform::shared();
    let code = "let inside = 0, most = 0;\n\
        exports.handler = async () => {\n  most = Math.max(most, ++inside);\n  await new Promise((r) => setTimeout(r, 50));\n  \
        inside--; return { most, pid: process.pid };\n};\n";
    platform.deploy(&Folder::node("alone", "[scale]\nmax = 3", code));
    platform.deploy(&Folder::node("together", "concurrency = 10\n[scale]\nmax = 1", code));
    let most = |name: &str| -> (u64, usize) {
        let path = format!("/{name}");
        let answers = thread::scope(|scope| {
            let calls: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| (0..5).map(|_| platform.gateway().get(&path).ok().json()).collect::<Vec<_>>()))
                .collect();
            calls.into_iter().flat_map(|call| call.join().unwrap()).collect::<Vec<_>>()
        });
        let pids: std::collections::HashSet<u64> = answers.iter().map(|a| a["pid"].as_u64().unwrap()).collect();
        (answers.iter().map(|answer| answer["most"].as_u64().unwrap()).max().unwrap(), pids.len())
    };
    let (at_once, instances) = most("alone");
    assert_eq!(at_once, 1, "calls met in an exclusive instance");
    assert!((2..=3).contains(&instances), "{instances} instances for ten callers, at most 3 allowed");
    let (at_once, instances) = most("together");
    assert!(at_once > 3, "only {at_once} calls at once in ten slots");
    assert_eq!(instances, 1);
}

/// "bounded waiting while an instance starts (DESIGN §4: … 10 s … then 429 with `Retry-After`)", and "scaling from 0 to
/// max": three calls have three instances, the fourth waits in vain.
#[test]
fn a_full_function_sheds_with_retry_after() {
    let platform = Platform::shared();
    let code = "import time\ndef handler(event, context):\n    time.sleep(float(event['queryStringParameters']['s']))\n    return context.aws_request_id\n";
    platform.deploy(&Folder::python("full", "[scale]\nmax = 3", code));
    thread::scope(|scope| {
        let busy: Vec<_> = (0..3).map(|_| scope.spawn(|| platform.gateway().get("/full?s=13").ok())).collect();
        eventually(Duration::from_secs(10), "three instances are there", || platform.instances("full").len() == 3);
        let begun = Instant::now();
        let refused = platform.gateway().get("/full?s=0").problem(429, "capacity_exhausted");
        let waited = begun.elapsed().as_secs_f64();
        assert!((9.0..12.5).contains(&waited), "it waited for {waited} s");
        assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        assert_eq!(platform.instances("full").len(), 3);
        for call in busy {
            call.join().unwrap();
        }
    });
    platform.gateway().get("/full?s=0").ok();
}

/// "back to 0 after an idle time, min instances".
#[test]
fn idle_instances_go_and_the_minimum_stays() {
    let platform = Platform::shared();
    let code = "import os\ndef handler(event, context):\n    return os.getpid()\n";
    platform.deploy(&Folder::python("idles", "[scale]\nidle = \"1s\"", code));
    platform.deploy(&Folder::python("keeps", "[scale]\nidle = \"1s\"\nmin = 2", code));
    eventually(Duration::from_secs(10), "two instances without a call", || platform.instances("keeps").len() == 2);
    let first = platform.gateway().get("/idles").ok().json();
    eventually(Duration::from_secs(15), "it scales to zero", || platform.instances("idles").is_empty());
    let pid = first.as_u64().unwrap() as u32;
    eventually(Duration::from_secs(5), "its process is gone", || !mayfly_tests::processes::is_alive(pid));
    let second = platform.gateway().get("/idles").ok().json();
    assert_ne!(first, second, "a new instance answers");
    let calls = platform.mayfly(&["--json", "invocations", "idles"]).ok().json();
    assert_eq!(calls["invocations"][0]["cold"], true, "{calls}");
    assert_eq!(platform.instances("keeps").len(), 2, "the minimum outlives the idle time");
    // One that is killed is replaced without a call.
    platform.kill_instances("keeps");
    eventually(Duration::from_secs(10), "the minimum is whole again", || platform.instances("keeps").len() == 2);
}
