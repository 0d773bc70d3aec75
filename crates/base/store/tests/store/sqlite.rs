//! What only a store on disk can get wrong: coming back, file formats, two owners.

use crate::rig::{self, Rig};
use mayfly_store::{
    Records, Txn, Version,
    record::{Error, Options, Store, WatchError},
};
use std::{os::unix::fs::PermissionsExt, time::Duration};

#[tokio::test]
async fn reopened_it_is_as_it_was() {
    let Rig { records, clock, dir } = rig::sqlite();
    let lease = records.grant(Duration::from_secs(10)).await.unwrap();
    let ended = records.grant(Duration::from_secs(10)).await.unwrap();
    records.commit(Txn::new().put("a", b"\0\xff").put("b", "").put_leased("c", "x", lease)).await.unwrap();
    records.commit(Txn::new().delete("a").put("d", "x").put_leased("e", "x", ended)).await.unwrap();
    records.revoke(ended).await.unwrap();
    let (entries, version) = (records.list(""), records.version());
    drop(records);

    clock.advance(Duration::from_secs(9));
    let records = Store::sqlite(&dir.as_ref().unwrap().path().join("records.db"), rig::options(&clock)).unwrap();
    assert_eq!((records.list(""), records.version()), (entries, version));
    // History is not kept: who knows the present goes on, others list again.
    assert!(records.watch("", Some(version)).is_ok());
    let from = Version(version.0 - 1);
    assert_eq!(records.watch("", Some(from)).err(), Some(WatchError::Compacted { from, oldest: version }));
    // The lease has its whole time again, then goes; a new one does not take its name.
    clock.advance(Duration::from_secs(9));
    assert_eq!(records.tick().await.unwrap(), 0);
    assert!(records.grant(Duration::from_secs(10)).await.unwrap() > ended);
    clock.advance(Duration::from_secs(1));
    assert_eq!(records.tick().await.unwrap(), 1);
    assert_eq!(records.get("c"), None);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    drop(Store::sqlite(&path, Options::default()).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    let error = Store::sqlite(&path, Options::default()).err().unwrap();
    assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer release"), "{error}");
    let db = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(db.pragma_query_value(None, "user_version", |row| row.get(0)), Ok(2));
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let first = Store::sqlite(&path, Options::default()).unwrap();
    assert!(matches!(Store::sqlite(&path, Options::default()), Err(Error::InUse(_))));
    drop(first);
    Store::sqlite(&path, Options::default()).unwrap();
}

#[tokio::test]
async fn its_files_are_the_owners_alone() {
    let Rig { records, dir, .. } = rig::sqlite();
    records.commit(Txn::new().put("secret", "x")).await.unwrap();
    let modes: Vec<_> = std::fs::read_dir(dir.as_ref().unwrap().path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600, 0o600], "the database and its log, no shared memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_commit_is_whole_or_absent() {
    let Rig { records, .. } = rig::sqlite();
    for n in 0..20 {
        let txn = Txn::new().put(format!("a/{n:02}"), "x").put(format!("b/{n:02}"), "x");
        // Polled once, then dropped: its caller hung up.
        tokio::select! {
            biased;
            _ = records.commit(txn) => {}
            () = std::future::ready(()) => {}
        }
    }
    // Queues behind whatever has begun.
    records.commit(Txn::new().put("end", "x")).await.unwrap();
    let numbers =
        |prefix: &str| -> Vec<_> { records.list(prefix).iter().map(|entry| entry.key[2..].to_owned()).collect() };
    assert!(!numbers("a/").is_empty(), "none had begun; the test proves nothing");
    assert_eq!(numbers("a/"), numbers("b/"));
}
