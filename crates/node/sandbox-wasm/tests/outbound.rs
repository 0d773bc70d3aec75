//! What a component sees of its calls to others: allowed, refused, and the circuit of a server that is down.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

mod support;

use bindings::{Client, Tell};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Bench, block_on, text};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use types::{Happening, Manifest};

/// The probe calls `http://127.0.0.1:1/`; where that leads is the resolver's word.
struct House {
    bench: Bench,
    accepted: Arc<AtomicU32>,
    status: Arc<AtomicU16>,
    told: Arc<parking_lot::Mutex<Vec<Happening>>>,
    metrics: chassis::metrics::Metrics,
}

impl House {
    async fn with(keys: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (accepted, status) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU16::new(200)));
        tokio::spawn(serve(listener, Arc::clone(&accepted), Arc::clone(&status)));
        let resolver: bindings::Resolver = Arc::new(move |_, _| Box::pin(async move { Ok(vec![at]) }));
        let manifest = format!("name = 'a'\nruntime = 'wasm'\n[bindings.api]\ntype = 'http'\n{keys}");
        let spec = Manifest::parse(&manifest).unwrap().spec();
        let told: Arc<parking_lot::Mutex<Vec<Happening>>> = Arc::default();
        let tell: Tell = {
            let told = Arc::clone(&told);
            Arc::new(move |what, _| told.lock().push(what))
        };
        let metrics = chassis::metrics::Metrics::default();
        let outbound = Client::resolving(&metrics, resolver).open(&"a@1".parse().unwrap(), &spec.bindings, &tell);
        Self { bench: Bench::new().reaching(outbound), accepted, status, told, metrics }
    }

    async fn call(&self) -> String {
        text(self.bench.get("/outbound").await.unwrap()).await
    }

    fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Answers one request on each connection; a status of 0 hangs up instead.
async fn serve(listener: TcpListener, accepted: Arc<AtomicU32>, status: Arc<AtomicU16>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        let _ = stream.read(&mut [0; 4096]).await;
        let status = status.load(Ordering::Relaxed);
        if status != 0 {
            let head = format!(
                "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).await;
        }
    }
}

const OPEN: &str = "hosts = ['127.0.0.1:1']\nprivate = true";

#[test]
fn who_is_bound_is_reached_and_nobody_else() {
    block_on(async {
        for (keys, want, accepted) in [
            (OPEN, "it went through", 1),
            ("hosts = ['127.0.0.1']\nprivate = true", "HttpRequestDenied", 0),
            ("hosts = ['a.example']\nprivate = true", "HttpRequestDenied", 0),
            // The name is allowed, where it leads is not: what a rebound name would do.
            ("hosts = ['*:1']", "DestinationIpProhibited", 0),
        ] {
            let house = House::with(keys).await;
            let told = house.call().await;
            assert!(told.contains(want), "{keys}: {told}");
            assert_eq!(house.accepted(), accepted, "{keys}");
        }
    });
}

#[test]
fn a_redirect_is_an_answer_that_nobody_follows() {
    block_on(async {
        let house = House::with(OPEN).await;
        house.status.store(302, Ordering::Relaxed);
        assert_eq!((house.call().await.as_str(), house.accepted()), ("it went through", 1));
    });
}

#[test]
fn a_circuit_opens_refuses_without_a_connection_and_closes_after_its_probe() {
    block_on(async {
        let circuit = "circuit = { calls_min = 3, failures = 50, open = '300ms', probes = 1 }";
        let house = House::with(&format!("{OPEN}\n{circuit}")).await;
        house.status.store(0, Ordering::Relaxed);
        for _ in 0..3 {
            let told = house.call().await;
            assert!(told.contains("ConnectionTerminated"), "{told}");
        }
        assert_eq!(*house.told.lock(), [Happening::CircuitOpened]);
        let told = house.call().await;
        assert!(told.contains("DestinationUnavailable"), "{told}");
        assert_eq!(house.accepted(), 3, "an open circuit connects to nobody");
        house.status.store(200, Ordering::Relaxed);
        let begun = Instant::now();
        while house.call().await != "it went through" {
            assert!(begun.elapsed() < Duration::from_secs(10), "no probe was let through");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(*house.told.lock(), [Happening::CircuitOpened, Happening::CircuitClosed]);
        assert_eq!(house.accepted(), 4);
        let text = house.metrics.render();
        assert!(text.contains("outbound_calls_total{outcome=\"circuit_open\"}"), "{text}");
    });
}
