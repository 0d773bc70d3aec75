//! What every back end of records must do. A new one adds a line to `suite!` at the end.

use crate::rig::{self, HISTORY, Rig, read};
use mayfly_store::{
    LeaseId, Records, Txn, Version,
    record::{Error, Reason, WatchError},
};
use std::{sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

fn keys(records: &dyn Records, prefix: &str) -> Vec<String> {
    records.list(prefix).iter().map(|entry| entry.key.to_string()).collect()
}

fn value(records: &dyn Records, key: &str) -> Option<String> {
    records.get(key).map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

fn conflict(result: Result<Version, Error>) -> (String, Reason) {
    match result {
        Err(Error::Conflict { key, reason }) => (key, reason),
        other => panic!("a conflict was expected, not {other:?}"),
    }
}

async fn a_swap_compares_first(Rig { records, .. }: Rig) {
    let first = records.commit(Txn::new().absent("a").put("a", "1")).await.unwrap();
    assert_eq!(records.get("a").unwrap().version, first);
    let second = records.commit(Txn::new().version("a", first).exists("a").put("a", "2")).await.unwrap();
    for (txn, reason) in [
        (Txn::new().absent("a"), Reason::Exists(second)),
        (Txn::new().version("a", first), Reason::Changed { wanted: first, found: second }),
        (Txn::new().unchanged("a", None), Reason::Exists(second)),
    ] {
        assert_eq!(conflict(records.commit(txn.put("a", "3")).await), ("a".into(), reason));
    }
    for txn in [Txn::new().exists("b"), Txn::new().version("b", first)] {
        assert_eq!(conflict(records.commit(txn.put("a", "3")).await), ("b".into(), Reason::Absent));
    }
    assert_eq!((value(&*records, "a").as_deref(), records.version()), (Some("2"), second));
}

async fn a_conflict_applies_nothing(Rig { records, .. }: Rig) {
    let before = records.commit(Txn::new().put("a", "1").put("b", "1")).await.unwrap();
    let mut watch = records.watch("", None).unwrap();
    let txn = Txn::new().version("a", before).absent("b").put("a", "2").put("c", "2").delete("b");
    conflict(records.commit(txn).await);
    assert_eq!(keys(&*records, ""), ["a", "b"]);
    assert_eq!((value(&*records, "a").as_deref(), records.version()), (Some("1"), before));
    assert_eq!(watch.try_next(), Ok(None));
}

async fn steps_apply_in_order_and_leave_one_change_per_key(Rig { records, .. }: Rig) {
    records.commit(Txn::new().put("p/1", "old").put("p/2", "old").put("q", "old")).await.unwrap();
    let mut watch = records.watch("", None).unwrap();
    // Replaces a whole subtree; `p/9` comes and goes without a trace; deleting what is absent is nothing.
    let txn = Txn::new().put("p/9", "x").delete_prefix("p/").put("p/2", "new").put("p/3", "new").delete("nothing");
    records.commit(txn).await.unwrap();
    assert_eq!(read(&mut watch, 3).await, ["2 delete p/1", "2 put p/2=new", "2 put p/3=new"]);
    assert_eq!(keys(&*records, ""), ["p/2", "p/3", "q"]);
}

async fn each_change_gets_the_next_version(Rig { records, .. }: Rig) {
    assert_eq!(records.version(), Version(0));
    for n in 1..=5 {
        assert_eq!(records.commit(Txn::new().put(format!("k{n}"), "v")).await.unwrap(), Version(n));
    }
    // Nothing to do is no new version.
    for txn in [Txn::new(), Txn::new().delete("k9"), Txn::new().exists("k1"), Txn::new().delete_prefix("z")] {
        assert_eq!(records.commit(txn).await.unwrap(), Version(5));
    }
    assert_eq!(records.get("k2").unwrap().version, Version(2));
    assert_eq!(records.version(), Version(5));
}

async fn a_list_is_sorted_and_keeps_to_its_prefix(Rig { records, .. }: Rig) {
    let mut txn = Txn::new();
    for key in ["ab/1", "a/2", "b", "a/10", "a", "a/1", "aa", "ä/1"] {
        txn = txn.put(key, key);
    }
    records.commit(txn).await.unwrap();
    assert_eq!(keys(&*records, "a/"), ["a/1", "a/10", "a/2"]);
    assert_eq!(keys(&*records, "ab/"), ["ab/1"]);
    assert_eq!(keys(&*records, "ä"), ["ä/1"]);
    assert_eq!(keys(&*records, ""), ["a", "a/1", "a/10", "a/2", "aa", "ab/1", "b", "ä/1"]);
    assert!(keys(&*records, "a/3").is_empty());
    records.commit(Txn::new().delete_prefix("a/")).await.unwrap();
    assert_eq!(keys(&*records, "a"), ["a", "aa", "ab/1"]);
}

async fn a_watch_tells_changes_in_order_and_only_its_own(Rig { records, .. }: Rig) {
    let mut watch = records.watch("a/", None).unwrap();
    let waiting = tokio::spawn(async move { (read(&mut watch, 4).await, watch) });
    records.commit(Txn::new().put("ab/1", "x").put("a/2", "x").put("a/1", "x")).await.unwrap();
    records.commit(Txn::new().put("ab/2", "x")).await.unwrap();
    records.commit(Txn::new().delete("a/2")).await.unwrap();
    records.commit(Txn::new().put("a/1", "y")).await.unwrap();
    let (told, mut watch) = waiting.await.unwrap();
    assert_eq!(told, ["1 put a/1=x", "1 put a/2=x", "3 delete a/2", "4 put a/1=y"]);
    drop(records);
    assert_eq!(watch.next().await, Err(WatchError::Closed));
}

async fn a_watch_resumes_where_it_left(Rig { records, .. }: Rig) {
    for n in 1..=4 {
        records.commit(Txn::new().put(format!("k{n}"), "v").put("other", "v")).await.unwrap();
    }
    let mut watch = records.watch("k", Some(Version(2))).unwrap();
    assert_eq!(read(&mut watch, 2).await, ["3 put k3=v", "4 put k4=v"]);
    let mut all = records.watch("k", Some(Version(0))).unwrap();
    assert_eq!(read(&mut all, 4).await.len(), 4);
    let mut now = records.watch("k", Some(records.version())).unwrap();
    assert_eq!(now.try_next(), Ok(None));
    let from = Version(9);
    let future = records.watch("k", Some(from)).err();
    assert_eq!(future, Some(WatchError::Compacted { from, oldest: Version(0) }), "a version of another history");
}

async fn a_list_goes_on_as_a_watch(Rig { records, .. }: Rig) {
    records.commit(Txn::new().put("a/1", "x").put("b", "x")).await.unwrap();
    let (entries, mut watch) = records.list_and_watch("a/");
    assert_eq!(entries.len(), 1);
    records.commit(Txn::new().put("b", "y").put("a/2", "y")).await.unwrap();
    assert_eq!(read(&mut watch, 1).await, ["2 put a/2=y"]);
}

async fn what_left_the_history_is_refused(Rig { records, .. }: Rig) {
    let mut slow = records.watch("", None).unwrap();
    let mut fast = records.watch("", None).unwrap();
    let dropped = 3;
    for n in 1..=HISTORY as u64 + dropped {
        records.commit(Txn::new().put("k", n.to_string())).await.unwrap();
        assert_eq!(read(&mut fast, 1).await, [format!("{n} put k={n}")]);
    }
    let oldest = Version(dropped);
    let from = Version(dropped - 1);
    assert_eq!(records.watch("", Some(from)).err(), Some(WatchError::Compacted { from, oldest }));
    assert_eq!(read(&mut records.watch("", Some(oldest)).unwrap(), HISTORY).await.len(), HISTORY);
    for _ in 0..2 {
        assert_eq!(slow.next().await, Err(WatchError::Lagged { oldest }), "and it stays so");
    }
}

async fn a_lease_takes_its_keys_with_it(Rig { records, clock, .. }: Rig) {
    let lease = records.grant(10 * SECOND).await.unwrap();
    let txn =
        Txn::new().put_leased("a", "x", lease).put_leased("b", "x", lease).put_leased("c", "x", lease).put("d", "x");
    records.commit(txn).await.unwrap();
    // A plain put makes the record permanent, a delete takes it off the lease.
    records.commit(Txn::new().put("c", "kept").delete("b")).await.unwrap();
    let mut watch = records.watch("", None).unwrap();
    clock.advance(10 * SECOND - Duration::from_millis(1));
    assert_eq!(records.tick().await.unwrap(), 0);
    assert_eq!(records.get("a").unwrap().lease, Some(lease));
    clock.advance(Duration::from_millis(1));
    assert_eq!(records.tick().await.unwrap(), 1);
    assert_eq!(read(&mut watch, 1).await, ["4 delete a"]);
    assert_eq!(keys(&*records, ""), ["c", "d"]);
    assert_eq!(records.tick().await.unwrap(), 0);
    for id in [lease, LeaseId(999)] {
        let late = records.commit(Txn::new().put("e", "x").put_leased("f", "x", id)).await;
        assert!(matches!(late, Err(Error::NoLease(no)) if no == id), "{late:?}");
    }
    assert_eq!((keys(&*records, ""), records.version()), (vec!["c".to_owned(), "d".to_owned()], Version(4)));
}

async fn a_lease_kept_alive_lives(Rig { records, clock, .. }: Rig) {
    let lease = records.grant(10 * SECOND).await.unwrap();
    records.commit(Txn::new().put_leased("a", "x", lease)).await.unwrap();
    for _ in 0..5 {
        clock.advance(9 * SECOND);
        records.keep_alive(lease).await.unwrap();
        assert_eq!(records.tick().await.unwrap(), 0);
    }
    clock.advance(10 * SECOND);
    // Due but not yet ticked: too late all the same, or two could hold one lock.
    assert!(matches!(records.keep_alive(lease).await, Err(Error::NoLease(_))));
    assert_eq!(records.tick().await.unwrap(), 1);
    assert_eq!(records.get("a"), None);
}

async fn a_lease_can_be_revoked(Rig { records, .. }: Rig) {
    let lease = records.grant(10 * SECOND).await.unwrap();
    let other = records.grant(10 * SECOND).await.unwrap();
    let txn = Txn::new().put_leased("b", "x", lease).put_leased("a", "x", lease).put_leased("c", "x", other);
    records.commit(txn).await.unwrap();
    let mut watch = records.watch("", None).unwrap();
    records.revoke(lease).await.unwrap();
    assert_eq!(read(&mut watch, 2).await, ["4 delete a", "4 delete b"]);
    assert_eq!(keys(&*records, ""), ["c"]);
    assert!(matches!(records.revoke(lease).await, Err(Error::NoLease(_))));
    assert!(matches!(records.keep_alive(lease).await, Err(Error::NoLease(_))));
}

async fn a_lock_of_a_dead_holder_is_free_at_once(Rig { records, clock, .. }: Rig) {
    let dead = records.grant(SECOND).await.unwrap();
    records.commit(Txn::new().absent("lock").put_leased("lock", "dead", dead)).await.unwrap();
    let heir = records.grant(5 * SECOND).await.unwrap();
    assert_eq!(conflict(records.commit(Txn::new().absent("lock")).await).0, "lock");
    let mut watch = records.watch("", None).unwrap();
    clock.advance(SECOND);
    // No tick: the commit itself ends what is due, and watchers see both steps.
    records.commit(Txn::new().absent("lock").put_leased("lock", "heir", heir)).await.unwrap();
    assert_eq!(read(&mut watch, 2).await, ["4 delete lock", "5 put lock=heir"]);
}

async fn what_is_too_large_is_refused(Rig { records, .. }: Rig) {
    for (key, value, part) in [("k".repeat(1025), 1, "the key"), ("k".to_owned(), (64 << 10) + 1, "the value")] {
        let result = records.commit(Txn::new().put("a", "x").put(key, vec![0; value])).await;
        assert!(matches!(&result, Err(Error::TooLarge { what, .. }) if *what == part), "{result:?}");
    }
    records.commit(Txn::new().put("k".repeat(1024), vec![7; 64 << 10]).put("empty", "")).await.unwrap();
    assert_eq!(value(&*records, "empty").as_deref(), Some(""));
}

async fn racing_increments_all_count(Rig { records, .. }: Rig) {
    const TASKS: u64 = 32;
    const EACH: u64 = 10;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(increment(records.clone(), EACH))).collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await.unwrap();
    }
    assert_eq!(value(&*records, "n"), Some((TASKS * EACH).to_string()));
    assert_eq!(records.version(), Version(TASKS * EACH));
    assert!(conflicts > 0, "the tasks never met; the race proves nothing");
}

/// Adds one `times` times; gives how often somebody else was faster.
async fn increment(records: Arc<dyn Records>, times: u64) -> u64 {
    let (mut done, mut conflicts) = (0, 0);
    while done < times {
        let entry = records.get("n");
        let n = entry.as_ref().map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap());
        // Lets the others read the same value.
        tokio::task::yield_now().await;
        let txn = Txn::new().unchanged("n", entry.map(|entry| entry.version)).put("n", (n + 1).to_string());
        match records.commit(txn).await {
            Ok(_) => done += 1,
            Err(Error::Conflict { .. }) => conflicts += 1,
            Err(error) => panic!("{error}"),
        }
    }
    conflicts
}

async fn the_driver_ticks_until_shutdown(Rig { records, clock, .. }: Rig) {
    let lease = records.grant(SECOND).await.unwrap();
    records.commit(Txn::new().put_leased("a", "x", lease)).await.unwrap();
    let mut watch = records.watch("", None).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let driver = tokio::spawn(mayfly_store::record::run(records.clone(), async { drop(stopped.await) }));
    clock.advance(SECOND);
    assert_eq!(read(&mut watch, 1).await, ["3 delete a"]);
    stop.send(()).unwrap();
    driver.await.unwrap();
}

macro_rules! suite {
    ($backend:ident: $($name:ident)*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    super::$name(super::rig::$backend()).await;
                }
            )*
        }
    };
    ($($backend:ident)*) => {
        $(suite! { $backend:
            a_swap_compares_first
            a_conflict_applies_nothing
            steps_apply_in_order_and_leave_one_change_per_key
            each_change_gets_the_next_version
            a_list_is_sorted_and_keeps_to_its_prefix
            a_watch_tells_changes_in_order_and_only_its_own
            a_watch_resumes_where_it_left
            a_list_goes_on_as_a_watch
            what_left_the_history_is_refused
            a_lease_takes_its_keys_with_it
            a_lease_kept_alive_lives
            a_lease_can_be_revoked
            a_lock_of_a_dead_holder_is_free_at_once
            what_is_too_large_is_refused
            racing_increments_all_count
            the_driver_ticks_until_shutdown
        })*
    };
}
suite! { memory sqlite }
