//! Fills a platform's records with functions as deploys leave them, all of the code of one that is there:
//! `seed DB FUNCTION COUNT`. A second run, `seed DB`, says what reading them takes. `mayfly-bench routes` runs both.
//!
//! Each function goes through the registry's own release, with a number, a route and an alias; in memory first, so that not
//! each of them waits for the disk.

use anyhow::{Context, bail};
use mayfly_control::{Registry, Release, Verdict};
use std::{fs, path::Path, sync::Arc, time::Instant};
use store::{
    Entry, Records, Txn,
    record::{Options, Store},
};
use types::{
    AliasName, Deployment, FunctionName, Revision, RevisionId, Route, Timestamp, id::DeploymentId, record::Stage,
};

/// Records of a transaction.
const TOGETHER: usize = 2_000;
/// Of their deployments, as many as a platform remembers.
const DEPLOYMENTS: usize = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [db] => load(Path::new(db)),
        [db, function, count] => seed(Path::new(db), &function.parse()?, count.parse()?).await,
        _ => bail!("usage: seed DB [FUNCTION COUNT]"),
    }
}

/// A line of JSON: how long it takes to open the records and to make the picture of them, and the memory of both.
fn load(db: &Path) -> anyhow::Result<()> {
    let (empty, begun) = (resident()?, Instant::now());
    let records = Arc::new(Store::sqlite(db, Options::default())?);
    let (open, opened) = (begun.elapsed(), resident()?);
    let begun = Instant::now();
    let registry = Registry::open(Arc::clone(&records) as Arc<dyn Records>)?;
    let (picture, all) = (begun.elapsed(), resident()?);
    let functions = registry.snapshots().borrow().functions.len();
    println!(
        r#"{{"functions":{functions},"open_ms":{:.1},"picture_ms":{:.1},"records_bytes":{},"picture_bytes":{}}}"#,
        open.as_secs_f64() * 1e3,
        picture.as_secs_f64() * 1e3,
        opened.saturating_sub(empty),
        all.saturating_sub(opened),
    );
    Ok(())
}

/// Bytes of this process in memory: `VmRSS` of proc(5).
fn resident() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

async fn seed(db: &Path, function: &FunctionName, count: u32) -> anyhow::Result<()> {
    let disk = Store::sqlite(db, Options::default())?;
    let before = disk.list("");
    let memory = Arc::new(Store::memory(Options::default()));
    copy(&memory, &before).await?;
    let registry = Registry::open(Arc::clone(&memory) as Arc<dyn Records>)?;
    let live = AliasName::live();
    let made = registry.snapshots().borrow().target(function, &live).context("there is no such function")?.clone();
    let revision = made.revisions.first().context("it has no revision")?.revision.clone();
    for n in 0..count {
        release(&registry, &revision, n).await?;
    }
    let known = |entry: &&Entry| !before.iter().any(|old| old.key == entry.key);
    let (stories, others): (Vec<Entry>, _) =
        memory.list("").into_iter().partition(|entry| entry.key.starts_with("deployment/"));
    copy(&disk, &others).await?;
    copy(&disk, &stories.iter().filter(known).take(DEPLOYMENTS).cloned().collect::<Vec<_>>()).await
}

async fn copy(to: &Store, entries: &[Entry]) -> anyhow::Result<()> {
    for part in entries.chunks(TOGETHER) {
        to.commit(part.iter().fold(Txn::new(), |txn, entry| txn.put(&*entry.key, &*entry.value))).await?;
    }
    Ok(())
}

/// One function by the revision's code, with a route by path, by parameter or by host.
async fn release(registry: &Registry, of: &Revision, n: u32) -> anyhow::Result<()> {
    let function: FunctionName = format!("shop-{n}").parse()?;
    let now = Timestamp::from(std::time::SystemTime::now());
    let mut deployment = Deployment {
        id: DeploymentId::random(),
        function: function.clone(),
        stage: Stage::Building,
        revision: None,
        unchanged: false,
        fault: None,
        started: now,
        ended: None,
        phases: Default::default(),
        url: Some(format!("http://127.0.0.1/{function}")),
        canary: None,
    };
    let number = registry.number(&function, &mut deployment).await?;
    let (host, path) = match n % 3 {
        0 => (None, format!("/api/v1/shop-{n}/*")),
        1 => (None, format!("/users/{{id}}/shop-{n}")),
        _ => (Some(format!("shop-{n}.example.com")), "/*".to_owned()),
    };
    let route = Route {
        host,
        path,
        methods: Vec::new(),
        headers: Default::default(),
        function: function.clone(),
        alias: AliasName::live(),
        from_manifest: true,
    };
    let revision = Revision { id: RevisionId { function, number }, ..of.clone() };
    let verdict = Verdict::New(Arc::new(revision));
    registry
        .release(&Release { verdict, routes: vec![route], since: None, tenant: None, canary: None, deployment })
        .await?;
    Ok(())
}
