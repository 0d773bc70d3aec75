//! Bench `idle`: what a client connection costs the platform while nothing is said on it.
//!
//! Each connection makes one request first, so that all that a request leaves behind is there. What grows is the process's
//! resident memory; the kernel's own part of a connection is not in it.

use crate::{
    cpu::resident,
    load::{Address, Connection, get},
    options::Options,
    platform::Platform,
    proxy,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tokio::{net::TcpStream, time::sleep};

const CONNECTIONS: usize = 10_000;
/// Requests before the first look: what the platform builds once is built.
const WARM: usize = 200;
/// Files of this process beside its connections.
const OTHER_FILES: u64 = 100;
/// The gateway takes a connection for idle after some seconds, and the allocator then gives back what that held.
const REST: Duration = Duration::from_secs(12);
const GOAL: &str = "≤ 10 KB";

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("idle");
    let count = options.connections.unwrap_or(CONNECTIONS);
    allow_files(count as u64 + OTHER_FILES)?;
    let platform = proxy::deployed(&options.binary).await?;
    report.row(row("http/1.1", &platform, count, open_http1).await?);
    let platform = proxy::deployed(&options.binary).await?;
    report.row(row("http/2", &platform, count, open_http2).await?);
    report.finish()
}

/// Raises this process's own limit of open files, as far as it may.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    let limit = getrlimit(Resource::Nofile).current;
    ensure!(
        limit.is_none_or(|limit| limit >= wanted),
        "{wanted} open files are needed and {limit:?} allowed: raise the hard limit (`ulimit -Hn`), or give --connections"
    );
    Ok(())
}

/// Memory that `count` idle connections add, for each of them.
async fn row<C>(
    name: &str,
    platform: &Platform,
    count: usize,
    open: impl AsyncFn(&Address) -> anyhow::Result<C>,
) -> anyhow::Result<Row> {
    let (address, pid) = (platform.gateway()?, platform.pid()?);
    let mut warm = Vec::new();
    for _ in 0..WARM.min(count) {
        warm.push(open(&address).await?);
    }
    drop(warm);
    sleep(REST).await;
    let before = resident(pid)?;
    let mut held = Vec::with_capacity(count);
    for n in 0..count {
        held.push(open(&address).await.with_context(|| format!("connection {n} of {count}"))?);
    }
    sleep(REST).await;
    let after = resident(pid)?;
    let each = after.saturating_sub(before) as f64 / count as f64 / 1e3;
    drop(held);
    // They end before the platform is asked to: this thread will wait for it.
    sleep(REST).await;
    Ok(Row::new(format!("memory each of {count} idle connections, {name}"), each, "KB").goal(GOAL))
}

/// A connection after its first request.
async fn open_http1(address: &Address) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.call(&get("/upstream/")).await?;
    ensure!(answer.status == 200, "answered {}: {}", answer.status, connection.text(answer));
    connection.shrink();
    Ok(connection)
}

async fn open_http2(address: &Address) -> anyhow::Result<http2::SendRequest<Empty<Bytes>>> {
    let Address::Tcp(address) = address else { anyhow::bail!("the gateway listens on TCP") };
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Ends with its sender.
    tokio::spawn(connection);
    let request = Request::get("http://bench.example/upstream/").body(Empty::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "answered {}", response.status());
    response.into_body().collect().await?;
    Ok(sender)
}
