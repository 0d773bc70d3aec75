//! The platform's own log: lines on stderr, filtered by `MAYFLY_LOG` (as `info` or `dispatch=debug`).

use tracing_subscriber::EnvFilter;

/// Sets the process's logger up, once; a second call changes nothing.
pub fn init(default_filter: &str) {
    let filter = EnvFilter::try_from_env("MAYFLY_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_target(true)
        .try_init();
}
