//! Bench `overload`: a function of known capacity, asked for up to four times as much by 10 to 500 clients.
//!
//! The function has a fixed number of exclusive slots and each call holds one for a fixed time, so what it can do is
//! known. Clients wait for their answer before they ask again (closed loop), and all together ask for no more than four
//! times the capacity: who is refused waits for its next turn.

use crate::{
    folder,
    load::{Connection, get, percentile},
    options::Options,
    platform::Platform,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// Slots of the function: so many instances with one slot each.
const SLOTS: u32 = 4;
/// What a call holds its slot for.
const SERVICE: Duration = Duration::from_millis(20);
/// Longest wait for a slot: what bounds the latency of accepted calls.
const WAIT: Duration = Duration::from_millis(100);
const CLIENTS: [usize; 5] = [10, 50, 100, 200, 500];
/// What all clients together ask for, in capacities.
const OFFERED: f64 = 4.0;
/// Accepted calls end within wait and service, and this for the machine's own scheduling.
const SLACK: Duration = Duration::from_millis(60);

#[derive(Default)]
struct Tally {
    done: Cell<bool>,
    counting: Cell<bool>,
    accepted: RefCell<Vec<u32>>,
    refused: RefCell<Vec<u32>>,
    other: RefCell<Vec<u16>>,
}

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("overload");
    let platform = Platform::start(&options.binary)?;
    platform.deploy(&folder::slow(&platform.place(), "slow", SLOTS, SERVICE, WAIT)?)?;
    platform.wait_ready("slow", SLOTS as usize).await?;
    let capacity = f64::from(SLOTS) / SERVICE.as_secs_f64();
    // The peak: as many clients as keep all slots busy and no queue worth the name.
    let (peak, _) = measure(&platform, SLOTS as usize * 2, f64::INFINITY, options).await?;
    let goodput = peak.0;
    report.row(Row::new("goodput at its peak", goodput, "calls/s").against(
        "slots / service",
        capacity,
        goodput / capacity,
    ));
    let mut worst: f64 = 1.0;
    for clients in CLIENTS {
        let ((rate, p99), refused) = measure(&platform, clients, OFFERED * capacity, options).await?;
        worst = worst.min(rate / goodput);
        let bound = (WAIT + SERVICE + SLACK).as_secs_f64() * 1e3;
        report.row(
            Row::new(format!("goodput, {clients} clients"), rate, "calls/s")
                .against("peak", goodput, rate / goodput)
                .goal("≥ 0.90"),
        );
        report.row(Row::new(format!("p99 of accepted, {clients} clients"), p99, "ms").goal(&format!("≤ {bound:.0}")));
        if let Some(refused) = refused {
            report.row(Row::new(format!("p50 of refused, {clients} clients"), refused.0, "ms").goal("≤ 5"));
            report.row(Row::new(format!("p99 of refused, {clients} clients"), refused.1, "ms"));
        }
    }
    report.row(Row::new("goodput at 4x", worst, "of its peak").goal("≥ 0.90"));
    report.finish()
}

type Seen = ((f64, f64), Option<(f64, f64)>);

/// Goodput and p99 of accepted calls; p50 and p99 of refused ones, where there were any.
async fn measure(platform: &Platform, clients: usize, offered: f64, options: &Options) -> anyhow::Result<Seen> {
    let (address, tally) = (platform.gateway()?, Rc::new(Tally::default()));
    let pause = Duration::from_secs_f64(clients as f64 / offered);
    // All are open before the first one asks: opened one by one they would ask in bunches, with times of nothing between.
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(&address).await?);
    }
    let mut tasks = JoinSet::new();
    for (n, connection) in connections.into_iter().enumerate() {
        let first = pause.mul_f64(n as f64 / clients as f64);
        tasks.spawn_local(client(connection, first, pause, Rc::clone(&tally)));
    }
    sleep(Duration::from_secs(1)).await;
    tally.counting.set(true);
    let begun = Instant::now();
    sleep(options.round).await;
    tally.counting.set(false);
    let took = begun.elapsed();
    tally.done.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let other = tally.other.borrow();
    ensure!(other.is_empty(), "{} answers were neither 200 nor 429: {:?}", other.len(), other.first());
    let mut accepted = tally.accepted.borrow_mut();
    let mut refused = tally.refused.borrow_mut();
    let goodput = accepted.len() as f64 / took.as_secs_f64();
    let p99 = percentile(&mut accepted, 0.99) / 1e3;
    let refused =
        (!refused.is_empty()).then(|| (percentile(&mut refused, 0.5) / 1e3, percentile(&mut refused, 0.99) / 1e3));
    Ok(((goodput, p99), refused))
}

async fn client(mut connection: Connection, first: Duration, pause: Duration, tally: Rc<Tally>) -> anyhow::Result<()> {
    let request = get("/slow");
    sleep(first).await;
    while !tally.done.get() {
        let begun = Instant::now();
        let answer = connection.call(&request).await.context("a client of the overload")?;
        let took = u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX);
        if tally.counting.get() {
            match answer.status {
                200 => tally.accepted.borrow_mut().push(took),
                429 => tally.refused.borrow_mut().push(took),
                other => tally.other.borrow_mut().push(other),
            }
        }
        sleep(pause.saturating_sub(begun.elapsed())).await;
    }
    Ok(())
}
