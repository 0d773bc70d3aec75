//! Why there are as many instances as there are: CPU, time windows, crash loops, many functions at once, and what is said of it.

use mayfly_tests::{Folder, Platform, eventually};
use serde_json::Value;
use std::{thread, time::Duration};

/// The newest revision's last decision.
fn scaling(platform: &Platform, name: &str) -> Value {
    let document = platform.api().get(&format!("/v1/functions/{name}/scaling")).ok().json();
    document["revisions"][0].clone()
}

fn input(scaling: &Value, name: &str) -> u64 {
    let inputs = scaling["inputs"].as_array().cloned().unwrap_or_default();
    inputs.iter().find(|input| input["name"] == name).and_then(|input| input["instances"].as_u64()).unwrap_or(0)
}

/// "CPU as an input, run against real processes": its slots are far from full, its core is not.
#[test]
fn a_function_that_burns_cpu_gets_another_instance() {
    let platform = Platform::shared();
    let code = "exports.handler = async () => { const end = Date.now() + 60; while (Date.now() < end); return process.pid; };\n";
    platform.deploy(&Folder::node("burns", "concurrency = 50\n[scale]\nmax = 2\ncpu = 20", code));
    let load = crate::load::Load::start(&platform.gateway(), "/burns");
    eventually(Duration::from_secs(30), "the CPU of its processes asks for two", || {
        let scaling = scaling(&platform, "burns");
        input(&scaling, "cpu") == 2 && scaling["traffic"]["cpu"].as_f64().is_some_and(|cores| cores > 0.2)
    });
    eventually(Duration::from_secs(10), "two instances", || platform.instances("burns").len() == 2);
    load.none_failed();
}

/// "schedule floors (cron windows) with a held window" and "`min = 1`": without a call.
#[test]
fn a_time_window_and_a_minimum_hold_instances_without_a_call() {
    let platform = Platform::shared();
    let code = "def handler(event, context):\n    return 1\n";
    let schedule = "[scale]\nidle = \"1s\"\nschedule = [{ cron = \"* * * * *\", duration = \"2m\", min = 2 }]";
    platform.deploy(&Folder::python("office", schedule, code));
    platform.deploy(&Folder::python("always", "[scale]\nidle = \"1s\"\nmin = 1", code));
    eventually(Duration::from_secs(15), "two for the window", || platform.instances("office").len() == 2);
    let said = scaling(&platform, "office");
    assert_eq!(input(&said, "schedule"), 2, "{said}");
    eventually(Duration::from_secs(15), "one for `min`, idle for long", || {
        let said = scaling(&platform, "always");
        said["reason"].as_str().is_some_and(|reason| reason.contains("`min` keeps")) && said["ready"] == 1
    });
    let described = platform.mayfly(&["describe", "office", "--scaling"]).ok();
    assert!(described.stdout.contains("a time window is open"), "{described:?}");
    assert_eq!(platform.instances("always").len(), 1);
}

/// "start failures (crash loop: back-off, seen in `describe --scaling` with its reason, 502/503 to the caller)".
#[test]
fn a_crash_loop_is_told_to_the_caller_and_to_the_owner() {
    let platform = Platform::start();
    let flag = platform.scratch().join("down");
    let code = format!(
        "import os\nif os.path.exists({:?}):\n    raise RuntimeError('no database')\ndef handler(event, context):\n    return 1\n",
        flag.to_str().unwrap()
    );
    platform.deploy(&Folder::python("loops", "[scale]\nidle = \"1s\"", &code));
    platform.gateway().get("/loops").ok();
    eventually(Duration::from_secs(15), "it scales to zero", || platform.instances("loops").is_empty());
    std::fs::write(&flag, "").unwrap();
    for _ in 0..5 {
        let refused = platform.gateway().get("/loops").problem(502, "start_failed");
        assert_eq!(refused.json()["blame"], "function", "{refused:?}");
    }
    let said = scaling(&platform, "loops");
    assert!(said["failing"].as_str().is_some_and(|why| why.contains("no database")), "{said}");
    let described = platform.mayfly(&["describe", "loops", "--scaling"]).ok();
    assert!(
        described.stdout.contains("nothing is started for now") && described.stdout.contains("no database"),
        "{described:?}"
    );
    std::fs::remove_file(&flag).unwrap();
    eventually(Duration::from_secs(15), "it heals by itself", || {
        platform.gateway().send("GET", "/loops", b"").status == 200
    });
}

/// "100 functions at once from zero (thundering start) bounded by the growth budget, nothing lost".
#[test]
fn a_hundred_functions_start_at_once_and_lose_nothing() {
    let platform = Platform::start();
    let names: Vec<String> = (0..100).map(|n| format!("many{n}")).collect();
    for name in &names {
        platform.deploy(&Folder::command(name, "[scale]\nidle = \"1s\"", "#!/bin/sh\necho \"$0\"\n"));
    }
    eventually(Duration::from_secs(60), "all are at zero", || {
        names.iter().all(|name| platform.instances(name).is_empty())
    });
    let gateway = platform.gateway();
    let call = &|name: &String| gateway.get(&format!("/{name}"));
    thread::scope(|scope| {
        let calls: Vec<_> = names.iter().map(|name| scope.spawn(move || call(name))).collect();
        for call in calls {
            call.join().unwrap().ok();
        }
    });
}
