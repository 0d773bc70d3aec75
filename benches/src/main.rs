//! `cargo xtask bench NAME`: measures a real platform beside what else does the same work, both in one run.
//!
//! Reading order: [`load`] makes requests, [`cpu`] reads what a process used, [`duel`] lets sides take turns,
//! [`report`] writes what came out; [`platform`], [`nginx`] and [`wasmtime`] are the sides; the rest are the benches.

mod cold;
mod cpu;
mod duel;
mod folder;
mod handler;
mod idle;
mod load;
mod nginx;
mod options;
mod overload;
mod platform;
mod profile;
mod proxy;
mod report;
mod rollout;
mod routes;
mod steady;
mod upstream;
mod wasm;
mod wasmtime;
mod windows;
mod yardstick;

use anyhow::bail;
use options::Options;

const USAGE: &str = "usage: mayfly-bench proxy|idle|wasm|cold|routes|windows|overload|rollout|all
       mayfly-bench profile proxy|handler|wasm      hot functions and syscalls, by perf
    --rounds N       rounds of each side [5]
    --seconds N      length of a round [3]
    --binary FILE    the platform to measure [target/release/mayfly, built first]
    --against FILE   another build of it, measured in the same rounds
    --connections N  of a profile, or of idle
    --only TEXT      only the functions, or the phases of rollout, whose name contains it (proxy, cold, rollout)";

fn main() -> anyhow::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() || args.iter().any(|arg| arg == "--help" || arg == "-h") {
        bail!("{USAGE}");
    }
    let name = args.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match name.as_str() {
            // What `proxy` deploys: this binary is its own upstream.
            "upstream" => upstream::serve(&args).await,
            "proxy" => proxy::run(&Options::parse(&args)?).await,
            "wasm" => wasm::run(&Options::parse(&args)?).await,
            "idle" => idle::run(&Options::parse(&args)?).await,
            "rollout" => rollout::run(&Options::parse(&args)?).await,
            "routes" => routes::run(&Options::parse(&args)?).await,
            "windows" => windows::run(),
            "cold" => cold::run(&Options::parse(&args)?).await,
            "overload" => overload::run(&Options::parse(&args)?).await,
            "profile" if !args.is_empty() => {
                let bench = args.remove(0);
                profile::run(&bench, &Options::parse(&args)?).await
            }
            "all" => {
                let options = Options::parse(&args)?;
                proxy::run(&options).await?;
                wasm::run(&options).await?;
                cold::run(&options).await?;
                routes::run(&options).await?;
                overload::run(&options).await?;
                rollout::run(&options).await?;
                idle::run(&options).await
            }
            other => bail!("there is no bench `{other}`\n{USAGE}"),
        }
    })
}
