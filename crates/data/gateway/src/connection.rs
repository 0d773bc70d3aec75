//! One client connection: which protocol it speaks, served until it ends.

use crate::{
    answer::Answer,
    caller::Peer,
    hold::Hold,
    patience::Patience,
    rest::{self, Quiet, REST_MAX},
    service::{Service, taken},
    streams::Streams,
    turn::Guarded,
};
use bytes::{Bytes, BytesMut};
use chassis::Shutdown;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

/// What a client says that begins with HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read to tell the protocol: a usual head is here with it.
const AHEAD: usize = 1024;

/// Bytes on the way for one stream and for one connection before the function has taken them: what a client may send
/// ahead is what is held for it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one answer that wait for the client's window.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a client opened and reset before they were looked at, and that we reset for what it sent: what is over
/// that ends the connection ("rapid reset", CVE-2023-44487).
const RESETS_MAX: usize = 20;
const OWN_RESETS_MAX: usize = 256;
/// A client that says nothing on HTTP/2 for as long as a head may take is asked whether it is still there. One that is
/// in the midst of a head cannot answer.
const PONG_MAX: Duration = Duration::from_secs(20);

/// After an answer that ends a connection, what the client still sends is read and thrown away: a reset in its midst
/// could destroy the answer on its way (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// The protocol, where the TLS handshake has told it (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) struct Connection {
    pub(crate) service: Arc<Service>,
    pub(crate) peer: Peer,
    pub(crate) head_timeout: Duration,
    /// At a shutdown, for the next request of an idle connection.
    pub(crate) linger: Duration,
    pub(crate) stall: Duration,
    pub(crate) head_max: usize,
    pub(crate) streams_max: u32,
    /// Where the requests of HTTP/2 run.
    pub(crate) streams: TaskTracker,
    pub(crate) shutdown: Shutdown,
    pub(crate) hurry: Shutdown,
}

impl Connection {
    /// Serves until the client leaves, or the shutdown has let its requests end. A tunnel takes the socket with it, and
    /// `hold` with the socket.
    pub(crate) async fn serve<IO>(self, mut io: IO, told: Option<Protocol>, hold: Hold)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (protocol, ahead) = match told {
            Some(protocol) => (protocol, Bytes::new()),
            None => {
                let told = tokio::select! {
                    told = timeout(self.head_timeout, tell(&mut io)) => told,
                    () = self.last_chance() => return,
                };
                match told {
                    Ok(Ok((protocol, ahead))) => (protocol, ahead),
                    Ok(Err(error)) => return tracing::debug!(%error, "a connection broke"),
                    Err(_) => return,
                }
            }
        };
        let ended = match protocol {
            Protocol::Http1 => self.http1(io, ahead, hold).await,
            Protocol::Http2 => self.http2(io, ahead, hold).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }

    async fn http1<IO>(&self, io: IO, ahead: Bytes, hold: Hold) -> hyper::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (turn, tunnels) = (hold.turn(), hold.tunnels());
        let answer = service_fn(|request: Request<Incoming>| {
            turn.begin();
            let (turn, tunnels, request) = (&turn, &tunnels, taken(request));
            async move {
                let mut response = self.service.answer(request, &self.peer).await;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    tunnels.open(turn);
                    return Ok::<Response<Answer>, Infallible>(response);
                }
                if self.shutdown.is_cancelled() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response.body_mut().turn = Some(Arc::clone(turn));
                Ok(response)
            }
        });
        let mut io = Guarded::new(io, ahead, hold, self.head_max, Patience::new(self.stall));
        loop {
            // Boxed, so that a rest gives its room back.
            let mut connection = Box::new(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(None)
                    .max_buf_size(self.head_max)
                    .serve_connection(TokioIo::new(io), &answer)
                    .with_upgrades(),
            );
            let ended = tokio::select! {
                biased;
                ended = &mut *connection => Some(ended),
                () = self.last_chance() => None,
                quiet = rest::quiet(&turn, self.head_timeout) => match quiet {
                    Quiet::Late => return Ok(()),
                    Quiet::Resting => None,
                },
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    std::pin::Pin::new(&mut *connection).graceful_shutdown();
                    (&mut *connection).await
                }
            };
            // None where the connection speaks another protocol now.
            let Some(parts) = connection.into_parts() else { return ended };
            // A part of hyper's buffer, even an empty one, would hold the whole.
            let (guarded, ahead) = (parts.io.into_inner(), Bytes::copy_from_slice(&parts.read_buf));
            drop(parts.read_buf);
            io = match turn.is_resting() && ended.is_ok() {
                true => match self.rest(guarded, ahead).await {
                    Some(io) => io,
                    None => return Ok(()),
                },
                false => {
                    linger(guarded).await;
                    return ended;
                }
            };
        }
    }

    /// Waits with nothing but the socket for the client's next word; `None` where none came in time.
    async fn rest<IO>(&self, mut io: Guarded<IO>, ahead: Bytes) -> Option<Guarded<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let word = match ahead.is_empty() {
            false => Some(ahead),
            true => tokio::select! {
                biased;
                word = timeout(REST_MAX, rest::word(&mut io)) => word.ok().and_then(Result::ok),
                () = self.last_chance() => None,
            },
        };
        match word.filter(|word| !word.is_empty()) {
            Some(word) => {
                io.wake(word);
                Some(io)
            }
            None => {
                io.wake(Bytes::new());
                linger(io).await;
                None
            }
        }
    }

    /// Until a shutdown, and as long as the client may still say something.
    async fn last_chance(&self) {
        self.shutdown.cancelled().await;
        let _hurried = timeout(self.linger, self.hurry.cancelled()).await;
    }

    async fn http2<IO>(&self, io: IO, ahead: Bytes, hold: Hold) -> hyper::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Of one connection: nobody's turn is told from another's, and h2 writes all frames itself.
        hold.turn().over();
        let peer = Arc::new(self.peer.clone());
        let streams = Streams::new(self.streams.clone(), self.stall);
        let next = streams.clone();
        let answer = service_fn(|request: Request<Incoming>| {
            let (service, peer, sending) = (Arc::clone(&self.service), Arc::clone(&peer), next.next());
            let request = taken(request);
            async move {
                let mut response = service.answer(request, &peer).await;
                response.body_mut().sending = Some(sending);
                Ok::<Response<Answer>, Infallible>(response)
            }
        });
        let connection = http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams_max)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(OWN_RESETS_MAX)
            .keep_alive_interval(self.head_timeout)
            .keep_alive_timeout(PONG_MAX.min(self.head_timeout))
            // Twice what is taken, so that a head that is a little too long gets an answer of ours.
            .max_header_list_size(u32::try_from(self.head_max * 2).unwrap_or(u32::MAX))
            .serve_connection(
                TokioIo::new(Guarded::new(io, ahead, hold, self.head_max, Patience::new(self.stall))),
                answer,
            );
        // The task of an HTTP/1.1 connection has the room of both.
        let mut connection = Box::new(connection);
        tokio::select! {
            ended = &mut *connection => ended,
            () = self.shutdown.cancelled() => {
                std::pin::Pin::new(&mut *connection).graceful_shutdown();
                (&mut *connection).await
            }
        }
    }
}

/// Reads as much as tells HTTP/2 from HTTP/1.1; what was read goes with it.
async fn tell<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<(Protocol, Bytes)> {
    let mut ahead = BytesMut::with_capacity(AHEAD);
    loop {
        let read = io.read_buf(&mut ahead).await?;
        let common = ahead.len().min(PREFACE.len());
        if ahead[..common] != PREFACE[..common] {
            return Ok((Protocol::Http1, ahead.freeze()));
        }
        if common == PREFACE.len() {
            return Ok((Protocol::Http2, ahead.freeze()));
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(mut io: Guarded<IO>) {
    if io.has_ended() || io.shutdown().await.is_err() {
        return;
    }
    let (end, mut left, mut sink) = (Instant::now() + LINGER, LINGER_BYTES, vec![0; 16 << 10]);
    while let Ok(Ok(count @ 1..)) = timeout_at(end, io.read(&mut sink)).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        caller::Trusted,
        edge::Issuers,
        hold::Places,
        options::Options,
        routes::{Newest, Routes},
        service::Shared,
    };
    use tokio::{io::DuplexStream, sync::watch, time::sleep};
    use wire::{Body, BoxFuture, Call, Invoke, Target};

    struct Nobody;

    impl Invoke for Nobody {
        fn invoke<'a>(&'a self, _: &'a Target, _: Call) -> BoxFuture<'a, Result<Response<Body>, types::Fault>> {
            unreachable!("no function is routed")
        }
    }

    fn hold() -> Hold {
        Places::new(1, &chassis::metrics::Metrics::default()).take(&TaskTracker::new()).unwrap()
    }

    fn connection() -> Connection {
        let options = Options::default();
        let routes = Routes::new(Newest::new(watch::Sender::default().subscribe(), None));
        let issuers = Issuers::new(&chassis::metrics::Metrics::default())(tokio::runtime::Handle::current());
        let shared = Shared { invoke: Arc::new(Nobody), issuers, log: None };
        Connection {
            service: Arc::new(Service::new(&options, routes, shared)),
            peer: Peer::new([127, 0, 0, 1].into(), false, &Trusted::default()),
            head_timeout: options.head_timeout,
            linger: options.linger,
            stall: options.stall,
            head_max: options.head_max,
            streams_max: options.streams_max,
            streams: TaskTracker::new(),
            shutdown: Shutdown::new(),
            hurry: Shutdown::new(),
        }
    }

    /// Asks, in pieces and with a pause before the last; what comes back up to the end of a head.
    async fn ask(far: &mut DuplexStream, pieces: [&str; 2], pause: u64) -> String {
        far.write_all(pieces[0].as_bytes()).await.unwrap();
        sleep(Duration::from_secs(pause)).await;
        far.write_all(pieces[1].as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains("}") && far.read_buf(&mut got).await.unwrap() > 0 {}
        String::from_utf8(got).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_wakes_and_is_closed_when_nothing_more_is_said() {
        let (near, mut far) = tokio::io::duplex(4096);
        let served = tokio::spawn(connection().serve(near, None, hold()));
        // At once, in its sleep, in the midst of a head when others would go to sleep, and two at a time.
        for (before, pieces, pause) in [
            (0, ["GET /a HTTP/1.1\r\nhost: a\r\n", "\r\n"], 0),
            (60, ["GET /b HTTP/1.1\r\nhost: a\r\n", "\r\n"], 20),
            (70, ["", "GET /c HTTP/1.1\r\nhost: a\r\n\r\n"], 0),
            (3, ["GET /d HTTP/1.1\r\nhost: a\r\n\r\n", "GET /e HTTP/1.1\r\nhost: a\r\n\r\n"], 0),
        ] {
            sleep(Duration::from_secs(before)).await;
            let said = ask(&mut far, pieces, pause).await;
            assert!(said.starts_with("HTTP/1.1 404"), "{said:?} after {before} s");
        }
        let begun = Instant::now();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        let quiet = begun.elapsed();
        assert!(quiet > REST_MAX && quiet < REST_MAX + Duration::from_secs(12), "closed after {quiet:?}");
        drop(far);
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_waited_for_for_ever() {
        let (near, mut far) = tokio::io::duplex(4096);
        let served = tokio::spawn(connection().serve(near, None, hold()));
        assert!(ask(&mut far, ["GET /a HTTP/1.1\r\nhost: a\r\n", "\r\n"], 0).await.starts_with("HTTP/1.1 404"));
        let begun = Instant::now();
        for _ in 0..9 {
            sleep(Duration::from_secs(4)).await;
            if far.write_all(b"G").await.is_err() {
                break;
            }
        }
        served.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(42), "{:?}", begun.elapsed());
    }

    /// What the task of each connection holds as long as it is open; what a request needs comes and goes.
    #[tokio::test]
    async fn a_connection_without_a_request_is_small() {
        let (near, _far) = tokio::io::duplex(64);
        let size = size_of_val(&connection().serve(near, None, hold()));
        assert!(size <= 2048, "{size} bytes");
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol() {
        let cases: [(&[&[u8]], Option<Protocol>); 6] = [
            (&[b"GET / HTTP/1.1\r\n"], Some(Protocol::Http1)),
            (&[b"P", b"RO", b"PFIND / HTTP/1.1\r\n"], Some(Protocol::Http1)),
            (&[PREFACE], Some(Protocol::Http2)),
            (&[&PREFACE[..3], &PREFACE[3..20], &PREFACE[20..], b"more"], Some(Protocol::Http2)),
            (&[b"PRI * HTTP/2.0\r\n"], None),
            (&[], None),
        ];
        for (pieces, want) in cases {
            let (mut near, far) = tokio::io::duplex(1024);
            let send = async move {
                let mut far = far;
                for piece in pieces {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (told, ()) = tokio::join!(tell(&mut near), send);
            assert_eq!(told.ok().map(|(protocol, _)| protocol), want, "{pieces:?}");
        }
    }
}
