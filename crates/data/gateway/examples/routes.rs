//! What a lookup and a change cost and how much memory a function with a route takes, from 100 to 100,000 functions: a
//! line of JSON each.
//! `mayfly-bench routes` runs it.

use http::{HeaderMap, Method};
use mayfly_gateway::{Ask, Table};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use types::{AliasName, FunctionName, Route};
use wire::{FunctionView, Snapshot, Target};

/// Counts what is allocated now.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's own work; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Of each measurement, all of its passes over the questions together.
const LOOKUPS: usize = 400_000;
const ROUNDS: usize = 5;
/// Functions that are asked for again and again, among however many.
const HOT: usize = 1_000;
const CHANGES: usize = 100;

/// How a function is asked for.
#[derive(Clone, Copy)]
enum By {
    Prefix,
    Parameter,
    Host,
    Name,
}

impl By {
    const ALL: [(Self, &str); 4] =
        [(Self::Prefix, "prefix"), (Self::Parameter, "parameter"), (Self::Host, "host"), (Self::Name, "name")];

    /// Functions have a route by path, by parameter, by host: a third each. All have one by their name.
    fn has(self, n: usize) -> bool {
        match self {
            Self::Name => true,
            by => n % 3 == by as usize,
        }
    }

    fn ask(self, n: usize) -> (Option<String>, String) {
        match self {
            Self::Prefix => (None, format!("/api/v1/shop-{n}/cart/7")),
            Self::Parameter => (None, format!("/users/42/shop-{n}")),
            Self::Host => (Some(format!("shop-{n}.example.com")), "/cart/7".to_owned()),
            Self::Name => (None, format!("/shop-{n}/cart/7")),
        }
    }
}

fn function(snapshot: &mut Snapshot, n: usize) -> Option<FunctionName> {
    let name: FunctionName = format!("shop-{n}").parse().ok()?;
    let target = Target {
        function: name.clone(),
        tenant: types::TenantName::default(),
        alias: AliasName::live(),
        revisions: Arc::new([]),
    };
    let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
    snapshot.functions.insert(name.clone(), Arc::new(FunctionView { name: name.clone(), aliases }));
    Some(name)
}

fn put(snapshot: &mut Snapshot, n: usize) -> Option<()> {
    let name = function(snapshot, n)?;
    let (host, path) = match n % 3 {
        0 => (None, format!("/api/v1/shop-{n}/*")),
        1 => (None, format!("/users/{{id}}/shop-{n}")),
        _ => (Some(format!("shop-{n}.example.com")), "/*".to_owned()),
    };
    let key: Arc<str> = format!("route/{n}").into();
    let (methods, headers, alias) = (Vec::new(), Default::default(), AliasName::live());
    let route = Route { host, path, methods, headers, function: name, alias, from_manifest: false };
    snapshot.routes.insert(key, Arc::new([Arc::new(route)]));
    Some(())
}

/// Nanoseconds of a lookup; the questions are made before and come in random order, each as often as all others.
fn lookup(table: &Table, by: By, mut numbers: Vec<usize>) -> f64 {
    let headers = HeaderMap::new();
    fastrand::shuffle(&mut numbers);
    let asks: Vec<_> = numbers.into_iter().map(|n| by.ask(n)).collect();
    let passes = (LOOKUPS / asks.len()).max(1);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for (host, path) in (0..passes).flat_map(|_| &asks) {
                let found = table.find(Ask { host: host.as_deref(), path, method: &Method::GET, headers: &headers });
                assert!(black_box(found).is_ok(), "{path}");
            }
            begun.elapsed().as_nanos() as f64 / (passes * asks.len()) as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}

/// Microseconds of a change: the table of the next picture, from the last one. The median.
fn change(table: &Table, snapshot: &Arc<Snapshot>, next: impl Fn(&mut Snapshot)) -> f64 {
    let (mut table, mut snapshot) = (table.clone(), Arc::clone(snapshot));
    let mut all: Vec<f64> = (0..CHANGES)
        .map(|_| {
            let mut changed = (*snapshot).clone();
            next(&mut changed);
            snapshot = Arc::new(changed);
            let begun = Instant::now();
            let made = table.next(Arc::clone(&snapshot));
            let took = begun.elapsed().as_secs_f64() * 1e6;
            table = made;
            took
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(CHANGES / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    for count in [100, 1_000, 10_000, 100_000] {
        let mut snapshot = Snapshot::default();
        let begun = LIVE.load(Relaxed);
        assert!((0..count).all(|n| put(&mut snapshot, n).is_some()));
        let picture = LIVE.load(Relaxed) - begun;
        let snapshot = Arc::new(snapshot);
        let (before, begun) = (LIVE.load(Relaxed), Instant::now());
        let table = Table::new(Arc::clone(&snapshot));
        let (build, bytes) = (begun.elapsed(), LIVE.load(Relaxed) - before);
        let deploy = change(&table, &snapshot, |next| drop(function(next, fastrand::usize(..count))));
        let create = change(&table, &snapshot, |next| {
            put(next, count + fastrand::usize(..count));
        });
        let lookups: Vec<String> = By::ALL
            .into_iter()
            .map(|(by, name)| {
                let all: Vec<usize> = (0..count).filter(|n| by.has(*n)).collect();
                let hot = all.iter().copied().cycle().step_by((all.len() / HOT).max(1)).take(HOT.min(all.len()));
                let (hot, all) = (lookup(&table, by, hot.collect()), lookup(&table, by, all));
                format!(r#"{{"by":"{name}","all_ns":{all:.1},"hot_ns":{hot:.1}}}"#)
            })
            .collect();
        println!(
            r#"{{"functions":{count},"lookups":[{}],"bytes_each":{},"picture_bytes_each":{},"build_ms":{:.1},"deploy_us":{deploy:.1},"create_us":{create:.1}}}"#,
            lookups.join(","),
            bytes / count,
            picture / count,
            build.as_secs_f64() * 1e3,
        );
    }
}
