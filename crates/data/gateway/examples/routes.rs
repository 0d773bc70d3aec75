//! What a lookup costs and how much memory a function with a route takes, from 100 to 100,000 functions: a line of JSON each.
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

const LOOKUPS: usize = 400_000;

/// Functions with a route by path, by parameter, by host: a third each.
fn put(snapshot: &mut Snapshot, n: usize) -> Option<()> {
    let name: FunctionName = format!("shop-{n}").parse().ok()?;
    let target = Target { function: name.clone(), alias: AliasName::live(), revisions: Arc::new([]) };
    let aliases = HashMap::from([(AliasName::live(), Arc::new(target))]);
    snapshot.functions.insert(name.clone(), Arc::new(FunctionView { name: name.clone(), aliases }));
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

/// Nanoseconds of a lookup, over questions in random order; the questions are made before.
fn lookup(table: &Table, count: usize, ask: impl Fn(usize) -> (Option<String>, String)) -> f64 {
    let headers = HeaderMap::new();
    let asks: Vec<_> = (0..4096).map(|_| ask(fastrand::usize(..count))).collect();
    let begun = Instant::now();
    for n in 0..LOOKUPS {
        let Some((host, path)) = asks.get(n % asks.len()) else { continue };
        let found = table.find(Ask { host: host.as_deref(), path, method: &Method::GET, headers: &headers });
        assert!(black_box(found).is_ok(), "{path}");
    }
    begun.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

fn main() {
    for count in [100, 1_000, 10_000, 100_000] {
        let mut snapshot = Snapshot::default();
        assert!((0..count).all(|n| put(&mut snapshot, n).is_some()));
        let snapshot = Arc::new(snapshot);
        let (before, begun) = (LIVE.load(Relaxed), Instant::now());
        let table = Table::new(Arc::clone(&snapshot));
        let (build, bytes) = (begun.elapsed(), LIVE.load(Relaxed) - before);
        // One change: the next picture, and the table from this one.
        let mut next = (*snapshot).clone();
        assert!(put(&mut next, count).is_some());
        let next = Arc::new(next);
        let begun = Instant::now();
        let changed = table.next(next);
        let change = begun.elapsed();
        drop(changed);
        let third = |n: usize, kind: usize| (n / 3 * 3 + kind).min(count / 3 * 3 - 3 + kind);
        println!(
            r#"{{"functions":{count},"prefix_ns":{:.0},"parameter_ns":{:.0},"host_ns":{:.0},"name_ns":{:.0},"bytes_each":{},"build_ms":{:.1},"change_us":{:.0}}}"#,
            lookup(&table, count, |n| (None, format!("/api/v1/shop-{}/cart/7", third(n, 0)))),
            lookup(&table, count, |n| (None, format!("/users/42/shop-{}", third(n, 1)))),
            lookup(&table, count, |n| (Some(format!("shop-{}.example.com", third(n, 2))), "/cart/7".to_owned())),
            lookup(&table, count, |n| (None, format!("/shop-{n}/cart/7"))),
            bytes / count,
            build.as_secs_f64() * 1e3,
            change.as_secs_f64() * 1e6,
        );
    }
}
