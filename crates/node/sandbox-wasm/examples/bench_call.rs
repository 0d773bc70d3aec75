//! CPU time of a call in process, without HTTP: `bench_call FILE.wasm [PATH] [CALLS] [INSTANCES]`.
//!
//! Prints the median and the mean of CPU microseconds per call (of this thread; the ticker's thread apart), and what
//! compiling and loading took. Run it with `--release` for numbers to compare.

use mayfly_sandbox_wasm::{Engine, Limits, LogSink, Options};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use types::{Bytes, InstanceId, InvocationId};
use wire::{Body, CallInfo, End, Lease, Permit};

struct NoLease;

impl Lease for NoLease {
    fn release(&self, _: &CallInfo, _: End) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("give a component")?;
    let path = args.next().unwrap_or_else(|| "/hello".into());
    let calls: usize = args.next().map_or(Ok(50_000), |text| text.parse())?;
    let max_instances: u32 = args.next().map_or(Ok(1000), |text| text.parse())?;

    let wasm = std::fs::read(file)?;
    let begun = (Instant::now(), cpu(libc::CLOCK_PROCESS_CPUTIME_ID));
    let artifact = Engine::compile(&wasm)?;
    let cpu_used = cpu(libc::CLOCK_PROCESS_CPUTIME_ID) - begun.1;
    println!("compile: {:.2?}, {cpu_used:.2?} CPU, {} -> {} bytes", begun.0.elapsed(), wasm.len(), artifact.len());
    let dir = tempfile::tempdir()?;
    let cwasm = dir.path().join("a.cwasm");
    std::fs::write(&cwasm, artifact)?;

    let engine = Engine::new(&Options { max_instances, ..Options::default() })?;
    let begun = Instant::now();
    let component = engine.load(&cwasm)?;
    println!("load: {:.1?}", begun.elapsed());

    let env: Arc<[(String, String)]> = Arc::from([("STAGE".to_owned(), "bench".to_owned())]);
    let log: LogSink = Arc::new(|_, _, _| {});
    let lease: Arc<dyn Lease> = Arc::new(NoLease);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let call = || async {
        let request = http::Request::get(&path).header("host", "bench").header("accept", "*/*").body(Body::Empty)?;
        let id = InvocationId::random();
        let arrived = Instant::now();
        let info = CallInfo { id, instance: InstanceId::random(), arrived, waited: Duration::ZERO, cold: false };
        let limits = Limits { memory: Bytes::mib(256), deadline: arrived + Duration::from_secs(30) };
        let permit = Permit::new(Arc::clone(&lease), info);
        let response = component.call(request, id, limits, &env, &log, permit).await?;
        let body = response.into_body().collect(1 << 30).await.map_err(|_| "the body broke off")?;
        Ok::<usize, Box<dyn std::error::Error>>(body.len())
    };
    runtime.block_on(async {
        let begun = Instant::now();
        let len = call().await?;
        println!("first call: {:.1?}, {len} bytes", begun.elapsed());
        let mut batches = Vec::new();
        let batch = (calls / 100).max(1);
        for _ in 0..100 {
            let begun = cpu(libc::CLOCK_THREAD_CPUTIME_ID);
            for _ in 0..batch {
                call().await?;
            }
            batches.push((cpu(libc::CLOCK_THREAD_CPUTIME_ID) - begun).as_secs_f64() * 1e6 / batch as f64);
        }
        batches.sort_by(f64::total_cmp);
        let mean = batches.iter().sum::<f64>() / batches.len() as f64;
        let at = |share: usize| batches.get(batches.len() * share / 100).copied().unwrap_or_default();
        println!(
            "CPU per call: p50 {:.2} us, mean {mean:.2}, p10 {:.2}, p90 {:.2} ({batch} a batch)",
            at(50),
            at(10),
            at(90)
        );
        Ok(())
    })
}

fn cpu(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the one write that the call makes.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
