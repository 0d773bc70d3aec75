//! What the tests share: a store of either back end under a held clock, and the test binary as its own child.

use mayfly_store::{
    Records, Version,
    clock::Held,
    record::{Change, Kind, Options, Store, Watch},
};
use std::{process::Command, sync::Arc, time::Duration};

pub struct Rig {
    pub records: Arc<dyn Records>,
    pub clock: Arc<Held>,
    /// Holds the database's folder.
    pub dir: Option<tempfile::TempDir>,
}

/// A short history, so that watchers fall off it soon.
pub const HISTORY: usize = 16;

pub fn options(clock: &Arc<Held>) -> Options {
    Options { clock: clock.clone(), history_len_max: HISTORY, value_bytes_max: 64 << 10, ..Options::default() }
}

pub fn memory() -> Rig {
    let clock = Arc::new(Held::new());
    Rig { records: Arc::new(Store::memory(options(&clock))), clock, dir: None }
}

pub fn sqlite() -> Rig {
    let clock = Arc::new(Held::new());
    let dir = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&dir.path().join("records.db"), options(&clock)).unwrap();
    Rig { records: Arc::new(store), clock, dir: Some(dir) }
}

/// Changes as text, one per item: `3 put a/x=1`, `4 delete a/x`.
pub async fn read(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("a change in time");
        told.push(tell(&next.unwrap()));
    }
    assert_eq!(watch.try_next().unwrap(), None, "one change too many");
    told
}

pub fn tell(change: &Change) -> String {
    let Version(version) = change.version;
    match &change.kind {
        Kind::Put(entry) => {
            assert_eq!(entry.version, change.version);
            format!("{version} put {}={}", entry.key, String::from_utf8_lossy(&entry.value))
        }
        Kind::Delete { key } => format!("{version} delete {key}"),
    }
}

/// Set in a child to the folder it works in.
pub const CHILD: &str = "MAYFLY_STORE_TEST_CHILD";

/// Arguments that make this binary run one test alone and let it write where it likes.
pub fn only(test: &str) -> [String; 3] {
    [test.to_owned(), "--exact".to_owned(), "--nocapture".to_owned()]
}

pub fn this_binary() -> Command {
    Command::new(std::env::current_exe().unwrap())
}
