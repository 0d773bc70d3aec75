//! Listens, and serves connections on the lanes until it is told to stop.

use crate::{
    routes::{Newest, Routes},
    service::{Peer, Service},
};
use chassis::{Lanes, Shutdown};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};
use tokio_util::task::TaskTracker;
use wire::{Invoke, Snapshots};

/// The gateway's limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most client connections of one lane; the next ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Time for a request's head to arrive.
    pub head_timeout: Duration,
    /// Largest head of a request in bytes; longer ones get 431. Up to twice that may pass where it arrives at once.
    pub head_max: usize,
    /// Time for running requests to end at a shutdown.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            head_timeout: Duration::from_secs(30),
            head_max: 64 << 10,
            grace: Duration::from_secs(30),
        }
    }
}

/// The gateway, ready to run.
pub struct Gateway {
    options: Options,
    snapshots: Snapshots,
    invoke: Arc<dyn Invoke>,
}

impl Gateway {
    pub fn new(options: Options, snapshots: Snapshots, invoke: Arc<dyn Invoke>) -> Self {
        Self { options, snapshots, invoke }
    }

    /// Serves `listener` on every lane until `shutdown`, then lets running requests end within the grace.
    ///
    /// # Errors
    /// Where the listener cannot be shared between lanes.
    pub async fn run(self, listener: std::net::TcpListener, lanes: &Lanes, shutdown: Shutdown) -> io::Result<()> {
        let mut done = Vec::new();
        let newest = Newest::new(self.snapshots);
        for index in 0..lanes.count() {
            let listener = listener.try_clone()?;
            let service = Service { routes: Routes::new(Arc::clone(&newest)), invoke: Arc::clone(&self.invoke) };
            let (options, shutdown) = (self.options.clone(), shutdown.clone());
            let (sender, receiver) = oneshot::channel::<()>();
            done.push(receiver);
            lanes.spawn(index, "gateway lane", async move {
                if let Err(error) = lane(options, listener, service, shutdown).await {
                    tracing::error!(%error, "a lane cannot listen");
                }
                drop(sender);
            });
        }
        drop(listener);
        for lane in done {
            let _ = lane.await;
        }
        Ok(())
    }
}

async fn lane(
    options: Options,
    listener: std::net::TcpListener,
    service: Service,
    shutdown: Shutdown,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (service, places) = (Arc::new(service), Arc::new(Semaphore::new(options.connections_max)));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (options, service, shutdown) = (options.clone(), Arc::clone(&service), shutdown.clone());
                connections.spawn(async move {
                    connection(&options, service, stream, peer, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give the running connections time to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "the grace is over: connections are cut");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<IpAddr>, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers go out in one piece; waiting for more would cost 40 ms (RFC 896 with delayed acks).
    stream.set_nodelay(true)?;
    Ok((stream, Some(peer.ip()), place))
}

async fn connection(
    options: &Options,
    service: Arc<Service>,
    stream: TcpStream,
    peer: Option<IpAddr>,
    shutdown: Shutdown,
) {
    let peer = peer.map(Peer::new);
    let answer = service_fn(|request| service.answer(request, peer.as_ref()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(options.head_max)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
