//! Bench `rollout`: a constant load goes on while everything about its function, and the platform itself, is changed.
//!
//! Each phase is a row of [`PHASES`]: what it does, and how many of the calls failed meanwhile, those that it made itself
//! among them. The goal is none. A new kind of change is a new row.

use crate::{
    folder,
    load::{Address, get},
    options::Options,
    platform::Platform,
    report::{Report, Row},
    steady::{self, Outcome, Steady},
};
use anyhow::{Context, ensure};
use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// The load of all phases: so many clients, each a call in every pause.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(40);
/// Functions of the bench: the one that is changed, the one that comes and goes, the one with long calls,
/// the one that has an instance for each call.
const NAME: &str = "steady";
const WAVE: &str = "wave";
const LONG: &str = "long";
const OWN: &str = "own";

const STEADY: &str = "concurrency = 100\n[scale]\nmin = 1\nmax = 4\n";
const WAVES: &str = "concurrency = 1\n[scale]\nidle = \"1s\"\nmax = 4\ndown_delay = \"1s\"\n";
const LONGS: &str = "concurrency = 1\ntimeout = \"2m\"\n[scale]\nidle = \"1s\"\nmax = 8\ndown_delay = \"1s\"\n";

/// Calls that have an instance each, on several at once.
const OWNS: &str = "concurrency = 1\n[scale]\nmax = 8\n";
const OWN_CALL: Duration = Duration::from_millis(100);
const OWN_CLIENTS: usize = 4;
const OWN_CALLS: usize = 150;

/// What a call of `long` takes: ten seconds more than anything waits on a way down.
const LONG_CALL: Duration = Duration::from_secs(50);
/// Instances that two calls leave: fleet keeps some room above what is busy.
const LONG_FEW: usize = 4;
const WAVE_CALL: Duration = Duration::from_millis(100);
const REVISIONS: u32 = 3;
const WAVES_COUNT: usize = 3;
const WAVE_CALLS: usize = 8;
const TAKE_OVERS: usize = 3;
/// A stream of the platform that is taken over.
const ACROSS: Duration = Duration::from_secs(4);
/// Longest wait for instances to come or go.
const SETTLE_MAX: Duration = Duration::from_secs(90);

type Phase = for<'a> fn(&'a mut Platform) -> Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + 'a>>;

const PHASES: [(&str, Phase); 8] = [
    ("deploy", |platform| Box::pin(deploy(platform))),
    ("canary", |platform| Box::pin(canary(platform))),
    ("alias shift", |platform| Box::pin(shift(platform))),
    ("rollback", |platform| Box::pin(rollback(platform))),
    ("scale 0 to N to 0", |platform| Box::pin(waves(platform))),
    ("50 s calls at scale-down", |platform| Box::pin(long_calls(platform))),
    ("take-over", |platform| Box::pin(take_over(platform))),
    ("deploy and take-over of busy exclusive instances", |platform| Box::pin(exclusive(platform))),
];

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("rollout");
    let mut platform = Platform::start(&options.binary)?;
    for (name, more) in [(NAME, STEADY), (WAVE, WAVES), (LONG, LONGS), (OWN, OWNS)] {
        platform.deploy(&folder::server(&platform.place(), name, &[], more)?)?;
    }
    platform.wait_ready(NAME, 1).await?;
    let load = Steady::start(&platform.gateway()?, &format!("/{NAME}/"), CLIENTS, PAUSE);
    sleep(options.round).await;
    let mut all = vec![("no change", load.take())];
    for (name, phase) in PHASES.into_iter().filter(|(name, _)| options.wants(name)) {
        let own = phase(&mut platform).await.with_context(|| format!("phase `{name}`"))?;
        // What a change breaks may show a little later.
        sleep(Duration::from_secs(1)).await;
        let mut outcome = load.take();
        ensure!(outcome.calls > 0, "there was no load in phase `{name}`");
        outcome.add(own);
        println!("{name}: {} calls, {} failed", outcome.calls, outcome.failed);
        all.push((name, outcome));
    }
    let left = load.end().await;
    if let Some((_, last)) = all.last_mut() {
        last.add(left);
    }
    rows(&mut report, &all);
    report.finish()
}

fn rows(report: &mut Report, all: &[(&str, Outcome)]) {
    let (mut failed, mut calls) = (0, 0);
    for (name, outcome) in all {
        (failed, calls) = (failed + outcome.failed, calls + outcome.calls);
        report.row(row(format!("failed requests, {name}"), outcome.failed, outcome.calls));
        report.row(Row::new(format!("slowest answer, {name}"), outcome.slowest.as_secs_f64() * 1e3, "ms"));
        for words in &outcome.words {
            eprintln!("{name}: {words}");
        }
    }
    report.row(row("failed requests".into(), failed, calls));
}

fn row(what: String, failed: u64, calls: u64) -> Row {
    let (failed, calls) = (failed as f64, calls as f64);
    Row::new(what, failed, "requests").against("calls", calls, failed / calls).goal("0")
}

/// New revisions, one after the other: each is live when its deploy returns.
async fn deploy(platform: &mut Platform) -> anyhow::Result<Outcome> {
    for n in 0..REVISIONS {
        let folder = folder::server(&platform.place(), NAME, &[], &format!("{STEADY}[env]\nREVISION = \"{n}\"\n"))?;
        platform.cli(&["deploy", &folder.to_string_lossy()]).await?;
    }
    Ok(Outcome::default())
}

/// A new revision by steps, to the last of them.
async fn canary(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let folder = folder::server(&platform.place(), NAME, &[], &format!("{STEADY}[env]\nREVISION = \"canary\"\n"))?;
    platform.cli(&["deploy", &folder.to_string_lossy(), "--canary", "10%,50%", "--every", "5s", "--wait"]).await?;
    Ok(Outcome::default())
}

/// Traffic goes from one revision to another by weight.
async fn shift(platform: &mut Platform) -> anyhow::Result<Outcome> {
    for weights in [&["1=90", "2=10"][..], &["1=50", "2=50"], &["1=1", "2=99"], &["2"]] {
        platform.cli(&[&["alias", "set", NAME, "live"], weights].concat()).await?;
        sleep(Duration::from_millis(500)).await;
    }
    Ok(Outcome::default())
}

async fn rollback(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let folder = folder::server(&platform.place(), NAME, &[], &format!("{STEADY}[env]\nREVISION = \"bad\"\n"))?;
    platform.cli(&["deploy", &folder.to_string_lossy()]).await?;
    platform.cli(&["rollback", NAME]).await?;
    Ok(Outcome::default())
}

/// Bursts of calls to a function that has no instance, and silence until it has none again.
async fn waves(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let (address, mut outcome) = (platform.gateway()?, Outcome::default());
    for _ in 0..WAVES_COUNT {
        platform.wait_instances(WAVE, SETTLE_MAX, |count| count == 0).await?;
        let calls = begin(&address, WAVE, WAVE_CALLS, 10, WAVE_CALL);
        platform.wait_instances(WAVE, SETTLE_MAX, |count| count > 1).await?;
        outcome.add(all_of(calls).await);
    }
    platform.wait_instances(WAVE, SETTLE_MAX, |count| count == 0).await?;
    Ok(outcome)
}

/// Long calls run while most instances beside them go, and then while their whole revision does.
async fn long_calls(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let (address, mut outcome) = (platform.gateway()?, Outcome::default());
    let crowd = begin(&address, LONG, 6, 1, Duration::from_secs(2));
    let long = begin(&address, LONG, 2, 1, LONG_CALL);
    platform.wait_instances(LONG, SETTLE_MAX, |count| count > LONG_FEW).await?;
    let begun = Instant::now();
    outcome.add(all_of(crowd).await);
    // Those of the crowd go; the busy ones stay.
    platform.wait_instances(LONG, SETTLE_MAX, |count| count <= LONG_FEW).await?;
    let folder = folder::server(&platform.place(), LONG, &[], &format!("{LONGS}[env]\nREVISION = \"next\"\n"))?;
    platform.cli(&["deploy", &folder.to_string_lossy()]).await?;
    ensure!(begun.elapsed() < LONG_CALL, "scale-down took {:?}: the calls were over", begun.elapsed());
    outcome.add(all_of(long).await);
    Ok(outcome)
}

/// Another process serves from now on, and again; calls that run across it end where they began.
async fn take_over(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for _ in 0..TAKE_OVERS {
        let across = begin(&platform.gateway()?, LONG, 2, 1, ACROSS);
        platform.wait_instances(LONG, SETTLE_MAX, |count| count > 0).await?;
        platform.take_over().await?;
        outcome.add(all_of(across).await);
    }
    Ok(outcome)
}

/// Calls that have an instance each move from all instances to as many others: what they wait is the slowest answer.
async fn exclusive(platform: &mut Platform) -> anyhow::Result<Outcome> {
    let calls = begin(&platform.gateway()?, OWN, OWN_CLIENTS, OWN_CALLS, OWN_CALL);
    platform.wait_instances(OWN, SETTLE_MAX, |count| count >= OWN_CLIENTS).await?;
    let folder = folder::server(&platform.place(), OWN, &[], &format!("{OWNS}[env]\nREVISION = \"next\"\n"))?;
    platform.cli(&["deploy", &folder.to_string_lossy()]).await?;
    platform.take_over().await?;
    Ok(all_of(calls).await)
}

type Calls = JoinSet<Outcome>;

/// `clients` that each make `count` calls of `function`, which take `each`.
fn begin(address: &Address, function: &str, clients: usize, count: usize, each: Duration) -> Calls {
    let mut calls = JoinSet::new();
    for _ in 0..clients {
        let (address, request) = (address.clone(), get(&format!("/{function}/?ms={}", each.as_millis())));
        calls.spawn_local(async move {
            let (mut kept, mut outcome) = (None, Outcome::default());
            for _ in 0..count {
                let begun = Instant::now();
                let failure = steady::call(&address, &request, &mut kept).await.err();
                // Only what is more than the call itself says anything.
                outcome.note(begun.elapsed().saturating_sub(each), failure);
            }
            outcome
        });
    }
    calls
}

async fn all_of(mut calls: Calls) -> Outcome {
    let mut all = Outcome::default();
    while let Some(ended) = calls.join_next().await {
        match ended {
            Ok(outcome) => all.add(outcome),
            Err(error) => all.note(Duration::ZERO, Some(error.to_string())),
        }
    }
    all
}
