//! "Bad input and faults: a clear error, and nothing lost": what is wrong before anything runs.

use mayfly_tests::{
    Folder, Platform, Start,
    archive::{Archive, bomb},
};
use serde_json::Value;
use std::{fs, path::Path};

const WORKS: &str = "def handler(event, context):\n    return 'works'\n";

/// "Unknown manifest key, wrong unit, a name that is no DNS label": the code, the key, and what to write instead. The
/// command line finds them before it uploads, and the API by itself.
#[test]
fn a_wrong_manifest_is_told() {
    let platform = Platform::shared();
    for (manifest, code, parts) in [
        ("name = \"bad\"\nruntime = \"python\"\nmemroy = \"1GiB\"", "manifest_invalid", &["memroy"][..]),
        ("name = \"bad\"\nruntime = \"python\"\nmemory = \"256Mi\"", "manifest_invalid", &["256Mi", "MiB"]),
        ("name = \"bad\"\nruntime = \"python\"\nmemory = 256", "manifest_invalid", &["256MiB"]),
        ("name = \"bad\"\nruntime = \"python\"\ntimeout = \"30\"", "manifest_invalid", &["30s"]),
        ("name = \"bad\"\nruntime = \"cobol\"", "manifest_invalid", &["cobol"]),
        ("name = \"Bad_Name\"\nruntime = \"python\"", "name_invalid", &["Bad_Name"]),
        ("name = \"bad\"\nruntime = \"python\"\n[scale]\nmin = 3\nmax = 1", "manifest_invalid", &["min 3"]),
        ("name = \"bad", "manifest_invalid", &["line 1"]),
    ] {
        let folder = Folder::empty("bad").file("mayfly.toml", manifest).file("app.py", WORKS);
        let failed = platform.mayfly(&["deploy", &folder.arg()]).fails(1, parts);
        let document = platform.mayfly(&["--json", "deploy", &folder.arg()]).json();
        assert_eq!(document["code"], code, "{failed:?}");

        let archive = Archive::default().file("mayfly.toml", manifest.as_bytes()).file("app.py", WORKS.as_bytes());
        let record = platform.upload("bad", &archive.zstd()).unwrap();
        assert_eq!((&record["stage"], &record["fault"]["code"]), (&"failed".into(), &code.into()), "{record}");
        let detail = record["fault"]["detail"].as_str().unwrap();
        assert!(parts.iter().all(|part| detail.contains(part)), "{parts:?}: {detail}");
    }
    platform.api().get("/v1/functions/bad").problem(404, "function_not_found");
    platform.api().post("/v1/functions/Bad_Name/deployments", "x").problem(422, "name_invalid");
    // A folder that says nothing about itself.
    let folder = Folder::empty("blank").file("README", "nothing to run");
    platform.mayfly(&["deploy", &folder.arg()]).fails(1, &["mayfly init"]);
    // The manifest's name and the request's differ.
    let record = platform.upload("other-name", &Archive::function("this-name").zstd()).unwrap();
    assert_eq!(record["fault"]["code"], "manifest_invalid", "{record}");
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = vec![dir.to_owned()];
    while let Some(dir) = next.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() && !entry.path().is_symlink() {
                next.push(entry.path());
            }
            found.push(entry.path().display().to_string());
        }
    }
    found.sort();
    found
}

/// "an archive with `..`, links out of the tree or a bomb (unpacked size is bounded while unpacking)", cut off, or no
/// archive at all: each has its code, and nothing of it is left.
#[test]
fn hostile_archives_are_refused() {
    let platform = Platform::start();
    let good = Archive::function("evil").zstd();
    let new = || Archive::function("evil");
    let outside = platform.scratch().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let absolute = outside.to_str().unwrap();
    let deep = format!("{}evil", "a/".repeat(40));
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let blobs = platform.data_dir().join("blobs");
    let artifacts = platform.data_dir().join("cache/artifacts");
    let work = platform.data_dir().join("deploy/work");
    let before = (files_below(&blobs), files_below(&artifacts));
    for (what, archive, codes) in [
        ("climbs", new().file("../evil", b"x").zstd(), &["archive_unsafe"][..]),
        ("climbs from within", new().file("a/../../evil", b"x").zstd(), &["archive_unsafe"]),
        ("absolute", new().file(absolute, b"overwritten").zstd(), &["archive_unsafe"]),
        ("link out", new().symlink("out", "../../../../etc").zstd(), &["archive_unsafe"]),
        ("absolute link", new().symlink("out", "/etc/passwd").zstd(), &["archive_unsafe"]),
        ("through a link", new().symlink("dir", ".").file("dir/../../evil", b"x").zstd(), &["archive_unsafe"]),
        ("into a link", new().symlink("dir", "..").file("dir/evil", b"x").zstd(), &["archive_unsafe"]),
        ("hard link out", new().hardlink("passwd", "/etc/passwd").zstd(), &["archive_unsafe"]),
        ("device", new().entry("null", tar::EntryType::Char, "", b"").zstd(), &["archive_unsafe"]),
        ("twice", new().file("app.py", b"other").zstd(), &["archive_unsafe"]),
        ("bomb", bomb("evil", 1 << 30), &["archive_too_large"]),
        ("cut off", good[..good.len() - 20].to_vec(), &["archive_invalid"]),
        ("damaged", damaged, &["archive_invalid", "archive_unsafe", "manifest_invalid"]),
        ("garbage", b"this is no archive at all, whatever its header says".to_vec(), &["archive_invalid"]),
        ("not compressed", vec![0; 4096], &["archive_invalid"]),
        ("nothing", Vec::new(), &["archive_invalid"]),
    ] {
        let code = match platform.upload("evil", &archive) {
            Ok(record) => {
                assert_eq!(record["stage"], "failed", "{what}: {record}");
                record["fault"]["code"].as_str().unwrap_or_default().to_owned()
            }
            Err(refused) => refused.code(),
        };
        assert!(codes.contains(&code.as_str()), "{what}: {code}");
        assert_eq!(files_below(&work), [""; 0], "{what}: the folder for builds");
        assert_eq!((files_below(&blobs), files_below(&artifacts)), before, "{what}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched", "{what}");
    }
    platform.api().get("/v1/functions/evil").problem(404, "function_not_found");
    let most = mayfly_tests::processes::status_kb(platform.pid(), "VmHWM") >> 10;
    assert!(most < 300, "a bomb of 1 GiB took {most} MiB of memory");

    // Links that stay inside are as good as files, and deep folders too.
    let inside = new().file(&deep, b"x").symlink("again.py", "app.py").zstd();
    assert_eq!(platform.upload("evil", &inside).unwrap()["stage"], "live");
    platform.gateway().get("/evil").ok();
    // More than may be uploaded is refused by what it announces.
    let token = platform.api();
    let mut exchange = token.begin("POST", "/v1/functions/evil/deployments", Some(101 << 20)).unwrap();
    let _ = exchange.write(b"x");
    exchange.answer().unwrap().whole().unwrap().problem(413, "archive_too_large");
    // A client that breaks off in the middle leaves nothing.
    let mut exchange = token.begin("POST", "/v1/functions/evil/deployments", Some(good.len() as u64)).unwrap();
    exchange.write(&good[..good.len() / 2]).unwrap();
    drop(exchange);
    mayfly_tests::eventually(std::time::Duration::from_secs(5), "the half upload is gone", || {
        files_below(&work).is_empty()
    });
}

/// "a runtime that the host lacks": Java is hidden from a platform in a mount namespace of its own.
#[test]
fn a_runtime_that_the_host_lacks_is_named() {
    // Whatever is called java in the folders that are searched becomes a file that cannot be executed.
    let hide = "for java in $(which -a java; ls -d /usr/bin/java /usr/local/bin/java /bin/java 2>/dev/null); do \
                  mount --bind /dev/null \"$(readlink -f \"$java\")\" || true; done; \
                ! java -version >/dev/null 2>&1";
    let platform = Platform::start_with(Start { before: Some(hide.to_owned()), ..Start::default() });
    let info = platform.mayfly(&["--json", "info"]).ok().json();
    let about = |runtime: &str| -> Value {
        info["runtimes"].as_array().unwrap().iter().find(|known| known["runtime"] == runtime).unwrap().clone()
    };
    assert_eq!(about("java")["available"], false, "{info}");
    assert_eq!(about("python")["available"], true, "{info}");
    let shown = platform.mayfly(&["info"]).ok().stdout;
    assert!(shown.lines().any(|line| line.starts_with("java") && line.contains("no")), "{shown}");

    let manifest = "runtime = \"java\"\nentry = \"Main::handle\"\n[build]\ncommand = []";
    let folder = Folder::new("coffee", manifest).file("Main.java", "class Main {}");
    let failed = platform.mayfly(&["deploy", &folder.arg()]).fails(1, &["java"]);
    assert!(failed.stderr.contains("Install") || failed.stderr.contains("install"), "{failed:?}");
    let document = platform.mayfly(&["--json", "deploy", &folder.arg()]).json();
    assert_eq!(document["code"], "runtime_unavailable", "{document}");
    platform.api().get("/v1/functions/coffee").problem(404, "function_not_found");
}

/// "a build that fails shows the tool's own output and leaves the old revision serving".
#[test]
fn a_failed_build_shows_the_tools_output() {
    let platform = Platform::shared();
    let folder = Folder::python("builds", "", WORKS);
    platform.deploy(&folder);
    let script = "echo '  app.py:3: the compiler is not amused' >&2; echo 'and this on stdout'; exit 3";
    folder.write(
        "mayfly.toml",
        format!(
            "name = \"builds\"\nruntime = \"python\"\nentry = \"app.handler\"\n[build]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        ),
    );
    let failed = platform.mayfly(&["deploy", &folder.arg()]);
    let failed = failed.fails(1, &["the compiler is not amused", "and this on stdout", "status 3"]);
    assert!(failed.stderr.contains("build"), "{failed:?}");
    assert_eq!(platform.mayfly(&["--json", "deploy", &folder.arg()]).json()["code"], "build_failed");
    assert_eq!(platform.gateway().get("/builds").ok().json(), "works");
    // The story can be read afterwards.
    let log = platform.mayfly(&["deployments", "builds", "--log", "last"]).ok().stdout;
    assert!(log.contains("the compiler is not amused"), "{log}");
    let list = platform.mayfly(&["--json", "deployments", "builds"]).ok().json();
    assert_eq!(list["deployments"][0]["fault"]["code"], "build_failed", "{list}");
}

/// A command line without a platform says where it looked, and one without its token what to do.
#[test]
fn a_missing_platform_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cli = mayfly_tests::Cli::new(dir.path()).env("MAYFLY_API_URL", "http://127.0.0.1:1");
    cli.run(&["list"]).fails(3, &["127.0.0.1:1", "mayfly up"]);
    let platform = Platform::shared();
    let wrong = dir.path().join("token");
    fs::write(&wrong, "0".repeat(64)).unwrap();
    platform.cli().env("MAYFLY_TOKEN_FILE", wrong.to_str().unwrap()).run(&["list"]).fails(2, &["token"]);
    // Two platforms on one data directory would tear each other's records.
    let data = platform.data_dir();
    let free = "127.0.0.1:0";
    let args = ["up", "--data-dir", data.to_str().unwrap(), "--listen", free, "--api", free, "--admin", free];
    let second = mayfly_tests::Cli::new(dir.path()).run(&args);
    assert!(second.code != 0 && second.stderr.contains("another"), "{second:?}");
}
