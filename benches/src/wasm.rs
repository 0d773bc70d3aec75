//! Bench `wasm`: a component with a new instance for each request, warm and never run before.

use crate::{
    duel::{self, Side, median},
    folder,
    load::{Connection, get, percentile},
    options::Options,
    platform::Platform,
    report::{Report, Row},
    wasmtime::Serve,
};
use anyhow::{Context, ensure};

const NAME: &str = "hello-wasm";
/// Components that are called once each.
const COLD: usize = 50;
/// Calls that tell what a warm one takes.
const WARM: usize = 500;

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("wasm");
    warm(&mut report, options).await?;
    cold(&mut report, options).await?;
    report.finish()
}

async fn warm(report: &mut Report, options: &Options) -> anyhow::Result<()> {
    let platform = deployed(&options.binary).await?;
    let other = match &options.against {
        Some(binary) => Some(deployed(binary).await?),
        None => None,
    };
    let serve = match Serve::start().await {
        Ok(serve) => Some(serve),
        Err(error) => {
            println!("no baseline: {error:#}");
            None
        }
    };
    let mut sides = vec![side("mayfly", &platform)?];
    let serve = serve.as_ref().map(|serve| ("wasmtime serve", serve.address(), serve.meter()));
    sides.extend(serve.map(|(name, address, meter)| Side {
        name: name.into(),
        address,
        request: get("/"),
        meter: Some(meter),
    }));
    sides.extend(other.as_ref().map(|platform| side("other build", platform)).transpose()?);
    for connections in [32, 16, 1] {
        let rounds = duel::run(&sides.iter().collect::<Vec<_>>(), connections, options).await?;
        let own = rounds.first().context("no rounds")?;
        for (what, unit, goal, read) in [
            ("cpu per request, component, fresh", "µs", "≤ 22 µs", (|s| s.cpu_us) as fn(&crate::load::Sample) -> f64),
            ("p50, component, fresh", "µs", "", |s| s.p50_us),
        ] {
            let mut row = Row::new(format!("{what}, c={connections}"), own.median(read), unit).spread(own.spread(read));
            if connections > 1 && !goal.is_empty() {
                row = row.goal(goal);
            }
            if let (Some(other), Some(side)) = (rounds.get(1), sides.get(1)) {
                row = row.against(&side.name, other.median(read), own.ratio(other, read));
            }
            report.row(row);
        }
    }
    Ok(())
}

async fn deployed(binary: &std::path::Path) -> anyhow::Result<Platform> {
    let platform = Platform::start(binary)?;
    platform.deploy(&folder::component(&platform.place(), NAME, None)?)?;
    platform.call(&format!("/{NAME}/")).await?;
    Ok(platform)
}

fn side(name: &str, platform: &Platform) -> anyhow::Result<Side> {
    let (address, meter) = (platform.gateway()?, Some(platform.meter()?));
    Ok(Side { name: name.into(), address, request: get(&format!("/{NAME}/")), meter })
}

/// First calls of components that this platform has compiled but never loaded, less what a warm call takes.
async fn cold(report: &mut Report, options: &Options) -> anyhow::Result<()> {
    let mut platform = Platform::start(&options.binary)?;
    platform.deploy(&folder::component(&platform.place(), NAME, None)?)?;
    let names: Vec<String> = (0..COLD).map(|number| format!("cold-{number}")).collect();
    for name in &names {
        platform.deploy(&folder::component(&platform.place(), name, Some(name))?)?;
    }
    let mut nanos = Vec::new();
    for _ in 0..options.rounds {
        platform.restart()?;
        let mut connection = Connection::open(&platform.gateway()?).await?;
        let mut warm = Vec::new();
        for _ in 0..WARM {
            warm.push(first_byte(&mut connection, NAME).await?);
        }
        let usual = (percentile(&mut warm, 0.5) * 1000.0) as u32;
        for name in &names {
            nanos.push(first_byte(&mut connection, name).await?.saturating_sub(usual));
        }
    }
    let (p50, p99) = (percentile(&mut nanos, 0.50) / 1000.0, percentile(&mut nanos, 0.99) / 1000.0);
    println!("  {} first calls of {COLD} components: p50 {p50:.3} ms, p99 {p99:.3} ms", nanos.len());
    let spread = nanos.chunks(COLD).map(|round| percentile(&mut round.to_vec(), 0.5)).collect::<Vec<_>>();
    println!("  the restarts' own p50, median: {:.3} ms", median(spread) / 1000.0);
    report.row(Row::new("component, cold start, p50 added", p50, "ms").goal("≤ 1 ms"));
    report.row(Row::new("component, cold start, p99 added", p99, "ms"));
    Ok(())
}

async fn first_byte(connection: &mut Connection, name: &str) -> anyhow::Result<u32> {
    let answer = connection.call(&get(&format!("/{name}/"))).await?;
    ensure!(answer.status == 200, "{name} answered {}: {}", answer.status, connection.text(answer));
    Ok(u32::try_from(answer.first_byte.as_nanos())?)
}
