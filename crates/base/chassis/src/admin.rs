//! The admin port: `/healthz` (the process lives), `/readyz` (it serves), `/metrics`.

use crate::{Shutdown, metrics, metrics::Metrics, task};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, sync::watch};

/// Most admin connections at once; the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

#[derive(Clone)]
pub struct Service {
    pub metrics: Metrics,
    /// True while the platform serves.
    pub ready: watch::Receiver<bool>,
}

impl Service {
    /// Serves until `shutdown`.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the admin port cannot accept");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => return,
            };
            let (service, shutdown) = (self.clone(), shutdown.clone());
            task::spawn("admin connection", async move {
                let answer =
                    service_fn(move |request| std::future::ready(Ok::<_, Infallible>(service.answer(&request))));
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
                tokio::select! {
                    _ = connection => {}
                    () = shutdown.cancelled() => {}
                }
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, kind, text) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            (&Method::GET, "/readyz") if *self.ready.borrow() => (StatusCode::OK, "text/plain", "ready\n".to_owned()),
            (&Method::GET, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
            (&Method::GET, "/metrics") => (StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.render()),
            _ => (StatusCode::NOT_FOUND, "text/plain", "try /healthz, /readyz or /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        response
    }
}
