//! Tenants under load: one at its limit touches no other, limits change while calls run, records survive `kill -9`.

use mayfly_tests::{Client, Folder, Platform, eventually};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

const NAPS: &str = "import time\ndef handler(event, context):\n    time.sleep(0.02)\n    return 'ok'\n";

fn deploy(platform: &Platform, tenant: &str, name: &str) {
    let folder = Folder::python(name, "[scale]\nmin = 2\nmax = 4", NAPS);
    platform.mayfly(&["deploy", &folder.arg(), "--tenant", tenant]).ok();
}

fn wants(client: &Client, path: &str, code: Option<&str>) {
    eventually(SOON, &format!("{path}: {code:?}"), || {
        let answer = client.get(path);
        match code {
            None => answer.status == 200,
            Some(code) => answer.status == 429 && answer.code() == code,
        }
    });
}

/// "rate limits (token bucket …, per tenant)", "per-tenant cluster limits (… 0 = stop)".
#[test]
fn one_tenant_at_its_limit_touches_no_other() {
    let mut platform = Platform::start();
    platform.mayfly(&["deploy", &Folder::python("a-one", "", NAPS).arg(), "--tenant", "acme"]).fails(2, &["no tenant"]);
    platform.mayfly(&["tenant", "set", "acme", "--calls-max", "2"]).ok();
    platform.mayfly(&["tenant", "set", "beta", "--calls-max", "100"]).ok();
    deploy(&platform, "acme", "a-one");
    deploy(&platform, "beta", "b-one");
    let moved = Folder::python("a-one", "", NAPS);
    platform.mayfly(&["deploy", &moved.arg(), "--tenant", "beta"]).fails(2, &["belongs to tenant `acme`"]);

    // Twelve callers on two calls: most are refused, and each call of the other tenant is served.
    let gateway = platform.gateway();
    let flooded = |while_it_lasts: &(dyn Fn() + Sync)| {
        let (stop, refused, other) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        let answer = gateway.get("/a-one");
                        let limited =
                            answer.status == 429 && ["tenant_limit", "rate_limited"].contains(&answer.code().as_str());
                        if limited {
                            refused.fetch_add(1, Relaxed)
                        } else {
                            other.fetch_add(1, Relaxed)
                        };
                    }
                });
            }
            eventually(SOON, "the flood is refused", || refused.load(Relaxed) > 50);
            while_it_lasts();
            stop.store(true, Relaxed);
        });
        (refused.into_inner(), other.into_inner())
    };
    let served = || (0..60).for_each(|_| drop(gateway.get("/b-one").ok()));
    let (refused, _) = flooded(&served);
    assert!(refused > 50);

    // Live: now by rate, and the calls at once have no limit.
    platform.mayfly(&["tenant", "set", "acme", "--calls-max", "none", "--rate", "5/s"]).ok();
    flooded(&served);
    platform.mayfly(&["tenant", "set", "acme", "--rate", "none"]).ok();
    wants(&gateway, "/a-one", None);
    assert!(gateway.get("/a-one").ok().header("ratelimit-policy").is_none());

    // 0 stops all its functions and no other's.
    platform.mayfly(&["tenant", "set", "acme", "--calls-max", "0"]).ok();
    let stopped = gateway.get("/a-one").problem(429, "tenant_limit");
    assert_eq!(stopped.header("retry-after"), Some("60"));
    served();

    platform.kill9();
    platform.restart();
    let gateway = platform.gateway();
    wants(&gateway, "/a-one", Some("tenant_limit"));
    wants(&gateway, "/b-one", None);
    let list = platform.mayfly(&["tenant", "list", "--json"]).ok().json();
    let rows: Vec<_> = list["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["calls_max"].as_u64(), one["functions"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [("acme", Some(0), 1), ("beta", Some(100), 1), ("default", None, 0)]);
    let described = platform.mayfly(&["describe", "a-one"]).ok();
    assert!(described.stdout.contains("tenant acme"), "{described:?}");
    let listed = platform.mayfly(&["list", "--tenant", "beta"]).ok();
    assert!(listed.stdout.contains("b-one") && !listed.stdout.contains("a-one"), "{listed:?}");
    platform.mayfly(&["tenant", "delete", "acme"]).fails(2, &["owns 1 functions"]);
    platform.mayfly(&["delete", "a-one", "--yes"]).ok();
    platform.mayfly(&["tenant", "delete", "acme"]).ok();
}
