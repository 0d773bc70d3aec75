//! What callers get when there is too much to do and when calls fail: `[resilience]` and `[traffic]` through real deploys.

use mayfly_tests::{Client, Folder, Platform, Start, eventually, http::KeepAlive};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(30);
/// SHA-256 of `one-token` and `two-token`.
const ONE: &str = "4c135fb168d8874ad2ef74de308f89e2898a577600667cb7c58c57a2bae01475";
const TWO: &str = "f030a8ac87b31b5a76b4d5f5c821bfa8d4087db95189299a17832426a95b4e3a";

/// Throws for `?fail`, answers what it was asked otherwise.
const FRAIL: &str = "def handler(event, context):\n    if event['rawQueryString'].startswith('fail'): raise ValueError('no')\n    \
    return 'own ' + event['rawPath']\n";

/// Sleeps for `?s=` seconds.
const SLEEPS: &str = "import time\ndef handler(event, context):\n    \
    time.sleep(float(event['queryStringParameters']['s']))\n    return event['rawPath']\n";

/// Fails until the circuit is open.
fn open_circuit(client: &Client, path: &str) {
    eventually(SOON, "the circuit opens", || {
        let answer = client.get(&format!("{path}?fail"));
        answer.header("mayfly-degraded").is_some() || answer.status == 503
    });
}

/// Calls of a function that run and wait, as the platform's last look saw them.
fn calls(platform: &Platform, name: &str) -> u64 {
    let list = platform.api().get(&format!("/v1/functions/{name}/scaling")).ok().json();
    list["revisions"][0]["traffic"]["calls"].as_u64().unwrap_or(0)
}

/// "when open or overloaded the function's policy decides: fail fast, serve stale from cache, call a fallback function, or
/// a static answer".
#[test]
fn an_open_circuit_leads_to_what_the_owner_says() {
    let platform = Platform::shared();
    let gateway = platform.gateway();
    let circuit = "[resilience.circuit]\ncalls_min = 2\nopen = '30s'\n";
    platform.deploy(&Folder::python(
        "spare",
        "",
        "def handler(event, context):\n    return 'spare ' + event['rawPath']\n",
    ));
    for (name, degrade) in [
        ("fails-fast", ""),
        ("falls-back", "[resilience.degrade]\nfallback = 'spare'\nanswer = { status = 203, body = 'later' }"),
        (
            "falls-nowhere",
            "[resilience.degrade]\nfallback = 'nobody'\nanswer = { status = 203, type = 'text/x', body = 'later' }",
        ),
        ("goes-stale", "[resilience.degrade]\nstale = '10m'\nanswer = { status = 203, body = 'later' }"),
    ] {
        platform.deploy(&Folder::python(name, &format!("{circuit}{degrade}"), FRAIL));
        assert_eq!(gateway.get(&format!("/{name}/kept")).ok().json(), "own /kept");
        open_circuit(&gateway, &format!("/{name}"));
    }
    let refused = gateway.get("/fails-fast/kept").problem(503, "circuit_open");
    assert_eq!(refused.header("mayfly-revision"), Some("fails-fast@1"), "a fault says whose it is");
    let after: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((2..=30).contains(&after), "the time that it stays open, not {after} s");

    let spare = gateway.get("/falls-back/any").ok();
    assert_eq!((spare.header("mayfly-degraded"), spare.json()), (Some("fallback"), "spare /any".into()));
    assert_eq!(spare.header("mayfly-revision"), Some("spare@1"), "who answered says so");

    let fixed = gateway.get("/falls-nowhere/any");
    assert_eq!((fixed.status, fixed.header("mayfly-degraded"), fixed.text().as_str()), (203, Some("static"), "later"));
    assert_eq!(fixed.header("content-type"), Some("text/x"));
    assert_eq!(fixed.header("mayfly-revision"), Some("falls-nowhere@1"));

    let stale = gateway.get("/goes-stale/kept").ok();
    assert_eq!((stale.header("mayfly-degraded"), stale.json()), (Some("stale"), "own /kept".into()));
    let fixed = gateway.get("/goes-stale/never-asked");
    assert_eq!((fixed.status, fixed.header("mayfly-degraded")), (203, Some("static")));
    let private = gateway.with("cookie", "me=1").get("/goes-stale/kept");
    assert_eq!(private.status, 203, "what has credentials is never answered from what is kept");
    let told = |event: &Value| event["what"] == "circuit_opened";
    let events = platform.api().get("/v1/functions/goes-stale/events").ok().json();
    assert!(events["events"].as_array().unwrap().iter().any(told), "{events}");
}

/// "429 with a reason code and Retry-After when it is full", with what is known in it.
#[test]
fn a_full_queue_says_when_to_come_again() {
    let platform = Platform::shared();
    let manifest = "[scale]\nmax = 1\n[resilience]\nqueue_max = 1\nwait = '60s'";
    platform.deploy(&Folder::python("narrow", manifest, SLEEPS));
    // It learns that a call takes three seconds.
    platform.gateway().get("/narrow?s=3").ok();
    thread::scope(|scope| {
        let held: Vec<_> = (0..2).map(|_| scope.spawn(|| platform.gateway().get("/narrow?s=3").ok())).collect();
        eventually(SOON, "one runs and one waits", || calls(&platform, "narrow") == 2);
        let begun = Instant::now();
        let refused = platform.gateway().get("/narrow?s=0").problem(429, "queue_full");
        assert!(begun.elapsed() < Duration::from_secs(2), "at once");
        let after: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        // Two turns of three seconds, and a quarter more.
        assert!((7..=10).contains(&after), "{after} s");
        held.into_iter().for_each(|call| drop(call.join().unwrap()));
    });
}

/// "fair order among callers": by address, as trusted proxies tell it, and by token where there is one.
#[test]
fn callers_take_turns() {
    let args = ["--trusted-proxies", "127.0.0.1"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Start { args, ..Start::default() });
    let narrow = "[scale]\nmax = 1\n[resilience]\nwait = '60s'\n";
    let tokens = format!("{narrow}[access]\nauth = 'token'\ntoken_sha256 = ['{ONE}', '{TWO}']");
    platform.deploy(&Folder::python("by-address", narrow, SLEEPS));
    platform.deploy(&Folder::python("by-token", &tokens, SLEEPS));
    let plain = platform.gateway();
    let token = |name: &str| plain.with("authorization", &format!("Bearer {name}"));
    let address = |ip: &str| plain.with("x-forwarded-for", ip);
    for (path, greedy, quiet) in [
        ("/by-address", address("203.0.113.1"), address("203.0.113.2")),
        ("/by-token", token("one-token"), token("two-token")),
    ] {
        let ended = Mutex::new(Vec::new());
        let ask = |client: &Client, who: &'static str| {
            client.get(&format!("{path}?s=0.4")).ok();
            ended.lock().unwrap().push(who);
        };
        thread::scope(|scope| {
            for _ in 0..9 {
                scope.spawn(|| ask(&greedy, "greedy"));
            }
            eventually(SOON, "nine calls are there", || calls(&platform, &path[1..]) >= 6);
            let before = ended.lock().unwrap().len();
            ask(&quiet, "quiet");
            let order = ended.lock().unwrap().clone();
            let turns = order.iter().position(|who| *who == "quiet").unwrap() - before;
            // One that runs, one whose turn it is, and one that ended while this was asked.
            assert!(turns <= 3 && order.len() < 9, "{turns} turns at {path}: {order:?}");
        });
    }
}

/// "per-function and per-tenant cluster limits (reserved concurrency: guarantee and cap; 0 = stop)".
#[test]
fn a_limit_is_a_guarantee_and_a_cap() {
    let args = ["--calls-max", "5"].map(str::to_owned).to_vec();
    let platform = Platform::start_with(Start { args, ..Start::default() });
    platform.deploy(&Folder::python("kept", "", SLEEPS));
    platform.deploy(&Folder::python("other", "", SLEEPS));
    platform.mayfly(&["limit", "kept", "2"]).ok();
    // What is guaranteed has to be there, and a share stays for the others.
    platform.mayfly(&["limit", "other", "3"]).fails(2, &["so 2 is the most"]);
    let info = platform.mayfly(&["info"]).ok();
    assert!(info.stdout.contains("5 at once, 3 of them for functions without a limit"), "{info:?}");
    let gateway = platform.gateway();
    let hold = |name: &'static str| format!("/{name}?s=6");
    thread::scope(|scope| {
        let others: Vec<_> = (0..3).map(|_| scope.spawn(|| gateway.get(&hold("other")))).collect();
        eventually(SOON, "three of the others", || calls(&platform, "other") == 3);
        gateway.get("/other?s=0").problem(429, "tenant_limit");
        let own: Vec<_> = (0..2).map(|_| scope.spawn(|| gateway.get(&hold("kept")))).collect();
        eventually(SOON, "two of its own", || calls(&platform, "kept") == 2);
        let refused = gateway.get("/kept?s=0").problem(429, "function_limit");
        assert!(refused.header("retry-after").is_some());
        others.into_iter().chain(own).for_each(|call| drop(call.join().unwrap().ok()));
    });
    gateway.get("/kept?s=0").ok();
    platform.mayfly(&["limit", "kept", "0"]).ok();
    let refused = gateway.get("/kept?s=0").problem(429, "function_stopped");
    assert_eq!(refused.header("retry-after"), Some("60"));
    platform.mayfly(&["limit", "kept", "--none"]).ok();
    gateway.get("/kept?s=0").ok();
}

/// "a single bad instance is ejected … and replaced, seen by the user as an event".
#[test]
fn a_bad_instance_is_ejected_replaced_and_told() {
    let platform = Platform::shared();
    let code = "let bad = false;\nexports.handler = async (event) => {\n  if (event.rawPath === '/poison') bad = true;\n  \
        if (bad) throw new Error('this instance is broken');\n  await new Promise((r) => setTimeout(r, 5));\n  \
        return process.pid;\n};\n";
    platform.deploy(&Folder::node("poisoned", "concurrency = 4\n[scale]\nmin = 3\nmax = 3", code));
    let ids = || -> HashSet<String> {
        platform.instances("poisoned").iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
    };
    eventually(SOON, "three instances", || ids().len() == 3);
    let before = ids();
    let events = || platform.api().get("/v1/functions/poisoned/events").ok().json();
    let ejected = || events()["events"].as_array().unwrap().iter().find(|event| event["what"] == "ejected").cloned();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut kept = KeepAlive::new(&platform.gateway());
                while !stop.load(Relaxed) {
                    let _ = kept.send("GET", "/poisoned", b"");
                }
            });
        }
        platform.gateway().get("/poisoned/poison");
        let end = Instant::now() + SOON;
        while ejected().is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Relaxed);
    });
    let event = ejected().expect("the bad instance is ejected");
    let id = event["instance"].as_str().unwrap();
    assert!(before.contains(id) && event["text"].as_str().unwrap().contains("calls failed"), "{event}");
    eventually(SOON, "another one is in its place", || ids().len() == 3 && !ids().contains(id));
    (0..20).for_each(|_| drop(platform.gateway().get("/poisoned").ok()));
    let told = |line: &Value| line["stream"] == "platform" && line["text"].as_str().unwrap().starts_with("ejected: ");
    assert!(platform.logs("poisoned").iter().any(|line| told(line) && line["instance"] == id), "the log tells it");
    let shown = platform.mayfly(&["describe", "poisoned"]).ok();
    assert!(shown.stdout.contains("ejected"), "{shown:?}");
}

/// `[traffic]`: "random per request, or sticky by header/cookie", and the affinity option.
#[test]
fn callers_stick_to_a_revision_and_to_an_instance() {
    let platform = Platform::shared();
    let code = "import os\ndef handler(event, context):\n    return [context.function_version, os.getpid()]\n";
    let folder = Folder::python("sticks", "[traffic]\nsticky = { header = 'x-user' }", code);
    platform.deploy(&folder);
    folder.write("app.py", format!("# the second\n{code}"));
    platform.deploy(&folder);
    platform.mayfly(&["alias", "set", "sticks", "live", "1=50", "2=50"]).ok();
    let mut seen = HashSet::new();
    for user in 0..16 {
        let client = platform.gateway().with("x-user", &format!("user-{user}"));
        let first = client.get("/sticks").ok().json()[0].clone();
        (0..5).for_each(|_| assert_eq!(client.get("/sticks").ok().json()[0], first, "user {user} changed"));
        seen.insert(first.to_string());
    }
    assert_eq!(seen.len(), 2, "both revisions have users");

    platform.deploy(&Folder::python("stays-near", "[traffic]\naffinity = true\n[scale]\nmin = 3", code));
    eventually(SOON, "three instances", || platform.instances("stays-near").len() == 3);
    // Three at once meet three instances, and each caller comes back to its own.
    let barrier = Barrier::new(3);
    let pids = thread::scope(|scope| {
        let caller = || {
            barrier.wait();
            let first = platform.gateway().get("/stays-near").ok();
            let cookie = first.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
            barrier.wait();
            let client = platform.gateway().with("cookie", &cookie);
            let pid = first.json()[1].clone();
            let mut moved = 0;
            for _ in 0..10 {
                moved += u32::from(client.get("/stays-near").ok().json()[1] != pid);
            }
            (pid.to_string(), moved)
        };
        let callers: Vec<_> = (0..3).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    // Best effort: one that two were given to may be busy with the other one's call.
    let different = pids.iter().map(|(pid, _)| pid).collect::<HashSet<_>>().len();
    assert!(different < 3 || pids.iter().all(|(_, moved)| *moved == 0), "{pids:?}");
    let alone = platform.gateway().get("/stays-near").ok();
    let cookie = alone.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let client = platform.gateway().with("cookie", &cookie);
    (0..10).for_each(|_| assert_eq!(client.get("/stays-near").ok().json()[1], alone.json()[1]));
}

/// `[traffic] hedge`: "hedging as an option for idempotent calls".
#[test]
fn a_late_answer_is_hedged_and_what_changes_something_never_is() {
    let platform = Platform::shared();
    // Whoever makes the file is the slow one; the next finds it there.
    let code = "import os, time\ndef handler(event, context):\n    try:\n        \
        os.close(os.open(event['queryStringParameters']['file'], os.O_CREAT | os.O_EXCL))\n    \
        except FileExistsError: return 'the other'\n    time.sleep(4)\n    return 'the first'\n";
    platform.deploy(&Folder::python("hedged", "[scale]\nmin = 2\n[traffic]\nhedge = '100ms'", code));
    eventually(SOON, "two instances", || platform.instances("hedged").len() == 2);
    let scratch = platform.scratch();
    fs::set_permissions(&scratch, Permissions::from_mode(0o777)).unwrap();
    for (method, want) in [("GET", "the other"), ("POST", "the first")] {
        let file = scratch.join(format!("hedged-{method}"));
        let path = format!("/hedged?file={}", file.display());
        assert_eq!(platform.gateway().send(method, &path, "").ok().json(), want, "{method}");
    }
}
