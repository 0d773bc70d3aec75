//! Makes requests: hand-written HTTP/1.1 on kept connections, each with one request at a time, on one thread.
//!
//! Closed loop: a connection sends the next request when the answer to the last one is whole. Bounded by time, and
//! only to this machine's own addresses.

use crate::cpu::Meter;
use anyhow::{Context, bail, ensure};
use memchr::memmem;
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Where requests go.
#[derive(Debug, Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Latencies kept of one round.
const LATENCIES_MAX: usize = 4_000_000;

/// What one round of load saw.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// All, those of the run-up included.
    pub requests: u64,
    pub per_second: f64,
    /// CPU µs per request of the metered processes; 0 where none is metered.
    pub cpu_us: f64,
    /// Share of it in user mode.
    pub user: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A request as it goes over the wire.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\n\r\n").into_bytes()
}

#[derive(Default)]
struct Tally {
    requests: Cell<u64>,
    counting: Cell<bool>,
    done: Cell<bool>,
    nanos: RefCell<Vec<u32>>,
}

/// Loads `address` with `connections` connections: first `warm` uncounted, then `round`.
///
/// # Errors
/// Any answer other than 200, a connection that breaks.
pub async fn run(
    address: &Address,
    request: &[u8],
    connections: usize,
    warm: Duration,
    round: Duration,
    meter: Option<&Meter>,
) -> anyhow::Result<Sample> {
    let tally = Rc::new(Tally::default());
    tally.nanos.borrow_mut().reserve(1 << 20);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let connection = Connection::open(address).await?;
        tasks.spawn_local(client(connection, request.to_vec(), Rc::clone(&tally)));
    }
    sleep(warm).await;
    tally.counting.set(true);
    let (begun, before) = (Instant::now(), meter.map(Meter::read).transpose()?.unwrap_or_default());
    let first = tally.requests.get();
    sleep(round).await;
    let after = meter.map(Meter::read).transpose()?.unwrap_or_default();
    let (requests, took) = (tally.requests.get() - first, begun.elapsed());
    tally.done.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    ensure!(requests > 0, "no answer within {round:?}");
    let (cpu, user) = after.since(before);
    let mut nanos = std::mem::take(&mut *tally.nanos.borrow_mut());
    Ok(Sample {
        requests: tally.requests.get(),
        per_second: requests as f64 / took.as_secs_f64(),
        cpu_us: cpu / requests as f64,
        user,
        p50_us: percentile(&mut nanos, 0.50),
        p99_us: percentile(&mut nanos, 0.99),
    })
}

/// The percentile `p` (0 to 1) in µs, by nearest rank.
pub fn percentile(nanos: &mut [u32], p: f64) -> f64 {
    if nanos.is_empty() {
        return f64::NAN;
    }
    let rank = ((nanos.len() as f64 * p).ceil() as usize).clamp(1, nanos.len()) - 1;
    f64::from(*nanos.select_nth_unstable(rank).1) / 1000.0
}

async fn client(mut connection: Connection, request: Vec<u8>, tally: Rc<Tally>) -> anyhow::Result<()> {
    while !tally.done.get() {
        let begun = Instant::now();
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 200, "answered {}: {}", answer.status, connection.text(answer));
        tally.requests.set(tally.requests.get() + 1);
        let mut nanos = tally.nanos.borrow_mut();
        if tally.counting.get() && nanos.len() < LATENCIES_MAX {
            nanos.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }
    Ok(())
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One kept connection.
pub struct Connection {
    stream: Stream,
    /// What was read of the answer.
    buffer: Vec<u8>,
}

/// An answer that is in the connection's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
    /// From the first byte sent to the first byte received.
    pub first_byte: Duration,
    /// The server says that it closes the connection.
    pub closes: bool,
    body: usize,
}

impl Connection {
    pub async fn open(address: &Address) -> anyhow::Result<Self> {
        let stream = match address {
            Address::Tcp(addr) => {
                ensure!(addr.ip().is_loopback(), "{addr} is not this machine's");
                let stream = TcpStream::connect(addr).await.with_context(|| format!("cannot connect to {addr}"))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Stream::Unix(stream.with_context(|| format!("cannot connect to {}", path.display()))?)
            }
        };
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        match &mut self.stream {
            Stream::Tcp(stream) => exchange(stream, &mut self.buffer, request).await,
            Stream::Unix(stream) => exchange(stream, &mut self.buffer, request).await,
        }
    }

    /// As [`Self::exchange`], with a limit of time: for calls that may start something.
    pub async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        timeout(ANSWER_MAX, self.exchange(request)).await.context("no answer within a minute")?
    }

    /// Keeps no room for the next answer.
    pub fn shrink(&mut self) {
        self.buffer = Vec::new();
    }

    /// The body of the last answer.
    pub fn text(&self, answer: Answer) -> String {
        String::from_utf8_lossy(self.buffer.get(answer.body..).unwrap_or_default()).trim().to_owned()
    }
}

async fn exchange<S>(stream: &mut S, buffer: &mut Vec<u8>, request: &[u8]) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    buffer.clear();
    let begun = Instant::now();
    stream.write_all(request).await?;
    let mut first_byte = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection was closed in the middle of an answer: {}", String::from_utf8_lossy(buffer));
        }
        let first_byte = *first_byte.get_or_insert_with(|| begun.elapsed());
        if let Some((status, body)) = whole(buffer)? {
            let head = buffer.get(..body).unwrap_or_default().to_ascii_lowercase();
            let closes = memmem::find(&head, b"\r\nconnection: close\r\n").is_some();
            return Ok(Answer { status, first_byte, closes, body });
        }
    }
}

/// Status and start of the body where the answer is whole.
fn whole(buffer: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(end) = memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(buffer.get(..end).unwrap_or_default())?;
    let status = head.get(9..12).context("a short status line")?.parse()?;
    let body = end + 4;
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.trim().parse()?;
            return Ok((buffer.len() >= body + length).then_some((status, body)));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(buffer.ends_with(b"0\r\n\r\n").then_some((status, body)));
        }
    }
    bail!("an answer without a length: {head}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            for end in 0..answer.len() {
                assert_eq!(whole(&answer.as_bytes()[..end]).unwrap(), None, "{end} of {answer}");
            }
            assert_eq!(whole(answer.as_bytes()).unwrap().unwrap().0, 200);
        }
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut nanos: Vec<u32> = (1..=100).rev().map(|us| us * 1000).collect();
        assert_eq!(percentile(&mut nanos, 0.50), 50.0);
        assert_eq!(percentile(&mut nanos, 0.99), 99.0);
        assert_eq!(percentile(&mut [7000], 0.5), 7.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }
}
