//! Whose bytes an HTTP/1.1 connection is writing: an answer of ours, or one that hyper made up by itself.
//!
//! What hyper cannot parse it answers with a bare status (400, 414 or 431) before there is a request. A fault is a
//! problem document here, whoever found it, so [`Guarded`] writes one in its place. It knows such an answer by when it
//! comes: while no request is open and everything before it has been flushed, nobody else writes.

use crate::{headers, hold::Hold, patience::Patience, problem};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body as _;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use types::{Code, Fault, InvocationId};
use wire::Body;

/// Where a connection is in its requests. Shared by the connection and the body of its running answer.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicU8);

/// A request's head is awaited, or has begun to come.
const HEAD: u8 = 0;
/// A request is being answered.
const BUSY: u8 = 1;
/// The answer has been handed over; some of it may not be flushed.
const DONE: u8 = 2;
/// What is written is not told apart any more.
const OVER: u8 = 3;
/// No request is open, everything is flushed, and nothing more has come.
const IDLE: u8 = 4;
/// Idle for so long that nothing is kept but the socket.
const RESTING: u8 = 5;
/// The connection speaks another protocol now.
const TUNNEL: u8 = 6;
/// Beside a state: it has not changed since the last look.
const SEEN: u8 = 0x10;

/// What a look from time to time finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Idle ever since the last look: it rests from now on.
    Resting,
    /// No request has begun since the last look, and one should have.
    Awaited,
    Other,
}

/// All of it happens on one lane, so that no ordering is needed.
impl Turn {
    pub(crate) fn begin(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }
    pub(crate) fn done(&self) {
        self.0.store(DONE, Ordering::Relaxed);
    }
    pub(crate) fn over(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
    pub(crate) fn tunnel(&self) {
        self.0.store(TUNNEL, Ordering::Relaxed);
    }
    pub(crate) fn is_tunnel(&self) -> bool {
        self.state() == TUNNEL
    }
    pub(crate) fn flushed(&self) {
        if self.state() == DONE {
            self.0.store(IDLE, Ordering::Relaxed);
        }
    }
    /// Bytes have come.
    pub(crate) fn heard(&self) {
        if self.state() == IDLE {
            self.0.store(HEAD, Ordering::Relaxed);
        }
    }
    pub(crate) fn wake(&self) {
        self.0.store(HEAD, Ordering::Relaxed);
    }
    pub(crate) fn look(&self) -> Look {
        let (state, seen) = (self.state(), self.0.load(Ordering::Relaxed) & SEEN != 0);
        let next = if seen && state == IDLE { RESTING } else { state };
        self.0.store(next | SEEN, Ordering::Relaxed);
        match (next, seen) {
            (RESTING, _) => Look::Resting,
            (HEAD, true) => Look::Awaited,
            _ => Look::Other,
        }
    }
    pub(crate) fn is_resting(&self) -> bool {
        self.state() == RESTING
    }
    /// No request is open: whatever is written is hyper's own.
    fn is_idle(&self) -> bool {
        matches!(self.state(), HEAD | IDLE)
    }
    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed) & !SEEN
    }
}

/// A client's stream: what was read ahead comes first, and hyper's own answers become problem documents.
pub(crate) struct Guarded<IO> {
    io: IO,
    /// Read to tell the protocol, not yet handed on.
    ahead: Bytes,
    turn: Arc<Turn>,
    /// What is written in place of hyper's answer, and how much of it is out.
    refusal: Option<(Bytes, usize)>,
    /// The client has closed its side.
    ended: bool,
    head_max: usize,
    patience: Patience,
    /// The place among all connections, kept into a tunnel.
    _hold: Hold,
}

impl<IO> Guarded<IO> {
    pub(crate) fn new(io: IO, ahead: Bytes, hold: Hold, head_max: usize, patience: Patience) -> Self {
        Self { io, ahead, turn: hold.turn(), refusal: None, ended: false, head_max, patience, _hold: hold }
    }

    /// Goes on after a rest with what was read of the next head.
    pub(crate) fn wake(&mut self, ahead: Bytes) {
        self.turn.wake();
        self.ahead = ahead;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<IO: AsyncWrite + Unpin> Guarded<IO> {
    /// Writes the refusal instead of `bytes`, which then count as written.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (mut refusal, mut out) = self.refusal.take().unwrap_or_else(|| (refusal(bytes, self.head_max), 0));
        while out < refusal.len() {
            match Pin::new(&mut self.io).poll_write(cx, &refusal[out..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => out += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.refusal = Some((std::mem::take(&mut refusal), out));
                    return Poll::Pending;
                }
            }
        }
        // One refusal and no more: hyper closes after it.
        self.turn.over();
        Poll::Ready(Ok(bytes.iter().map(|slice| slice.len()).sum()))
    }
}

/// The problem document for the status that hyper gave.
fn refusal(bytes: &[IoSlice<'_>], head_max: usize) -> Bytes {
    let first = bytes.first().map_or(&[][..], |slice| slice);
    let fault = match first.get(9..12) {
        Some(b"431") => too_long(head_max),
        Some(b"414") => Fault::new(Code::UriTooLong, "the URL is over 64 KiB"),
        _ => Fault::new(
            Code::BadRequest,
            "this is no HTTP/1.1 request: its first line, a header or its length is broken",
        ),
    };
    closing(problem::response(&fault))
}

/// What a connection is told that has no place.
pub(crate) fn no_place() -> Bytes {
    let fault = Fault::new(Code::ConnectionsExhausted, "there are as many connections as there may be");
    closing(problem::response(&fault))
}

/// The last answer of a connection, as it goes over the wire.
fn closing(mut response: Response<Body>) -> Bytes {
    response.headers_mut().insert(headers::REQUEST_ID, headers::id_value(InvocationId::random()));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    written(&response)
}

pub(crate) fn too_long(head_max: usize) -> Fault {
    let detail = format!("the headers are over {} KiB, or more than {}", head_max >> 10, crate::service::HEADERS_MAX);
    Fault::new(Code::HeadersTooLarge, detail)
}

/// A response of known length as it goes over the wire.
fn written(response: &Response<Body>) -> Bytes {
    let status = response.status();
    let mut out = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in response.headers() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let length = response.body().size_hint().exact().unwrap_or(0);
    out.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
    if let Body::Full(body) = response.body() {
        out.extend_from_slice(body);
    }
    out.into()
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(count));
            if this.ahead.is_empty() {
                // An empty part would still hold the whole.
                this.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.ended = buf.filled().len() == before;
        this.turn.heard();
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.turn.is_idle() {
            true => this.poll_refuse(cx, &[IoSlice::new(buf)]),
            false => Pin::new(&mut this.io).poll_write(cx, buf),
        };
        this.patience.check(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.turn.is_idle() {
            true => this.poll_refuse(cx, bufs),
            false => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        };
        this.patience.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // TLS writes what it has when it flushes.
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.patience.check(cx, flushed))?;
        this.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper ends before a rest; the connection does not.
        match this.turn.is_resting() {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut this.io).poll_shutdown(cx),
        }
    }
}
