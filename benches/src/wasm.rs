//! Bench `wasm`: a component with a new instance for each request, warm and never run before.

use crate::{
    duel::{self, Side},
    folder,
    load::{Connection, get, percentile},
    options::Options,
    platform::Platform,
    report::{Report, Row},
    wasmtime::Serve,
    yardstick::Yardstick,
};
use anyhow::{bail, ensure};

pub const NAME: &str = "hello-wasm";
/// Connections that keep it busy.
const MANY: usize = 16;
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
    let yardstick = Yardstick::start()?;
    let mut sides = vec![side("mayfly", &platform)?, yardstick.side()];
    sides.extend(serve.as_ref().map(Serve::side));
    sides.extend(other.as_ref().map(|platform| side("other build", platform)).transpose()?);
    for connections in [MANY, 32, 1] {
        let rounds = duel::run(&sides.iter().collect::<Vec<_>>(), connections, options).await?;
        let Some(own) = rounds.first() else { bail!("no rounds") };
        // The row that the promise names has no suffix.
        let at = if connections == MANY { String::new() } else { format!(", c={connections}") };
        for (other, side) in rounds.iter().zip(&sides).skip(1) {
            let what = format!("cpu per request, component, fresh{at}");
            let row = own.row(what, "µs", &side.name, other, duel::cpu);
            report.row(if connections > 1 { row.goal("≤ 22 µs") } else { row });
        }
        for (other, side) in rounds.iter().zip(&sides).skip(2) {
            let what = format!("p50, component, fresh{at}");
            report.row(own.row(what, "µs", &side.name, other, duel::p50));
        }
    }
    Ok(())
}

pub async fn deployed(binary: &std::path::Path) -> anyhow::Result<Platform> {
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
    println!("  {} first calls of {COLD} components; slowest: {}", nanos.len(), slowest(&nanos));
    let mut rounds: Vec<f64> = nanos.chunks(COLD).map(|round| percentile(&mut round.to_vec(), 0.5)).collect();
    rounds.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&mut nanos, 0.50), percentile(&mut nanos, 0.99));
    let spread = (rounds.last().unwrap_or(&p50) - rounds.first().unwrap_or(&p50)) / p50;
    report.row(Row::new("component, cold start, p50 added", p50 / 1000.0, "ms").goal("≤ 1 ms").spread(spread));
    report.row(Row::new("component, cold start, p99 added", p99 / 1000.0, "ms"));
    Ok(())
}

/// The slowest of them, and where in their round they were.
fn slowest(nanos: &[u32]) -> String {
    let mut order: Vec<(u32, usize)> = nanos.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let told = order.iter().take(5).map(|(ns, at)| format!("{:.1} ms (no. {})", f64::from(*ns) / 1e6, at % COLD + 1));
    told.collect::<Vec<_>>().join(", ")
}

async fn first_byte(connection: &mut Connection, name: &str) -> anyhow::Result<u32> {
    let answer = connection.call(&get(&format!("/{name}/"))).await?;
    ensure!(answer.status == 200, "{name} answered {}: {}", answer.status, connection.text(answer));
    Ok(u32::try_from(answer.first_byte.as_nanos())?)
}
