//! What one call's instance sees of the world: its request, its environment, clocks, randomness and a place to print.

use crate::{
    call::Limits,
    limit::Limiter,
    log::{Lines, LogSink, Output, Stream},
    outbound::Hooks,
    ticker::InFlight,
};
use bindings::Outbound;
use parking_lot::Mutex;
use std::{sync::Arc, time::Instant};
use types::InvocationId;
use wasmtime::{
    Engine,
    component::{HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    p2::bindings::{cli::environment, io},
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The environment variables of a revision.
pub(crate) type Env = Arc<[(String, String)]>;

/// Handles that a guest may have open at once: requests, streams, pollables.
const HANDLES_MAX: usize = 10_000;

/// Bytes of randomness in one call: more would hold up the lane.
const RANDOM_MAX: u64 = 1 << 20;

/// The data of a store.
pub(crate) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    /// Made when the guest first asks for it, which many never do.
    wasi: Option<Box<WasiCtx>>,
    env: Env,
    pub(crate) limiter: Limiter,
    pub(crate) deadline: Instant,
    _in_flight: InFlight,
}

impl State {
    pub(crate) fn new(
        id: InvocationId,
        limits: Limits,
        env: Env,
        log: LogSink,
        in_flight: InFlight,
        outbound: Option<Arc<Outbound>>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            table,
            http: WasiHttpCtx::new(),
            hooks: Hooks { lines: Arc::new(Mutex::new(Lines::new(log, id))), outbound, made: 0 },
            wasi: None,
            env,
            limiter: Limiter::new(limits.memory.0),
            deadline: limits.deadline,
            _in_flight: in_flight,
        }
    }

    /// Writes what the platform has to say beside what the guest printed.
    pub(crate) fn print(&mut self, text: &str) {
        self.hooks.print(text);
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let lines = &self.hooks.lines;
        // No files, no sockets, empty stdin: what the builder does not name is denied.
        let ctx = self.wasi.get_or_insert_with(|| {
            let stream = |output| Stream { output, lines: Arc::clone(lines) };
            let mut builder = WasiCtx::builder();
            builder.stdout(stream(Output::Stdout)).stderr(stream(Output::Stderr));
            builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).max_random_size(RANDOM_MAX);
            Box::new(builder.build())
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The revision's variables without a copy for each instance.
impl environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.env.to_vec())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

struct Environment;

impl HasData for Environment {
    type Data<'a> = &'a mut State;
}

/// All that a component may import: WASI 0.2 and `wasi:http`.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // The same again for those that can do without the whole context of WASI.
    linker.allow_shadowing(true);
    io::error::add_to_linker::<_, Io>(&mut linker, |state: &mut State| &mut state.table)?;
    io::poll::add_to_linker::<_, Io>(&mut linker, |state: &mut State| &mut state.table)?;
    io::streams::add_to_linker::<_, Io>(&mut linker, |state: &mut State| &mut state.table)?;
    environment::add_to_linker::<_, Environment>(&mut linker, |state: &mut State| state)?;
    Ok(linker)
}
