//! "`kill -9` of the platform at any moment: after the restart every acknowledged deploy serves, every unacknowledged
//! one is whole or absent, no orphan process stays behind."

use mayfly_tests::{
    Client, Folder, Platform,
    archive::Archive,
    eventually, none_left,
    processes::{self, Process},
    until,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const ROUNDS_MIN: u32 = 8;
/// More by MAYFLY_TEST_KILLS, which lifts the limit of time, too.
const ROUNDS_MAX: u32 = 16;
const TIME_MAX: Duration = Duration::from_secs(80);
/// The kill comes within this time of the restart, or within so many times what a deploy takes, whichever is longer.
const WITHIN_MIN: Duration = Duration::from_millis(1200);
const WITHIN_DEPLOYS: u32 = 4;
const FUNCTIONS: [&str; 3] = ["kill-a", "kill-b", "kill-c"];

/// What is known of one function from outside.
#[derive(Default)]
struct Known {
    /// What it answers, by the last change that was acknowledged; `None` before the first.
    acknowledged: Option<String>,
    /// What it may answer as well: a change that was begun and not acknowledged.
    begun: Option<String>,
    /// The content of each revision whose deploy was acknowledged.
    revisions: BTreeMap<u64, String>,
}

/// Deploys, moves and calls until the platform is gone.
struct Work<'a> {
    api: Client,
    gateway: Client,
    name: &'a str,
    known: &'a Mutex<Known>,
    version: &'a AtomicU64,
    stop: &'a AtomicBool,
    rng: fastrand::Rng,
}

impl Work<'_> {
    /// Ends with the first request that fails because the platform is gone; a wrong answer is a failure of the test.
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let done = match self.rng.u8(..10) {
                0..=5 => self.deploy(),
                6..=7 => self.move_alias(),
                _ => self.call(),
            };
            if done.is_none() {
                return;
            }
        }
    }

    fn deploy(&mut self) -> Option<()> {
        let content = format!("version {}", self.version.fetch_add(1, Ordering::Relaxed));
        self.known.lock().unwrap().begun = Some(content.clone());
        let path = format!("/v1/functions/{}/deployments", self.name);
        let accepted = self.api.try_send("POST", &path, archive(self.name, &content)).ok()?;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let path = format!("/v1/deployments/{}", accepted.json()["id"].as_str().unwrap());
        loop {
            let record = self.api.try_send("GET", &path, "").ok()?.ok().json();
            match record["stage"].as_str() {
                Some("live") => {
                    let revision = number(&record["revision"]);
                    let mut known = self.known.lock().unwrap();
                    known.revisions.insert(revision, content.clone());
                    (known.acknowledged, known.begun) = (Some(content), None);
                    return Some(());
                }
                Some("failed") => panic!("a good deploy failed: {record}"),
                _ => thread::sleep(Duration::from_millis(3)),
            }
        }
    }

    fn move_alias(&mut self) -> Option<()> {
        let (revision, content) = {
            let mut known = self.known.lock().unwrap();
            // The newest ones: older revisions are cleared away at some time.
            let revisions: Vec<_> = known.revisions.iter().rev().take(4).map(|(n, c)| (*n, c.clone())).collect();
            let Some(choice) = self.rng.choice(&revisions) else { return Some(()) };
            known.begun = Some(choice.1.clone());
            choice.clone()
        };
        let body = json!({"targets": [{"revision": revision, "weight": 100}]}).to_string();
        let path = format!("/v1/functions/{}/aliases/live", self.name);
        let moved = self.api.try_send("PUT", &path, body).ok()?;
        assert_eq!(moved.status, 200, "{moved:?}");
        let mut known = self.known.lock().unwrap();
        (known.acknowledged, known.begun) = (Some(content), None);
        Some(())
    }

    fn call(&mut self) -> Option<()> {
        let acknowledged = self.known.lock().unwrap().acknowledged.clone();
        let answer = self.gateway.try_send("GET", &format!("/{}", self.name), "").ok()?;
        if let Some(content) = acknowledged {
            assert_eq!((answer.status, answer.json().as_str()), (200, Some(content.as_str())), "{answer:?}");
        }
        Some(())
    }
}

/// `kill-a@7` → 7.
fn number(revision: &Value) -> u64 {
    revision.as_str().and_then(|id| id.rsplit_once('@')?.1.parse().ok()).expect("a revision")
}

fn archive(name: &str, content: &str) -> Vec<u8> {
    let manifest = format!("name = \"{name}\"\nruntime = \"python\"\nentry = \"app.handler\"\n");
    let code = format!("def handler(event, context):\n    return '{content}'\n");
    Archive::default().file("mayfly.toml", manifest.as_bytes()).file("app.py", code.as_bytes()).zstd()
}

/// A function that leaves a daemon: forked twice, a session of its own, no environment, another folder.
const DAEMON: &str = r#"
import os
def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir('/')
            os.execve('/bin/sleep', ['sleep', 'MARK'], {})
        os._exit(0)
    os.wait()
    return 'done'
"#;

#[test]
fn kill_9_at_any_moment() {
    let seed = std::env::var("MAYFLY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MAYFLY_TEST_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut platform = Platform::start();
    let mark = processes::sleep_mark(1);
    let daemons = || processes::sleepers(&mark).len();
    let deploying = Instant::now();
    platform.deploy(&Folder::python("kill-daemon", "", &DAEMON.replace("MARK", &mark)));
    let within = WITHIN_MIN.max(deploying.elapsed() * WITHIN_DEPLOYS);
    let (known, version) = (FUNCTIONS.map(|_| Mutex::new(Known::default())), AtomicU64::new(0));
    let begun = Instant::now();
    let asked: Option<u32> = std::env::var("MAYFLY_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let (least, most) = asked.map_or((ROUNDS_MIN, ROUNDS_MAX), |asked| (asked, asked));
    let mut rounds = 0;
    while rounds < least || (rounds < most && begun.elapsed() < TIME_MAX) {
        rounds += 1;
        platform.gateway().get("/kill-daemon").ok();
        eventually(Duration::from_secs(10), "the daemon runs", || daemons() == 1);
        let left_behind = round(&mut platform, &known, &version, &mut rng, within);
        // Nothing of before is alive, whatever it was.
        none_left(Duration::from_secs(10), "no orphan", || {
            let alive = left_behind.iter().filter(|process| process.is_alive()).copied();
            alive.chain(processes::sleepers(&mark)).map(|process| process.describe()).collect()
        });
        for (name, known) in FUNCTIONS.iter().zip(&known) {
            check(&platform, name, &mut known.lock().unwrap());
        }
    }
    let deploys = version.load(Ordering::Relaxed);
    println!("{rounds} kills in {:.0?}, {deploys} deploys begun", begun.elapsed());
    assert!(deploys > u64::from(rounds), "only {deploys} deploys in {rounds} rounds: the kills hit nothing");
    for (name, known) in FUNCTIONS.iter().zip(&known) {
        check_revisions(&platform, name, &known.lock().unwrap());
    }
    check_disk(&platform);
    let dir = platform.data_dir();
    platform.kill9();
    drop(platform);
    assert_eq!(processes::touching(&dir), [], "something outlived the last kill");
}

/// What is stored is what revisions have; nothing is left of the attempts that were cut off.
fn check_disk(platform: &Platform) {
    let mut used = HashSet::new();
    for function in platform.api().get("/v1/functions").ok().json()["functions"].as_array().unwrap() {
        let path = format!("/v1/functions/{}/revisions", function["name"].as_str().unwrap());
        let list = platform.api().get(&path).ok().json();
        let artifacts =
            list["revisions"].as_array().unwrap().iter().map(|r| r["artifact"].as_str().unwrap().to_owned());
        used.extend(artifacts.map(|digest| digest.trim_start_matches("sha256:").to_owned()));
    }
    let dir = platform.data_dir();
    let stored = files(&dir.join("blobs"));
    for name in &stored {
        let digest: String = name.chars().filter(char::is_ascii_hexdigit).collect();
        assert!(
            used.iter().any(|known| digest.ends_with(known.as_str()) || known.ends_with(&digest)),
            "{name}: {used:?}"
        );
    }
    assert_eq!(stored.len(), used.len(), "{stored:?}");
    assert_eq!(files(&dir.join("deploy/work")), [""; 0]);
}

/// The names of all files below a folder.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

/// The same for what builds: a tool that runs when the platform dies goes with it, and the attempt has failed.
#[test]
fn a_build_ends_with_its_platform() {
    let mut platform = Platform::start();
    let code = "def handler(event, context):\n    return 1\n";
    let mark = processes::sleep_mark(2);
    let build = format!("[build]\ncommand = [\"sh\", \"-c\", \"sleep {mark} & sleep {mark}\"]");
    let folder = Folder::python("slow-build", &build, code);
    let cli = platform.cli();
    let deploy = cli.start(&["deploy", &folder.arg()]);
    eventually(Duration::from_secs(10), "the tool and its child run", || processes::sleepers(&mark).len() == 2);
    platform.kill9();
    eventually(Duration::from_secs(5), "both are gone", || processes::sleepers(&mark).is_empty());
    drop(deploy);
    platform.restart();
    let list = platform.api().get("/v1/functions/slow-build/deployments").ok().json();
    assert_eq!(list["deployments"][0]["stage"], "failed", "{list}");
    platform.gateway().get("/slow-build").problem(404, "route_not_found");
    assert_eq!(files(&platform.data_dir().join("deploy/work")), [""; 0]);
    // It can be done again.
    folder.write("mayfly.toml", "name = \"slow-build\"\nruntime = \"python\"\nentry = \"app.handler\"\n");
    platform.deploy(&folder);
}

/// What a build tool leaves in a session of its own (a compiler's server, Gradle's daemon) does not outlive the build.
#[test]
fn a_builds_daemon_ends_with_it() {
    let platform = Platform::shared();
    let mark = processes::sleep_mark(3);
    let build = format!("[build]\ncommand = [\"sh\", \"-c\", \"setsid sleep {mark} >/dev/null 2>&1 &\"]");
    let folder = Folder::python("build-daemon", &build, "def handler(event, context):\n    return 1\n");
    platform.deploy(&folder);
    let daemons = || processes::sleepers(&mark);
    let begun = Instant::now();
    while !daemons().is_empty() && begun.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    let left = daemons();
    for process in &left {
        // SAFETY: a signal to what this test's own build command started.
        unsafe { libc::kill(process.pid as i32, libc::SIGKILL) };
    }
    assert_eq!(left, [], "the daemon outlived its build");
}

/// An orderly stop lets the calls that run end, takes no new ones, and leaves nothing.
#[test]
fn an_orderly_stop_lets_calls_end() {
    let mut platform = Platform::start();
    let code =
        "import time\ndef handler(event, context):\n    print('in', flush=True)\n    time.sleep(1)\n    return 'out'\n";
    platform.deploy(&Folder::python("ending", "", code));
    let gateway = platform.gateway();
    let call = thread::spawn(move || gateway.get("/ending"));
    eventually(Duration::from_secs(10), "the call runs", || !platform.logs("ending").is_empty());
    assert_eq!(platform.stop(Duration::from_secs(15)), Some(0), "{}", platform.log());
    assert_eq!(call.join().unwrap().ok().json(), "out");
    platform.expect_no_process(Duration::from_secs(1));
    assert!(platform.gateway().try_send("GET", "/ending", "").is_err(), "it still listens");
}

/// Work, a kill in the midst of it, and a restart. Returns what ran at the kill.
fn round(
    platform: &mut Platform,
    known: &[Mutex<Known>; 3],
    version: &AtomicU64,
    rng: &mut fastrand::Rng,
    within: Duration,
) -> HashSet<Process> {
    let stop = AtomicBool::new(false);
    let left_behind = thread::scope(|scope| {
        let workers: Vec<_> = FUNCTIONS
            .iter()
            .zip(known)
            .map(|(name, known)| {
                let (api, gateway, rng) = (platform.api(), platform.gateway(), rng.fork());
                let work = Work { api, gateway, name, known, version, stop: &stop, rng };
                scope.spawn(move || work.run())
            })
            .collect();
        // The moment is what is tested: it depends on nothing.
        thread::sleep(within.mul_f64(rng.f64()));
        let running = processes::descendants(platform.pid());
        platform.kill9();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("a worker saw a wrong answer");
        }
        running
    });
    platform.restart();
    left_behind
}

/// It answers with what was acknowledged, or with what was begun: nothing else, and no error.
fn check(platform: &Platform, name: &str, known: &mut Known) {
    let answer = platform.gateway().get(&format!("/{name}"));
    let said = match answer.status {
        200 => answer.json().as_str().map(str::to_owned),
        404 if answer.code() == "route_not_found" => None,
        _ => panic!("{name}: {answer:?}"),
    };
    let allowed = [&known.acknowledged, &known.begun];
    // Before the first acknowledged deploy it may be absent.
    let absent_is_fine = said.is_none() && known.acknowledged.is_none();
    assert!(absent_is_fine || (said.is_some() && allowed.contains(&&said)), "{name} says {said:?}, not {allowed:?}");
    (known.acknowledged, known.begun) = (said, None);
    // No deployment is under way that nobody works on.
    let list = platform.api().get(&format!("/v1/functions/{name}/deployments?limit=1000")).ok().json();
    for deployment in list["deployments"].as_array().unwrap() {
        assert!(matches!(deployment["stage"].as_str(), Some("live" | "failed")), "{deployment}");
    }
}

/// Each revision that is listed and was acknowledged still has its content.
fn check_revisions(platform: &Platform, name: &str, known: &Known) {
    let list = platform.api().get(&format!("/v1/functions/{name}/revisions")).ok().json();
    let numbers: Vec<u64> = list["revisions"].as_array().unwrap().iter().map(|r| number(&r["id"])).collect();
    // On a busy machine each of its deploys may have been cut off.
    let newest = known.revisions.keys().last();
    let kept = newest.is_none_or(|newest| numbers.contains(newest));
    assert!(kept, "{name}: the newest acknowledged revision {newest:?} is not in {numbers:?}");
    let mut seen = HashSet::new();
    assert!(numbers.iter().all(|number| seen.insert(*number)), "{numbers:?}");
    for number in numbers.iter().filter(|number| known.revisions.contains_key(number)).take(5) {
        let body = json!({"targets": [{"revision": number, "weight": 100}]}).to_string();
        platform.api().send("PUT", &format!("/v1/functions/{name}/aliases/check"), body).ok();
        let said = until(Duration::from_secs(5), "the alias answers", || {
            let answer = platform.api().post(&format!("/v1/functions/{name}/invocations?alias=check"), "{}");
            (answer.status == 200).then(|| answer.json())
        });
        assert_eq!(said, known.revisions[number].as_str(), "{name}@{number}");
    }
}
