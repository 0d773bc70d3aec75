//! The function behind the proxies, and the yardstick: a server that does as little as one can.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

const ANSWER: &[u8] = b"{\"message\":\"hello, bench\"}\n";

/// Makes it listen on a free port, which it prints.
pub const TCP: &str = "--tcp";

/// Makes each call take this many milliseconds.
const SERVICE: &str = "--service-ms";

/// A query that asks for this one call to take so many milliseconds.
const ASKED: &str = "ms=";

/// Serves on `$MAYFLY_SOCKET` or a free port until it is killed.
pub async fn serve(args: &[String]) -> anyhow::Result<()> {
    let at = args.iter().position(|arg| arg == SERVICE);
    let service = at.and_then(|at| args.get(at + 1)).map(|text| text.parse()).transpose()?.map(Duration::from_millis);
    if args.iter().any(|arg| arg == TCP) {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream, service));
        }
    }
    let socket = std::env::var_os("MAYFLY_SOCKET").context("MAYFLY_SOCKET is not set: the platform starts this")?;
    let listener = UnixListener::bind(&socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(connection(stream, service));
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, service: Option<Duration>) {
    // A client that goes away is none of its business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(request, service)))
        .await;
}

async fn answer(request: Request<Incoming>, service: Option<Duration>) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = request.uri().query().and_then(|query| query.strip_prefix(ASKED)?.parse().ok());
    if let Some(service) = asked.map(Duration::from_millis).or(service) {
        tokio::time::sleep(service).await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
