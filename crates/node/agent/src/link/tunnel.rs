//! An upgraded connection (WebSocket): bytes both ways until one side ends it, or its time is over.
//!
//! It is one call: it holds its slot, and an instance that is drained waits for it. What goes through is nobody's
//! business here, so that no close frame can be sent: the end that both sides see is that of the stream.

use crate::{address::Stream, link::vitals::Vitals};
use bytes::Bytes;
use chassis::task;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    time::{sleep, sleep_until, timeout},
};
use types::{Code, Tunnel};
use wire::{End, Permit};

const SWITCHED: u16 = 101;
/// What an instance said before it ended is still in its socket then: a WebSocket's close frame, most likely.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Time for the end of the stream to be said; over TLS it is a message of its own.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a tunnel may stay.
pub(crate) struct Limits {
    deadline: Instant,
    idle: Option<Duration>,
}

impl Limits {
    /// `deadline` is the call's, for functions that say nothing about tunnels.
    pub(crate) fn new(tunnel: Option<Tunnel>, deadline: Instant) -> Self {
        let Some(tunnel) = tunnel else { return Self { deadline, idle: None } };
        let deadline = tunnel.timeout.map_or(deadline, |timeout| Instant::now() + timeout.duration());
        Self { deadline, idle: tunnel.idle.map(|idle| idle.duration()) }
    }
}

/// Connects both sides in a task of its own, which ends with the instance at the latest.
///
/// `first` is what the instance said right behind its answer.
pub(crate) fn open(client: OnUpgrade, instance: Stream, first: Bytes, limits: Limits, permit: Permit, vitals: Vitals) {
    task::spawn("tunnel", async move {
        // A client that was not handed over is one that has gone.
        let end = match client.await {
            Ok(client) => pass(TokioIo::new(client), instance, first, limits, &vitals).await,
            Err(_) => End::ok(SWITCHED),
        };
        permit.finish(end);
    });
}

async fn pass<C>(mut client: C, instance: Stream, first: Bytes, limits: Limits, vitals: &Vitals) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Moved { since: Instant::now(), last: AtomicU64::new(0) };
    let mut instance = Noticed { io: instance, moved: &moved };
    let end = {
        let bytes = async {
            client.write_all(&first).await?;
            copy_bidirectional(&mut client, &mut instance).await
        };
        let mut bytes = std::pin::pin!(bytes);
        let over = End { code: Some(Code::FunctionTimeout), ..End::ok(SWITCHED) };
        tokio::select! {
            // Whoever hangs up, and however: the call is over and was answered.
            _ = &mut bytes => End::ok(SWITCHED),
            () = sleep_until(limits.deadline.into()) => over,
            () = moved.silence(limits.idle) => over,
            () = vitals.gone() => {
                let _ = timeout(LAST_WORDS, bytes).await;
                End::ok(SWITCHED)
            }
        }
    };
    // An end, not a reset: what is on its way arrives.
    let _ = timeout(FAREWELL, async { tokio::join!(client.shutdown(), instance.shutdown()) }).await;
    end
}

/// When something went through last.
struct Moved {
    since: Instant,
    /// In milliseconds.
    last: AtomicU64,
}

impl Moved {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Until nothing went through for `limit`.
    async fn silence(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let silent = Duration::from_millis(self.now() - self.last.load(Ordering::Relaxed).min(self.now()));
            match limit.checked_sub(silent) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

/// The instance's side, where both directions pass.
struct Noticed<'a> {
    io: Stream,
    moved: &'a Moved,
}

impl Noticed<'_> {
    fn note(&self, moved: bool) {
        if moved {
            self.moved.last.store(self.moved.now(), Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Noticed<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(buf.filled().len() > before);
        read
    }
}

impl AsyncWrite for Noticed<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(matches!(written, Poll::Ready(Ok(1..))));
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
