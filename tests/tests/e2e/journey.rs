//! What a user does, from `init` to `delete`.

use mayfly_tests::{Client, Platform, http::KeepAlive};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(10);

/// Calls a path from two connections, one kept and one fresh each time, until dropped or stopped.
struct Load<'a> {
    stop: &'a AtomicBool,
    calls: &'a AtomicU64,
}

impl Load<'_> {
    /// Returns what went wrong.
    fn run(&self, client: &Client, path: &str) -> Vec<String> {
        let mut kept = KeepAlive::new(client);
        let mut failures = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            for answer in [kept.send("GET", path, b""), client.try_send("GET", path, b"")] {
                self.calls.fetch_add(1, Ordering::Relaxed);
                match answer {
                    Ok(response) if response.status == 200 => {}
                    Ok(response) => failures.push(format!("{response:?}")),
                    Err(error) => failures.push(error.to_string()),
                }
            }
        }
        failures
    }
}

/// "3. `mayfly init hello --runtime python && cd hello && mayfly deploy` → a URL; `curl` it; `mayfly invoke`; `mayfly
/// logs hello -f`; edit; `mayfly deploy` again → a new revision, no failed request meanwhile; `mayfly rollback hello`;
/// `mayfly list`, `describe`, `delete`."
#[test]
fn from_init_to_delete() {
    let platform = Platform::start();
    let cli = platform.cli().within(&platform.scratch());
    cli.run(&["init", "hello", "--runtime", "python"]).ok();
    let folder = platform.scratch().join("hello");
    let cli = cli.within(&folder);

    // Deployed from its folder: it says where it answers.
    let deployed = cli.run(&["deploy"]).ok();
    let url = format!("{}/hello", platform.gateway_url());
    assert!(deployed.stdout.contains(&url), "{deployed:?}");
    let gateway = platform.gateway();
    let answer = gateway.get("/hello?name=ada").ok();
    assert_eq!(answer.json()["message"], "hello, ada");
    assert_eq!(answer.header("mayfly-revision"), Some("hello@1"));

    let invoked = cli.run(&["invoke", "hello", "--data", r#"{"name":"grace"}"#]).ok();
    assert_eq!(invoked.json()["message"], "hello, grace");
    let invoked = cli.run(&["--json", "invoke", "hello", "--data", r#"{"name":"joan"}"#]).ok().json();
    let id = invoked["request_id"].as_str().unwrap().to_owned();

    // What it printed, with the call that printed it.
    let lines = || platform.logs("hello");
    mayfly_tests::eventually(SOON, "the line of the call is in the log", || {
        lines().iter().any(|line| line["text"] == "hello, joan" && line["invocation"] == id.as_str())
    });
    let one = cli.run(&["logs", "hello", "--invocation", &id]).ok();
    assert!(one.stdout.contains("hello, joan") && !one.stdout.contains("grace"), "{one:?}");
    let mut follower = cli.start(&["logs", "hello", "-f"]);
    follower.line(SOON, "what was printed before", |line| line.contains("hello, joan"));
    gateway.get("/hello?name=mary").ok();
    follower.line(SOON, "what is printed now", |line| line.contains("hello, mary"));
    drop(follower);

    // Edited and deployed again, under load.
    let code = std::fs::read_to_string(folder.join("app.py")).unwrap();
    std::fs::write(folder.join("app.py"), code.replace("hello, ", "good day, ")).unwrap();
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures = thread::scope(|scope| {
        let load = scope.spawn(|| Load { stop: &stop, calls: &calls }.run(&gateway, "/hello?name=load"));
        mayfly_tests::eventually(SOON, "the load runs", || calls.load(Ordering::Relaxed) > 20);
        cli.run(&["deploy"]).ok();
        let answer = gateway.get("/hello?name=ada").ok();
        assert_eq!(answer.json()["message"], "good day, ada");
        assert_eq!(answer.header("mayfly-revision"), Some("hello@2"));
        let seen = calls.load(Ordering::Relaxed);
        mayfly_tests::eventually(SOON, "the load goes on", || calls.load(Ordering::Relaxed) > seen + 20);
        cli.run(&["rollback", "hello"]).ok();
        assert_eq!(gateway.get("/hello?name=ada").ok().json()["message"], "hello, ada");
        let seen = calls.load(Ordering::Relaxed);
        mayfly_tests::eventually(SOON, "the load goes on", || calls.load(Ordering::Relaxed) > seen + 20);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(failures.is_empty(), "{} of {} failed, such as {}", failures.len(), calls.into_inner(), failures[0]);

    let listed = cli.run(&["list"]).ok();
    assert!(listed.stdout.contains("hello") && listed.stdout.contains("python"), "{listed:?}");
    let described = cli.run(&["describe", "hello"]).ok();
    for part in ["hello", "live", "python", "Revisions", "Instances"] {
        assert!(described.stdout.contains(part), "{part}: {described:?}");
    }
    let calls = cli.run(&["invocations", "hello", "-n", "1000"]).ok();
    assert!(calls.stdout.contains(&id) || calls.stdout.lines().count() > 100, "{calls:?}");

    cli.run(&["delete", "hello"]).fails(2, &["--yes"]);
    gateway.get("/hello").ok();
    cli.run(&["delete", "hello", "--yes"]).ok();
    gateway.get("/hello").problem(404, "route_not_found");
    cli.run(&["describe", "hello"]).fails(2, &["function_not_found"]);
    mayfly_tests::eventually(SOON, "its instances are gone", || {
        mayfly_tests::processes::descendants(platform.pid()).is_empty()
    });
}
