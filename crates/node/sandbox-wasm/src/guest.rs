//! One instance from its first instruction to its last, and what its end means.

use crate::{call::Head, state::State};
use std::{fmt::Write as _, sync::Arc, time::Instant};
use types::{Code, Fault};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::{ProxyPre, http::types::Scheme};
use wire::Body;

/// Bytes that one call of the host may take over from the guest: what it does not stream is small.
const HOSTCALL_BYTES_MAX: usize = 2 << 20;

/// Runs the guest to its end. The answer's head appears in `head` on the way.
///
/// # Errors
/// What the guest, its limits or the pool did; the guest's own backtrace is in its log then.
pub(crate) async fn run(
    pre: ProxyPre<State>,
    state: State,
    request: http::Request<Body>,
    head: Arc<Head>,
) -> Result<(), Fault> {
    let mut store = Store::new(pre.engine(), state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    // Two, so that a call shorter than a tick is not interrupted just because a tick falls into it.
    store.set_epoch_deadline(2);
    store.epoch_deadline_callback(|context| {
        if Instant::now() >= context.data().deadline {
            return Ok(UpdateDeadline::Interrupt);
        }
        // Not a plain yield: that one would wake the task at once, and a lane with only busy guests on it would look
        // at its sockets once in 61 ticks.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    let ended = match handle(&pre, &mut store, request, &head).await {
        Ok(()) => Ok(()),
        Err(error) => end(&error, store.data_mut(), head.is_set()),
    };
    // Before the store goes: its end must not look like the body's end to who reads the body.
    if let Err(fault) = &ended {
        head.fail(fault);
    }
    drop(store);
    ended
}

async fn handle(
    pre: &ProxyPre<State>,
    store: &mut Store<State>,
    request: http::Request<Body>,
    head: &Arc<Head>,
) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::WasiHttpView;
    let proxy = pre.instantiate_async(&mut *store).await?;
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request.map(crate::body::Request))?;
    let head = Arc::clone(head);
    let out = http.new_response_outparam_from_callback(move |answer| head.set(answer))?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
}

/// What an error of the engine means. `answered`: the head has been set.
fn end(error: &wasmtime::Error, state: &mut State, answered: bool) -> Result<(), Fault> {
    if let Some(error) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return Err(Fault::new(Code::CapacityExhausted, error.to_string()));
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        if *status == 0 && answered {
            return Ok(());
        }
        return Err(Fault::new(
            Code::FunctionExited,
            format!("the component ended with status {status} during the call"),
        ));
    }
    let trap = error.downcast_ref::<Trap>();
    state.print(&trace(error));
    if trap == Some(&Trap::Interrupt) {
        return Err(overdue());
    }
    if let Some(wanted) = state.limiter.refused {
        let max = state.limiter.max();
        let told = format!("the instance asked for {wanted} bytes of memory and may have {max}");
        return Err(Fault::new(Code::MemoryExceeded, told));
    }
    let told = match trap {
        Some(trap) => format!("the component trapped: {trap}"),
        None => error.root_cause().to_string(),
    };
    Err(Fault::new(Code::FunctionError, told))
}

pub(crate) fn overdue() -> Fault {
    Fault::new(Code::FunctionTimeout, "the call passed its deadline and was stopped")
}

/// The error's causes and the guest's stack, a line each.
fn trace(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    // The backtrace is a cause itself, in wasmtime's own words; it follows below in ours.
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.contains("wasm backtrace:")) {
        let _ = writeln!(text, "{cause}");
    }
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    for (i, frame) in frames.iter().enumerate() {
        let _ = match frame.func_name() {
            // The alternate form leaves out the hashes.
            Some(name) => writeln!(text, "{i:>4}: {:#}", rustc_demangle::demangle(name)),
            None => writeln!(text, "{i:>4}: function {}", frame.func_index()),
        };
    }
    text
}
