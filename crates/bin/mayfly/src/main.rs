//! The one binary: the platform (`up`), its command line, and the shim beside user code (`guest`).

mod cli;
mod client;
mod server;

use cli::args::Verb;
use std::process::ExitCode;

/// A call makes some thirty small allocations; with glibc's allocator they are a tenth of its CPU time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The shim is started for every instance, so it is dispatched before anything else costs time.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "guest") {
        std::process::exit(guest::main(std::env::args_os().skip(2)));
    }
    let cli = cli::parse();
    let served = match cli.verb {
        Verb::Up(args) => server::up(&cli.global, &args),
        Verb::Guest(_) => Err(anyhow::anyhow!("this verb is the platform's own")),
        Verb::Compile(args) => return server::compile(&args),
        verb => return cli::run(&cli.global, verb),
    };
    served.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(4)
    })
}
