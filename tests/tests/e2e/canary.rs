//! A new revision gets the traffic by steps, and loses it by itself where it does worse.

use crate::load::Load;
use mayfly_tests::{Folder, Platform, eventually};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(90);
const GOOD: &str = "def handler(event, context):\n    return context.function_version\n";
const THROWS: &str = "def handler(event, context):\n    raise ValueError('the new one is broken')\n";
const SLOW: &str =
    "import time\ndef handler(event, context):\n    time.sleep(0.08)\n    return context.function_version\n";

fn live(platform: &Platform, name: &str) -> Value {
    platform.api().get(&format!("/v1/functions/{name}/aliases/live")).ok().json()
}

/// What happened, newest first, with the revision's number.
fn events(platform: &Platform, name: &str) -> Vec<(String, String)> {
    let list = platform.api().get(&format!("/v1/functions/{name}/events")).ok().json();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let of_alias = |event: &&Value| matches!(event["what"].as_str(), Some(what) if what.starts_with("canary") || what == "rolled_back");
    list["events"].as_array().unwrap().iter().filter(of_alias).map(|e| (text(e, "what"), text(e, "text"))).collect()
}

/// Calls from four sides until `done`; how many were answered by each revision, and how many of those were no 200.
fn call_until(platform: &Platform, path: &str, done: impl Fn() -> bool) -> [(u32, u32); 2] {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = || {
            let mut counts = [(0, 0); 2];
            while !stop.load(Relaxed) {
                let answer = platform.gateway().get(path);
                // A fault says whose it is, too.
                let revision = answer.header("mayfly-revision");
                let second = revision.unwrap_or_else(|| panic!("no revision: {answer:?}")).ends_with("@2");
                let (calls, failed) = &mut counts[usize::from(second)];
                *calls += 1;
                *failed += u32::from(answer.status != 200);
            }
            counts
        };
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        let end = std::time::Instant::now() + SOON;
        while !done() && std::time::Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Relaxed);
        let mut all = [(0, 0); 2];
        for counts in callers.into_iter().map(|caller| caller.join().unwrap()) {
            for (sum, count) in all.iter_mut().zip(counts) {
                *sum = (sum.0 + count.0, sum.1 + count.1);
            }
        }
        all
    })
}

/// "canary steps with automatic rollback on error rate … against the old revision": one that throws for all.
#[test]
fn a_bad_revision_is_rolled_back_under_load() {
    let platform = Platform::shared();
    let folder = Folder::python("breaks", "[scale]\nmax = 4", GOOD);
    platform.deploy(&folder);
    folder.write("app.py", THROWS);
    let deployed = platform.mayfly(&["deploy", &folder.arg(), "--canary", "20%,50%", "--every", "1h"]).ok();
    assert!(deployed.stdout.contains("breaks@2 takes 20 % of the calls"), "{deployed:?}");
    let alias = live(platform.as_ref(), "breaks");
    assert_eq!((alias["canary"]["from"].as_u64(), alias["canary"]["to"].as_u64()), (Some(1), Some(2)), "{alias}");
    let shown = platform.mayfly(&["describe", "breaks"]).ok();
    assert!(shown.stdout.contains("live: revision 2 has 20 % for 1h (step 1 of 2)"), "{shown:?}");

    let metrics = || platform.admin().get("/metrics").ok().text();
    let weight = "mayfly_canary_weight{function=\"breaks\",alias=\"live\"} 20\n";
    eventually(SOON, "the metric of its share", || metrics().contains(weight));

    let back = || live(&platform, "breaks")["targets"] == json!([{"revision": 1, "weight": 100}]);
    let [(old, old_failed), (new, new_failed)] = call_until(&platform, "/breaks", back);
    assert!(back(), "it is not rolled back after {new_failed} of {new} failed calls");
    assert!(old > 40 && old_failed == 0, "{old_failed} of {old}");
    assert!(new >= 20 && new == new_failed, "{new_failed} of {new}");
    assert!(metrics().contains("mayfly_canary_verdicts_total{function=\"breaks\",verdict=\"errors\"} 1\n"));
    eventually(SOON, "its share is told no more", || !metrics().contains("mayfly_canary_weight{function=\"breaks\""));
    // From here on nobody meets it, and people see why.
    let load = Load::start(&platform.gateway(), "/breaks");
    load.goes_on();
    load.none_failed();
    let events = events(&platform, "breaks");
    assert_eq!(events.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), ["rolled_back", "canary_step"]);
    assert!(events[0].1.contains("more calls fail"), "{events:?}");
    let shown = platform.mayfly(&["describe", "breaks"]).ok();
    assert!(shown.stdout.contains("rolled back") && !shown.stdout.contains("it goes back to 1"), "{shown:?}");
    let told = |line: &Value| line["text"].as_str().is_some_and(|text| text.starts_with("rolled back: `live` is back"));
    assert!(platform.logs("breaks").iter().any(told), "the log tells it");
}

/// "… or latency": one that answers, and takes 80 ms more.
#[test]
fn a_slow_revision_is_rolled_back_under_load() {
    let platform = Platform::shared();
    let folder = Folder::python("slows", "[scale]\nmax = 4", GOOD);
    platform.deploy(&folder);
    folder.write("app.py", SLOW);
    let arg = folder.arg();
    let wait = ["deploy", &arg, "--canary", "50", "--every", "3s", "--wait"];
    let (ended, counts) = thread::scope(|scope| {
        let deploy = scope.spawn(|| platform.mayfly(&wait));
        let counts = call_until(&platform, "/slows", || deploy.is_finished());
        (deploy.join().unwrap(), counts)
    });
    // Who deploys from a script learns of it.
    ended.fails(1, &["`live` is back on revision 1", "The new revision did worse"]);
    let [(_, old_failed), (new, new_failed)] = counts;
    assert_eq!((old_failed, new_failed), (0, 0), "of {new} calls of the new one");
    assert_eq!(live(&platform, "slows")["targets"], json!([{"revision": 1, "weight": 100}]));
    let events = events(&platform, "slows");
    assert!(events[0].0 == "rolled_back" && events[0].1.contains("of its calls took less than"), "{events:?}");
}

/// A good one is promoted without a failed call, and a rollback by hand leads back.
#[test]
fn a_good_revision_is_promoted_under_load() {
    let platform = Platform::shared();
    // What the manifest says holds where the command line says nothing.
    let manifest = "[scale]\nmax = 4\n[canary]\nsteps = ['20%', '50%:2s']\nevery = '2s'\nlatency = 1000";
    let folder = Folder::python("grows", manifest, GOOD);
    platform.deploy(&folder);
    folder.write("app.py", format!("# the second\n{GOOD}"));
    let load = Load::start(&platform.gateway(), "/grows");
    let record = platform.deploy(&folder);
    assert_eq!(record["canary"]["steps"], json!(["20%", "50%:2s"]), "{record}");
    eventually(SOON, "the second step", || live(&platform, "grows")["canary"]["step"] == 1);
    eventually(SOON, "it has all", || live(&platform, "grows")["canary"].is_null());
    load.goes_on();
    load.none_failed();
    assert_eq!(platform.gateway().get("/grows").ok().json(), "2");
    let events = events(&platform, "grows");
    let whats: Vec<_> = events.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["canary_done", "canary_step", "canary_step"], "{events:?}");
    platform.mayfly(&["rollback", "grows"]).ok();
    assert_eq!(platform.gateway().get("/grows").ok().json(), "1");
}

/// kill -9 in the middle: the split is served as it was, and the canary goes on.
#[test]
fn a_canary_outlives_the_platform() {
    let mut platform = Platform::start();
    let folder = Folder::python("stays", "", GOOD);
    platform.deploy(&folder);
    folder.write("app.py", format!("# the second\n{GOOD}"));
    platform.mayfly(&["deploy", &folder.arg(), "--canary", "50%", "--every", "3s"]).ok();
    let before = live(&platform, "stays");
    platform.restart();
    assert_eq!(live(&platform, "stays"), before);
    let [(old, _), (new, _)] = call_until(&platform, "/stays", || live(&platform, "stays")["canary"].is_null());
    assert!(old > 0 && new > 0, "{old} and {new}");
    assert_eq!(live(&platform, "stays")["targets"], json!([{"revision": 2, "weight": 100}]));
    // By hand: an alias of one's own, and its end.
    platform.mayfly(&["alias", "set", "stays", "mine", "1"]).ok();
    platform.mayfly(&["alias", "set", "stays", "mine", "2", "--canary", "5%:1h"]).ok();
    let listed = platform.mayfly(&["alias", "list", "stays"]).ok();
    assert!(listed.stdout.contains("mine: revision 2 has 5 % for 1h (step 1 of 1)"), "{listed:?}");
    platform.mayfly(&["alias", "set", "stays", "mine", "2"]).ok();
    assert_eq!(events(&platform, "stays")[0].0, "canary_ended");
}
