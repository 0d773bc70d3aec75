//! kill -9 in the middle of writing: what was acknowledged is there, and no transaction is there by half.

use crate::rig::{CHILD, only, this_binary};
use mayfly_store::{
    Records, Txn,
    record::{Options, Store},
};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
};

const ROUNDS: usize = 8;
/// Large enough that a transaction is several writes.
const VALUE_BYTES: usize = 20_000;

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let least = fastrand::u64(1..60);
        acknowledged = acknowledged.max(kill_after(dir.path(), least));
        let found = verify(dir.path());
        assert!(found >= acknowledged, "round {round}: {acknowledged} was acknowledged, {found} is there");
        acknowledged = found;
    }
}

/// Commits for ever, telling each number on stderr once it is durable.
fn write_until_killed(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::sqlite(&dir.join("records.db"), Options::default()).unwrap();
    let last = store.get("last").map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap());
    for n in last + 1_u64.. {
        let value = vec![u8::try_from(n % 251).unwrap(); VALUE_BYTES];
        let txn = ["a", "b", "c"].iter().fold(Txn::new(), |txn, part| txn.put(format!("{n:08}/{part}"), &value));
        runtime.block_on(store.commit(txn.put("last", n.to_string()))).unwrap();
        // Not `eprintln!`, which the test harness would catch.
        std::io::stderr().write_all(format!("{n}\n").as_bytes()).unwrap();
    }
}

/// Kills the writer after it has acknowledged `least` commits; gives the last acknowledged number.
fn kill_after(dir: &Path, least: u64) -> u64 {
    let test = "kill::a_killed_writer_loses_nothing_acknowledged";
    let mut child =
        this_binary().args(only(test)).env(CHILD, dir).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut acks = BufReader::new(child.stderr.take().unwrap()).lines();
    let ack = |line: std::io::Result<String>| {
        let line = line.unwrap();
        line.parse::<u64>().unwrap_or_else(|_| panic!("the writer said: {line}"))
    };
    for _ in 0..least {
        ack(acks.next().expect("the writer lives"));
    }
    std::thread::sleep(std::time::Duration::from_micros(fastrand::u64(0..4000)));
    child.kill().unwrap();
    // What it told between our last look and its death counts as well; a torn last line does not.
    let last = acks.map_while(Result::ok).filter_map(|line| line.parse().ok()).last();
    child.wait().unwrap();
    last.unwrap_or(0).max(least)
}

/// The number of the last commit, all of them being whole.
fn verify(dir: &Path) -> u64 {
    let store = Store::sqlite(&dir.join("records.db"), Options::default()).unwrap();
    let last = store.get("last").expect("a first commit");
    let count: u64 = std::str::from_utf8(&last.value).unwrap().parse().unwrap();
    assert_eq!((store.version(), last.version.0), (last.version, count));
    for n in 1..=count {
        let parts = store.list(&format!("{n:08}/"));
        let whole = parts.iter().all(|p| p.version.0 == n && p.value.iter().all(|b| u64::from(*b) == n % 251));
        assert!(parts.len() == 3 && whole, "commit {n} is torn: {} parts", parts.len());
    }
    assert_eq!(store.list("").len() as u64, 3 * count + 1, "nothing else");
    count
}
