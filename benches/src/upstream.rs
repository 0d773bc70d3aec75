//! The function behind the proxies: a server that does as little as one can, on `$MAYFLY_SOCKET`.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::UnixListener;

const ANSWER: &[u8] = b"{\"message\":\"hello, bench\"}\n";

/// Serves until it is killed.
pub async fn serve() -> anyhow::Result<()> {
    let socket = std::env::var_os("MAYFLY_SOCKET").context("MAYFLY_SOCKET is not set: the platform starts this")?;
    let listener = UnixListener::bind(&socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            // A client that goes away is none of its business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
