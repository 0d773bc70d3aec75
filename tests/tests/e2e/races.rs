//! Changes that meet: deploys of one function at once, a deletion in the midst, a platform that cannot start.

use mayfly_tests::{Cli, Platform, archive::Archive, eventually, none_left};
use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt, thread, time::Duration};

fn archive(name: &str, word: &str) -> Vec<u8> {
    let manifest = format!("name = \"{name}\"\nruntime = \"python\"\nentry = \"app.handler\"\n");
    let code = format!("def handler(event, context):\n    return '{word}'\n");
    Archive::default().file("mayfly.toml", manifest.as_bytes()).file("app.py", code.as_bytes()).zstd()
}

/// "revisions (immutable, numbered …)": eight deploys of one function at once all go live, each with a number and a
/// content of its own, and what answers in the end is one of them.
#[test]
fn deploys_at_once_take_turns() {
    let platform = Platform::shared();
    let records = thread::scope(|scope| {
        let deploys: Vec<_> = (0..8)
            .map(|turn| {
                let platform = &platform;
                scope.spawn(move || platform.upload("crowd", &archive("crowd", &format!("word {turn}"))).unwrap())
            })
            .collect();
        deploys.into_iter().map(|deploy| deploy.join().unwrap()).collect::<Vec<_>>()
    });
    let revisions: HashSet<&str> = records.iter().map(|record| record["revision"].as_str().unwrap()).collect();
    assert_eq!(revisions.len(), 8, "{records:?}");
    let last = records.iter().max_by_key(|record| record["ended"].as_str().unwrap()).unwrap();
    let answer = platform.gateway().get("/crowd").ok();
    assert_eq!(answer.header("mayfly-revision"), last["revision"].as_str());
}

/// Deploys and deletions in turn, from two sides: each ends in a clear answer, and in the end nothing is left.
#[test]
fn a_deletion_in_the_midst_leaves_nothing() {
    let platform = Platform::start();
    thread::scope(|scope| {
        let deploying = scope.spawn(|| {
            for turn in 0..15 {
                let record = platform.upload("fleeting", &archive("fleeting", &format!("word {turn}"))).unwrap();
                let gone = record["fault"]["code"].as_str().unwrap_or_default();
                assert!(record["stage"] == "live" || gone == "function_not_found", "{record}");
            }
        });
        while !deploying.is_finished() {
            let answer = platform.api().send("DELETE", "/v1/functions/fleeting", "");
            assert!(answer.status == 204 || answer.code() == "function_not_found", "{answer:?}");
            let answer = platform.gateway().get("/fleeting");
            let fine = answer.status == 200 || answer.status == 404 || answer.code() == "shutting_down";
            assert!(fine, "{answer:?}");
        }
        deploying.join().unwrap();
    });
    platform.api().send("DELETE", "/v1/functions/fleeting", "");
    platform.gateway().get("/fleeting").problem(404, "route_not_found");
    none_left(Duration::from_secs(20), "no instance is left", || platform.children());
    let blobs = platform.data_dir().join("blobs");
    let stored = || {
        fs::read_dir(&blobs)
            .unwrap()
            .flatten()
            .filter(|e| e.path().is_dir())
            .flat_map(|shard| fs::read_dir(shard.path()).unwrap().flatten().map(|file| file.path()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    eventually(Duration::from_secs(5), "no artifact is left", || stored().is_empty());
    // Its name is free again, and its story begins anew.
    let record = platform.upload("fleeting", &archive("fleeting", "again")).unwrap();
    assert_eq!(record["stage"], "live");
    assert_eq!(platform.gateway().get("/fleeting").ok().json(), "again");
}

/// A platform that cannot start says why, and what to do.
#[test]
fn a_platform_that_cannot_start_says_why() {
    let running = Platform::shared();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let (cli, data) = (Cli::new(dir.path()), dir.path().join("data"));
    let taken = running.gateway_url().strip_prefix("http://").unwrap();
    let free = "127.0.0.1:0";
    let up = |data: &str, listen: &str| {
        cli.run(&["up", "--data-dir", data, "--listen", listen, "--api", free, "--admin", free])
    };
    let failed = up(data.to_str().unwrap(), taken);
    assert!(failed.code != 0 && failed.stderr.contains(taken), "{failed:?}");
    let failed = up("/proc/nothing/here", free);
    assert!(failed.code != 0 && failed.stderr.contains("/proc/nothing/here"), "{failed:?}");
    fs::write(dir.path().join("file"), "").unwrap();
    let failed = up(dir.path().join("file").to_str().unwrap(), free);
    assert!(failed.code != 0 && failed.stderr.contains("file"), "{failed:?}");
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let failed = up(data.to_str().unwrap(), free);
        assert!(failed.code != 0 && failed.stderr.contains("chmod o+x"), "{failed:?}");
    }
    // A record that cannot be read is told, not started over.
    let broken = dir.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(broken.join("records.sqlite"), vec![b'x'; 8192]).unwrap();
    let failed = up(broken.to_str().unwrap(), free);
    assert!(failed.code != 0 && failed.stderr.contains("records.sqlite"), "{failed:?}");
}
