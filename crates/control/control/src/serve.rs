//! Connections of the API: bounded in number, with an end to slow heads, drained at shutdown.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Most connections at once; the next ones wait in the kernel's queue. Followers of logs hold one each.
const CONNECTIONS_MAX: usize = 512;
/// From a connection's first byte to the end of a request's head, and between requests.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Longest wait after the system gave no connection: usually it has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections that are open. Dropping it ends them.
pub(crate) struct Connections {
    open: TaskTracker,
    /// Ends what is still answered.
    cut: CancellationToken,
}

impl Connections {
    pub fn new() -> Self {
        Self { open: TaskTracker::new(), cut: CancellationToken::new() }
    }

    /// Accepts until `shutdown`; then idle connections close, and the others with their answer.
    pub async fn accept(&self, listener: &TcpListener, router: &Router, shutdown: &CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, stream) = tokio::select! {
                (place, accepted) = accepted => match accepted {
                    Ok((stream, _)) => (place, stream),
                    Err(error) => {
                        tracing::warn!(%error, "the API cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => return,
            };
            let (router, shutdown, cut) = (router.clone(), shutdown.clone(), self.cut.clone());
            let connection = self.open.track_future(async move {
                tokio::select! {
                    () = serve(stream, router, shutdown) => {}
                    () = cut.cancelled() => {}
                }
                drop(place);
            });
            chassis::task::spawn("API connection", connection);
        }
    }

    /// Waits for the connections' ends, at most `limit`; gives the number of those that were cut off.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.open.close();
        if tokio::time::timeout(limit, self.open.wait()).await.is_ok() {
            return 0;
        }
        let left = self.open.len();
        self.cut.cancel();
        self.open.wait().await;
        left
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

async fn serve(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Answers are small: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke off");
    }
}
