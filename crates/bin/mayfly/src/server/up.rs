//! `mayfly up`: serves until a signal ends it.

use super::{Handle, Options, demo, handover, start};
use crate::cli::{
    args::{Global, UpArgs},
    place::{TOKEN_FILE, data_dir},
};
use serde_json::json;
use std::{path::Path, process::ExitCode};
use tokio::signal::unix::{Signal, SignalKind, signal};

const TAKE_OVER: &str = "--take-over";

/// Starts every role and serves until SIGINT or SIGTERM; a second signal ends it at once.
///
/// # Errors
/// Where it cannot start, or a role failed.
pub fn up(global: &Global, args: &UpArgs) -> anyhow::Result<ExitCode> {
    // The demo's table is what its user looks at.
    chassis::telemetry::init(if args.demo.is_some() { "warn" } else { "info" });
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("mayfly").build()?;
    runtime.block_on(serve(global, args))
}

async fn serve(global: &Global, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(global.data_dir.as_deref());
    let options = Options {
        data_dir: data_dir.clone(),
        listen: args.listen,
        api: args.api,
        admin: args.admin,
        lanes: args.lanes,
        take_over: args.take_over,
        tls_listen: args.tls.tls_listen,
        gateway: args.traffic.options(&args.tls),
        calls_max: args.calls_max,
        wasm: sandbox_wasm::Options { max_instances: args.wasm_calls_max, ..Default::default() },
        rehearse_outages: args.rehearse_outages,
    };
    // Before anything may replace it.
    let program = handover::program()?;
    let mut replace = signal(SignalKind::user_defined2())?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // From here on: the signal would end a process that does not listen to it.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut handle = start(options).await?;
    let reload = handle.reload.clone();
    announce(global, &data_dir, &handle);
    let (api_url, token, gateway) = (handle.api_url.clone(), handle.token.clone(), handle.gateway_addr);
    let demo = async {
        if let Some(folder) = &args.demo {
            demo::run(folder, &api_url, &token, gateway, global.json).await;
        }
        std::future::pending::<()>().await
    };
    let reloads = async {
        while hangup.recv().await.is_some() {
            reload.now();
        }
        std::future::pending::<()>().await
    };
    let failed = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        done = &mut handle.done => Some(done),
        () = demo => None,
        () = start_heirs(&mut replace, &program) => None,
        () = reloads => None,
    };
    if let Some(done) = failed {
        done??;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("stopping: calls that run may end (another signal stops at once)");
    tokio::select! {
        stopped = handle.stop() => stopped.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

/// Each SIGUSR2 starts the program that lies in this one's place now, with the same arguments; it knocks by itself.
async fn start_heirs(replace: &mut Signal, program: &Path) {
    while replace.recv().await.is_some() {
        let args = std::env::args_os().skip(1).filter(|arg| arg != TAKE_OVER);
        // Not waited for: it outlives this process.
        match tokio::process::Command::new(program).args(args).arg(TAKE_OVER).spawn() {
            Ok(heir) => tracing::info!(pid = heir.id(), program = %program.display(), "started to take over"),
            Err(error) => tracing::error!(%error, program = %program.display(), "cannot be started to take over"),
        }
    }
    std::future::pending().await
}

fn announce(global: &Global, data_dir: &Path, handle: &Handle) {
    let (gateway, admin) = (format!("http://{}", handle.gateway_addr), format!("http://{}", handle.admin_addr));
    let token_file = data_dir.join(TOKEN_FILE);
    let tls = handle.tls_addr.map(|addr| format!("https://{addr}"));
    if global.json {
        let line = json!({
            "pid": std::process::id(), "gateway": gateway, "tls": tls, "api": handle.api_url, "admin": admin, "data_dir": data_dir,
            "token_file": token_file,
        });
        println!("{line}");
        return;
    }
    println!("Mayfly {} serves", env!("CARGO_PKG_VERSION"));
    println!("  functions  {gateway}/<function>/…");
    if let Some(tls) = tls {
        println!("             {tls}/<function>/…");
    }
    println!("  API        {}/v1  (token in {})", handle.api_url, token_file.display());
    println!("  health     {admin}/healthz, /readyz, /metrics");
    println!("  data       {}", data_dir.display());
}

/// A connection and an instance each take some files; the usual soft limit of 1,024 is for programs that use select(2).
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
