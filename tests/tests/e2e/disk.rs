//! "a full disk": a deploy says so, what runs goes on, and with space everything goes on.

use mayfly_tests::{Folder, Platform, Start, eventually};
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::Duration,
};

/// The data directory is a file system of 64 MiB, in a mount namespace of the platform's own.
#[test]
fn a_full_disk_stops_deploys_and_nothing_else() {
    let mount = "mount -t tmpfs -o size=64m,mode=0755 mayfly-e2e \"$DATA\"";
    let platform = Platform::start_with(Start { before: Some(mount.to_owned()), ..Start::default() });
    // Seen through the platform's own root.
    let inside = PathBuf::from(format!("/proc/{}/root{}", platform.pid(), platform.data_dir().display()));
    let cli = platform.cli();
    let code = |word: &str| format!("def handler(event, context):\n    print('{word}' * 1000)\n    return '{word}'\n");
    let folder = Folder::python("small", "", &code("old"));
    cli.run(&["deploy", &folder.arg()]).ok();
    assert_eq!(platform.gateway().get("/small").ok().json(), "old");

    let filler = inside.join("filler");
    fill(&filler);
    folder.write("app.py", code("new"));
    for _ in 0..2 {
        let failed = cli.run(&["deploy", &folder.arg()]).fails(4, &["full", "free space"]);
        let document = cli.run(&["--json", "deploy", &folder.arg()]).json();
        assert_eq!(
            (document["code"].as_str(), document["status"].as_u64()),
            (Some("storage_full"), Some(507)),
            "{failed:?}"
        );
    }
    for _ in 0..20 {
        assert_eq!(platform.gateway().get("/small").ok().json(), "old", "what runs goes on");
    }
    platform.admin().get("/readyz").ok();
    cli.run(&["list"]).ok();
    // A new instance can be started, too: its code is there already.
    platform.kill_instances("small");
    let again = platform.gateway().get("/small");
    assert!(again.status == 200 || again.code() == "storage_full", "{again:?}");

    fs::remove_file(&filler).unwrap();
    eventually(Duration::from_secs(10), "with space, it goes on", || platform.gateway().get("/small").status == 200);
    cli.run(&["deploy", &folder.arg()]).ok();
    assert_eq!(platform.gateway().get("/small").ok().json(), "new");
    let left = fs::read_dir(inside.join("deploy/work")).unwrap().count();
    assert_eq!(left, 0, "the failed deploys left something behind");
}

/// Writes until nothing more goes in.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 512, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}
