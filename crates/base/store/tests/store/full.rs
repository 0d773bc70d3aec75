//! A full disk: an error that says so, nothing half written, and business as usual once there is space.

use crate::rig::{CHILD, only, this_binary};
use mayfly_store::{
    Blobs, Entry, Records, Txn, blob,
    record::{Error, Options, Store},
};
use std::{path::Path, process::Command};

/// Commits pairs until the store is full; gives what is in it then.
async fn fill(store: &Store) -> Vec<Entry> {
    for n in 0..10_000 {
        let before = (store.list(""), store.version());
        let txn = Txn::new().put(format!("{n:04}/a"), vec![1; 9000]).put(format!("{n:04}/b"), vec![2; 9000]);
        match store.commit(txn).await {
            Ok(_) => {}
            Err(Error::Full) => {
                assert!(n > 3, "full too soon to prove anything");
                assert_eq!((store.list(""), store.version()), before, "nothing half applied in memory");
                return before.0;
            }
            Err(other) => panic!("Error::Full was expected, not {other:?}"),
        }
    }
    panic!("it never got full");
}

#[tokio::test]
async fn a_database_at_its_size_limit_is_full_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let options = Options { disk_bytes_max: Some(512 << 10), ..Options::default() };
    let store = Store::sqlite(&path, options.clone()).unwrap();
    let content = fill(&store).await;
    assert!(matches!(store.commit(Txn::new().put("more", vec![0; 60_000])).await, Err(Error::Full)));
    store.commit(Txn::new().delete_prefix("0000/").delete_prefix("0001/")).await.unwrap();
    store.commit(Txn::new().put("after", vec![3; 9000])).await.unwrap();
    let version = store.version();
    drop(store);
    let store = Store::sqlite(&path, options).unwrap();
    assert_eq!((store.version(), store.list("").len()), (version, content.len() - 4 + 1));
}

/// On a real file system of 2 MiB, in namespaces of its own: needs `unshare` and user namespaces (or root), and fails
/// where it has neither.
#[test]
fn a_full_file_system_is_full_and_recovers() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(records_on(Path::new(&dir)));
        return blobs_on(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let binary = this_binary();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--", "sh", "-c", script])
        .arg(dir.path())
        .arg(binary.get_program())
        .args(only("full::a_full_file_system_is_full_and_recovers"))
        .env(CHILD, dir.path())
        .output()
        .expect("`unshare` of util-linux is needed to test a full disk");
    let told = [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).join("\n");
    assert!(output.status.success() && told.contains("1 passed"), "it failed, or no tmpfs could be mounted:\n{told}");
}

/// Takes all the space that is left on the file system.
fn ballast(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("ballast");
    let error = std::io::copy(&mut std::io::repeat(0), &mut std::fs::File::create(&path).unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    path
}

async fn records_on(dir: &Path) {
    let folder = dir.join("records");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("records.db");
    let store = Store::sqlite(&path, Options::default()).unwrap();
    store.commit(Txn::new().put("first", "x")).await.unwrap();
    let ballast = ballast(dir);
    let before = (store.list(""), store.version());
    for _ in 0..3 {
        let txn = Txn::new().put("big/a", vec![1; 60_000]).put("big/b", vec![2; 60_000]);
        let result = store.commit(txn).await;
        assert!(matches!(result, Err(Error::Full)), "{result:?}");
        assert_eq!((store.list(""), store.version()), before);
    }
    // Neither does the disk have half of it.
    drop(store);
    let store = Store::sqlite(&path, Options::default()).unwrap();
    assert_eq!((store.list(""), store.version()), before);
    std::fs::remove_file(ballast).unwrap();
    let content = fill(&store).await;
    drop(store);
    // There was no space either to move SQLite's log into the database: opening and reading work all the same.
    let store = Store::sqlite(&path, Options::default()).unwrap();
    assert_eq!(store.list(""), content);
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

fn blobs_on(dir: &Path) {
    let folder = dir.join("blobs");
    let blobs = Blobs::open(&folder).unwrap();
    let (digest, _) = blobs.put(&b"small"[..], 100).unwrap();
    let ballast = ballast(dir);
    let result = blobs.put(&vec![7; 300_000][..], u64::MAX);
    assert!(matches!(result, Err(blob::Error::Full)), "{result:?}");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".put-")), "{names:?}");
    assert_eq!(blobs.list().unwrap().len(), 1);
    assert_eq!(blobs.read(&digest, 100).unwrap(), b"small");
    std::fs::remove_file(ballast).unwrap();
    blobs.put(&vec![7; 300_000][..], u64::MAX).unwrap();
    assert_eq!(blobs.list().unwrap().len(), 2);
}
