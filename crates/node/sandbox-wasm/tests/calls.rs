//! What a caller sees of a component that behaves, and of one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame};
use mayfly_sandbox_wasm::{Engine, Error, Options, Output};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use support::{Bench, block_on, guest, probe};
use tokio::sync::mpsc;
use types::{Code, record::Outcome};
use wire::{Body, BodyError, End};

/// A body that comes from elsewhere, piece by piece.
struct Feed(mpsc::Receiver<Bytes>);

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

async fn frame(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

#[test]
fn a_request_is_answered_with_status_headers_and_body() {
    block_on(async {
        let bench = Bench::new();
        let request = http::Request::put("/headers?x=1").header("host", "a.example").header("x-two", "zwei");
        let response = bench.send(request.body(Body::Empty).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let values: Vec<_> = response.headers().get_all("x-one").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(values, ["1", "2"]);
        // The guest had ended, so its body is whole: no chunks on the wire.
        assert!(matches!(response.body(), Body::Full(_)), "{:?}", response.body());
        let text = support::text(response).await;
        assert_eq!(text, "Method::Put a.example\nx-two=zwei\n");
        assert_eq!(bench.end().await, End::ok(201));
    });
}

#[test]
fn a_request_without_a_host_is_answered() {
    block_on(async {
        let bench = Bench::new();
        let response = bench.get("/headers").await.unwrap();
        assert!(support::text(response).await.starts_with("Method::Get localhost\n"));
    });
}

#[test]
fn the_statuses_of_http_pass() {
    block_on(async {
        let bench = Bench::new();
        for status in [200, 204, 304, 404, 503, 599] {
            let response = bench.get(&format!("/status?{status}")).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(support::text(response).await, "");
            assert_eq!(bench.end().await, End::ok(status));
        }
    });
}

/// 10 MiB there and back, and neither side ever holds more than a part of it.
#[test]
fn a_body_streams_both_ways() {
    block_on(async {
        const PIECE: usize = 64 << 10;
        const PIECES: usize = 160;
        let bench = Bench::new();
        let (feed, fed) = mpsc::channel(1);
        let request = http::Request::post("/echo").body(Body::stream(Feed(fed))).unwrap();
        let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let feeder = {
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                for i in 0..PIECES {
                    feed.send(Bytes::from(vec![i as u8; PIECE])).await.unwrap();
                    sent.fetch_add(PIECE, std::sync::atomic::Ordering::Relaxed);
                }
            })
        };
        let mut body = bench.send(request).await.unwrap().into_body();
        let (mut got, mut ahead) = (0, 0);
        while let Some(data) = frame(&mut body).await {
            for byte in data.unwrap() {
                assert_eq!(byte, (got / PIECE) as u8, "at {got}");
                got += 1;
            }
            ahead = ahead.max(sent.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(got));
        }
        assert_eq!(got, PIECE * PIECES);
        assert!(ahead < 2 << 20, "{ahead} bytes were on their way at once");
        feeder.await.unwrap();
        assert_eq!(bench.end().await, End::ok(200));
    });
}

#[test]
fn nobody_reads_so_the_guest_waits() {
    block_on(async {
        let bench = Bench::new();
        let mut body = bench.get("/big?20000000").await.unwrap().into_body();
        // The guest is stopped by its full channel, not by its end.
        assert_eq!(bench.engine.in_flight(), 1);
        let mut got = 0;
        while let Some(data) = frame(&mut body).await {
            got += data.unwrap().len();
        }
        assert_eq!((got, bench.end().await), (20_000_000, End::ok(200)));
        assert_eq!(bench.engine.in_flight(), 0);
    });
}

#[test]
fn the_environment_is_the_revisions() {
    block_on(async {
        let bench = Bench::new().env(&[("STAGE", "dev"), ("EMPTY", ""), ("UMLAUT", "ä")]);
        let response = bench.get("/env").await.unwrap();
        assert_eq!(support::text(response).await, "STAGE=dev\nEMPTY=\nUMLAUT=ä\n");
    });
}

#[test]
fn what_is_printed_comes_line_by_line_with_the_calls_id() {
    block_on(async {
        let bench = Bench::new();
        let response = bench.get("/print").await.unwrap();
        assert_eq!(support::text(response).await, "printed");
        let lines = bench.lines();
        let of = |output| lines.iter().filter(|l| l.output == output).map(|l| l.text.as_str()).collect::<Vec<_>>();
        assert_eq!(of(Output::Stdout), ["first line", "second line", "no end"]);
        assert_eq!(of(Output::Stderr), ["an error"]);
        let id = *bench.ids.lock().last().unwrap();
        assert!(lines.iter().all(|line| line.id == id));
    });
}

#[test]
fn a_flood_of_output_is_cut_into_lines() {
    block_on(async {
        let bench = Bench::new();
        bench.get("/noise?1048576").await.unwrap();
        let lengths: Vec<usize> = bench.lines().iter().map(|line| line.text.len()).collect();
        assert_eq!(lengths, [64 << 10; 16]);
    });
}

#[test]
fn a_trap_is_a_function_error_with_its_backtrace_in_the_log() {
    block_on(async {
        let bench = Bench::new();
        let fault = bench.get("/trap?3").await.unwrap_err();
        assert_eq!(fault.code, Code::FunctionError);
        assert!(fault.detail.contains("unreachable"), "{fault}");
        assert_eq!(bench.end().await.outcome, Outcome::FunctionError);
        let log: Vec<String> =
            bench.lines().into_iter().filter(|l| l.output == Output::Stderr).map(|line| line.text).collect();
        assert!(log.iter().any(|line| line.contains("as asked")), "the panic's own words: {log:#?}");
        let stack: Vec<&String> = log.iter().filter(|line| line.ends_with(": probe::deep")).collect();
        assert_eq!(stack.len(), 4, "{log:#?}");
    });
}

#[test]
fn endless_recursion_is_a_function_error() {
    block_on(async {
        let bench = Bench::new();
        let fault = bench.get("/recurse").await.unwrap_err();
        assert_eq!(fault.code, Code::FunctionError);
        assert!(bench.get("/hello").await.is_ok());
    });
}

/// The lane is one thread: while one guest spins on it, the others are answered all the same.
#[test]
fn an_endless_loop_meets_its_deadline_and_starves_nobody() {
    let mut late = Vec::new();
    // A busy machine may delay one attempt; the code may not delay all of them.
    for _ in 0..5 {
        let over = block_on(async {
            let bench = Arc::new(Bench::new().deadline(Duration::from_millis(300)));
            let neighbour = {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    let (begun, mut answered) = (Instant::now(), 0);
                    while begun.elapsed() < Duration::from_millis(250) {
                        bench.get("/hello").await.unwrap();
                        answered += 1;
                        // As a request that comes over a socket: it has to be polled for.
                        tokio::time::sleep(Duration::from_micros(100)).await;
                    }
                    answered
                })
            };
            let begun = Instant::now();
            let fault = bench.get("/spin").await.unwrap_err();
            let took = begun.elapsed();
            assert_eq!(fault.code, Code::FunctionTimeout);
            assert!(bench.lines().iter().any(|line| line.text.contains("interrupt")), "where it was, in the log");
            assert!(took >= Duration::from_millis(300), "{took:?}");
            let answered = neighbour.await.unwrap();
            assert!(answered >= 20, "the neighbour got {answered} answers in 250 ms");
            took - Duration::from_millis(300)
        });
        if over <= Duration::from_millis(50) {
            return;
        }
        late.push(over);
    }
    panic!("the deadline was passed by {late:?}");
}

#[test]
fn a_guest_that_waits_meets_its_deadline() {
    block_on(async {
        let bench = Bench::new().deadline(Duration::from_millis(50));
        let fault = bench.get("/sleep?60000").await.unwrap_err();
        assert_eq!(fault.code, Code::FunctionTimeout);
        assert_eq!(bench.end().await.outcome, Outcome::TimedOut);
        assert_eq!(bench.engine.in_flight(), 0);
    });
}

#[test]
fn memory_ends_at_the_limit() {
    block_on(async {
        let bench = Bench::new().memory(types::Bytes::mib(16));
        let fault = bench.get("/bomb").await.unwrap_err();
        assert_eq!(fault.code, Code::MemoryExceeded);
        assert!(fault.detail.contains(&(16 << 20).to_string()), "{fault}");
        assert_eq!(bench.end().await.outcome, Outcome::Crashed);
        assert_eq!(support::text(bench.get("/eat?8000000").await.unwrap()).await, "8000000");
        assert_eq!(bench.get("/eat?17000000").await.unwrap_err().code, Code::MemoryExceeded);
    });
}

/// Less than what the component asks for at its start.
#[test]
fn a_limit_that_is_too_small_to_start_is_said_so() {
    block_on(async {
        let bench = Bench::new().memory(types::Bytes::kib(128));
        assert_eq!(bench.get("/hello").await.unwrap_err().code, Code::MemoryExceeded);
    });
}

#[test]
fn a_guest_that_does_not_answer_is_told_apart() {
    block_on(async {
        let bench = Bench::new();
        for (path, code, told) in [
            ("/none", Code::ResponseInvalid, "without setting a response"),
            ("/error", Code::FunctionError, "no tea today"),
            ("/exit?0", Code::FunctionExited, "status 0"),
            ("/exit?1", Code::FunctionExited, "status 1"),
            ("/abandon", Code::ResponseInvalid, "without finishing"),
        ] {
            let fault = bench.get(path).await.unwrap_err();
            assert_eq!(fault.code, code, "{path}: {fault}");
            assert!(fault.detail.contains(told), "{path}: {fault}");
            assert_eq!(bench.end().await.code, Some(code), "{path}");
        }
    });
}

#[test]
fn a_trap_in_the_middle_breaks_the_body_off() {
    block_on(async {
        let bench = Bench::new();
        let mut body = bench.get("/half").await.unwrap().into_body();
        assert_eq!(frame(&mut body).await.unwrap().unwrap(), "half of it");
        let error = frame(&mut body).await.expect("not an end").unwrap_err();
        let fault = error.downcast_ref::<types::Fault>().expect("a fault");
        assert_eq!(fault.code, Code::FunctionError);
        assert!(frame(&mut body).await.is_none());
        assert_eq!(bench.end().await.code, Some(Code::FunctionError));
    });
}

#[test]
fn a_deadline_in_the_middle_breaks_the_body_off() {
    block_on(async {
        let bench = Bench::new().deadline(Duration::from_millis(60));
        let mut body = bench.get("/drip").await.unwrap().into_body();
        let error = loop {
            match frame(&mut body).await.expect("it drips for ever") {
                Ok(data) => assert_eq!(data, "drip\n"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.downcast_ref::<types::Fault>().unwrap().code, Code::FunctionTimeout);
        assert_eq!(bench.end().await.outcome, Outcome::TimedOut);
        assert_eq!(bench.engine.in_flight(), 0);
    });
}

#[test]
fn a_body_that_is_dropped_ends_its_guest() {
    block_on(async {
        let bench = Bench::new();
        let mut body = bench.get("/drip").await.unwrap().into_body();
        assert_eq!(frame(&mut body).await.unwrap().unwrap(), "drip\n");
        drop(body);
        assert_eq!(bench.end().await.outcome, Outcome::Cancelled);
        assert_eq!(bench.engine.in_flight(), 0);
    });
}

#[test]
fn a_call_that_is_dropped_ends_its_guest() {
    block_on(async {
        let bench = Bench::new();
        for path in ["/sleep?60000", "/spin"] {
            let given_up = tokio::time::timeout(Duration::from_millis(20), bench.get(path)).await;
            assert!(given_up.is_err(), "{path}");
            assert_eq!(bench.end().await.outcome, Outcome::Cancelled, "{path}");
            assert_eq!(bench.engine.in_flight(), 0, "{path}");
        }
    });
}

#[test]
fn a_guest_goes_on_after_its_answer() {
    block_on(async {
        let bench = Bench::new();
        let begun = Instant::now();
        let response = bench.get("/after?100").await.unwrap();
        assert_eq!(support::text(response).await, "answered");
        assert!(begun.elapsed() < Duration::from_millis(100), "the answer waited for the guest");
        assert!(bench.lines().is_empty());
        assert_eq!(bench.end().await, End::ok(200));
        assert!(begun.elapsed() >= Duration::from_millis(100), "the slot was free before the guest had ended");
        assert_eq!(bench.lines()[0].text, "afterwards");
    });
}

#[test]
fn a_guest_reaches_nothing_outside() {
    block_on(async {
        let bench = Bench::new();
        let text = support::text(bench.get("/outbound").await.unwrap()).await;
        assert!(text.contains("HttpRequestDenied"), "{text}");
        let text = support::text(bench.get("/reach").await.unwrap()).await;
        assert_eq!(text, "dirs=0 random=16 clock=true stdin-empty=true");
    });
}

#[test]
fn calls_share_nothing() {
    block_on(async {
        let bench = Bench::new();
        for _ in 0..50 {
            assert_eq!(support::text(bench.get("/count").await.unwrap()).await, "1");
        }
    });
}

#[test]
fn the_pool_has_an_end_and_says_so() {
    block_on(async {
        let bench = Arc::new(Bench::with(Options { max_instances: 1, ..Options::default() }));
        let first = {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.get("/sleep?100").await.map(|response| response.status()) })
        };
        tokio::task::yield_now().await;
        assert_eq!(bench.engine.in_flight(), 1);
        let fault = bench.get("/hello").await.unwrap_err();
        assert_eq!(fault.code, Code::CapacityExhausted);
        assert!(fault.code.retry());
        assert_eq!(first.await.unwrap().unwrap(), StatusCode::OK);
        assert!(bench.get("/hello").await.is_ok());
    });
}

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    block_on(async {
        let bench = Bench::new();
        for _ in 0..1000 {
            bench.get("/hello").await.unwrap();
        }
        let before = support::resident();
        let mut whole = 0;
        for i in 0..10_000 {
            let path = if i % 10 == 0 { "/big?100000" } else { "/hello" };
            let body = bench.get(path).await.unwrap().into_body();
            whole += u32::from(matches!(body, Body::Full(_)));
            if i % 10 == 0 {
                assert_eq!(body.collect(1 << 20).await.unwrap().len(), 100_000);
            }
        }
        // The rest was interrupted by a tick between its head and its end.
        assert!(whole >= 8000, "{whole} of 9000 short calls were answered without a task");
        let grown = support::resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes in 10,000 calls");
        while bench.engine.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_missing_import_is_named() {
    let error = Engine::compile(&guest("absent.wasm")).unwrap_err();
    assert!(matches!(error, Error::MissingImport(_)), "{error:?}");
    assert!(error.to_string().contains("mayfly:test/absent@1.2.3"), "{error}");
}

#[test]
fn a_component_without_the_handler_is_refused() {
    let error = Engine::compile(&guest("mute.wasm")).unwrap_err();
    assert!(matches!(error, Error::NoHandler(_)), "{error:?}");
    assert!(error.to_string().contains("exports wasi:cli/run@0.2.0"), "{error}");
}

#[test]
fn garbage_is_refused() {
    let mut torn = guest("probe.wasm");
    torn.truncate(torn.len() / 2);
    assert!(matches!(Engine::compile(&torn).unwrap_err(), Error::Compile(_)));
    assert!(matches!(Engine::compile(b"#!/bin/sh\n").unwrap_err(), Error::NotComponent(_)));
}

#[test]
fn an_artifact_of_another_engine_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(&Options { max_instances: 1, ..Options::default() }).unwrap();
    let good = probe();
    let key = engine.settings_key();
    let at = good.windows(key.len()).position(|w| w == key.as_bytes()).expect("the key is in the artifact");
    let mut other = good.to_vec();
    other[at..at + key.len()].copy_from_slice(&b"0123456789abcdef0123456789abcdef"[..key.len()]);
    for (name, bytes) in [
        ("other", other),
        ("half", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("garbage", b"not what it was".to_vec()),
        ("wasm", guest("probe.wasm")),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = engine.load(&path).err().unwrap_or_else(|| panic!("{name} was loaded"));
        assert!(matches!(error, Error::Stale { .. }), "{name}: {error}");
    }
    assert!(matches!(engine.load(&dir.path().join("none")), Err(Error::Read { .. })));
    let path = dir.path().join("good");
    std::fs::write(&path, good).unwrap();
    assert!(engine.load(&path).is_ok());
}

/// Address space for 10,000 instances, whatever the machine's memory.
#[test]
fn a_large_pool_costs_no_memory() {
    let before = support::resident();
    let bench = Bench::with(Options { max_instances: 10_000, ..Options::default() });
    block_on(async { assert!(bench.get("/hello").await.is_ok()) });
    let grown = support::resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}
