//! Listens, and serves connections on the lanes until it is told to stop.

use crate::{
    access,
    caller::Peer,
    connection::Connection,
    edge::Issuers,
    hold::{Hold, Places},
    options::Options,
    routes::{Newest, Routes},
    service::{Service, Shared},
    sockets,
    tls::{Certificates, Tls},
    turn,
};
use chassis::{Lanes, Shutdown, metrics::Metrics, task};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use wire::{Invoke, Snapshots};

/// Time for a client to hear that there is no place for it.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// The gateway, ready to run.
pub struct Gateway {
    options: Options,
    snapshots: Snapshots,
    invoke: Arc<dyn Invoke>,
    certificates: Option<Certificates>,
    log: Option<(access::Log, access::Writer)>,
    places: Places,
    reload: Reload,
    hurry: Shutdown,
    issuers: Box<dyn FnOnce(Handle) -> Arc<Issuers> + Send>,
}

/// A socket to serve.
pub struct Listener {
    pub socket: std::net::TcpListener,
    /// Its connections are encrypted.
    pub tls: bool,
}

/// Makes a running gateway read its certificates and open its access log again.
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<watch::Sender<u64>>);

impl Reload {
    pub fn now(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Gateway {
    /// # Errors
    /// Where the certificates cannot be used or the access log cannot be opened: a start is the time to say so.
    pub fn new(options: Options, snapshots: Snapshots, invoke: Arc<dyn Invoke>, metrics: &Metrics) -> io::Result<Self> {
        let certificates =
            options.certificates.as_deref().map(|folder| Certificates::open(folder, metrics)).transpose()?;
        let log = options.access_log.as_deref().map(|path| access::Log::start(path, metrics)).transpose()?;
        let issuers = Box::new(Issuers::new(metrics));
        let places = Places::new(options.connections_max, metrics);
        let (reload, hurry) = (Reload::default(), Shutdown::new());
        Ok(Self { options, snapshots, invoke, certificates, log, places, reload, hurry, issuers })
    }

    /// Cancelled, it has idle connections closed at once after a shutdown: where nobody else takes new ones.
    pub fn hurry(&self) -> Shutdown {
        self.hurry.clone()
    }

    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves the listeners on every lane until `shutdown`, then lets running requests end within the grace.
    ///
    /// # Errors
    /// Where a listener cannot be shared between lanes.
    pub async fn run(self, listeners: Vec<Listener>, lanes: &Lanes, shutdown: Shutdown) -> io::Result<()> {
        let (log, writer) = self.log.unzip();
        let reloads = task::spawn("reload", reloads(self.reload, self.certificates.clone(), log.clone()));
        let mut done = Vec::new();
        let newest = Newest::new(self.snapshots, self.options.rate);
        // Issuers are asked on this runtime, not on a lane.
        let issuers = (self.issuers)(Handle::current());
        let shared = Shared { invoke: self.invoke, issuers, log: log.clone() };
        for listener in &listeners {
            sockets::prepare(&listener.socket)?;
        }
        for index in 0..lanes.count() {
            let routes = Routes::new(Arc::clone(&newest));
            let service = Arc::new(Service::new(&self.options, routes, shared.clone()));
            for listener in &listeners {
                let tls = if listener.tls { self.certificates.as_ref().map(Certificates::server) } else { None };
                let lane = Lane {
                    options: self.options.clone(),
                    service: Arc::clone(&service),
                    places: self.places.clone(),
                    tls,
                    shutdown: shutdown.clone(),
                    hurry: self.hurry.clone(),
                };
                let socket = listener.socket.try_clone()?;
                let (sender, receiver) = oneshot::channel::<()>();
                done.push(receiver);
                lanes.spawn(index, "gateway lane", async move {
                    if let Err(error) = lane.run(socket).await {
                        tracing::error!(%error, "a lane cannot listen");
                    }
                    drop(sender);
                });
            }
        }
        drop((listeners, log, shared));
        for lane in done {
            let _ = lane.await;
        }
        reloads.abort();
        let _ = reloads.await;
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(|| writer.join()).await;
        }
        Ok(())
    }
}

/// Follows the certificates' folder and the operator's word.
async fn reloads(reload: Reload, certificates: Option<Certificates>, log: Option<access::Log>) {
    let mut asked = reload.0.subscribe();
    loop {
        let changed = async {
            match &certificates {
                Some(certificates) => certificates.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = asked.changed() => {
                if let Some(log) = &log {
                    log.reopen();
                }
            }
            () = changed => {}
        }
        if let Some(certificates) = &certificates {
            certificates.reload().await;
        }
    }
}

/// One listener on one lane.
struct Lane {
    options: Options,
    service: Arc<Service>,
    /// Of all lanes.
    places: Places,
    tls: Option<Tls>,
    shutdown: Shutdown,
    hurry: Shutdown,
}

impl Lane {
    async fn run(self, socket: std::net::TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                () = self.shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => match self.places.take(&connections) {
                    Some(hold) => self.serve(stream, peer, hold, &connections),
                    None => self.refuse(stream),
                },
                Err(error) => {
                    // Out of descriptors, most likely: give the running connections time to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if timeout(self.options.grace, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "the grace is over: connections are cut");
        }
        Ok(())
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = listener.accept().await?;
        // Answers go out in one piece; waiting for more would cost 40 ms (RFC 896 with delayed acks).
        stream.set_nodelay(true)?;
        Ok((stream, Peer::new(peer.ip(), self.tls.is_some(), &self.options.trusted)))
    }

    /// Says that there is no place; over TLS there is nothing that could be said without a handshake.
    fn refuse(&self, stream: TcpStream) {
        if self.tls.is_none()
            && let Some(right) = self.places.refusal()
        {
            task::spawn("refuse a connection", refuse(stream, right));
        }
    }

    fn serve(&self, stream: TcpStream, peer: Peer, hold: Hold, connections: &TaskTracker) {
        let connection = Connection {
            service: Arc::clone(&self.service),
            peer,
            head_timeout: self.options.head_timeout,
            linger: self.options.linger,
            stall: self.options.stall,
            head_max: self.options.head_max,
            streams_max: self.options.streams_max,
            streams: connections.clone(),
            shutdown: self.shutdown.clone(),
            hurry: self.hurry.clone(),
        };
        match self.tls.clone() {
            None => connections.spawn(connection.serve(stream, None, hold)),
            Some(tls) => connections.spawn(async move {
                match timeout(connection.head_timeout, tls.accept(stream)).await {
                    Ok(Ok((stream, protocol))) => connection.serve(stream, protocol, hold).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }),
        };
    }
}

/// Answers whatever is asked, and waits until the client has heard it: what it still sends would destroy the answer.
async fn refuse(mut stream: TcpStream, right: OwnedSemaphorePermit) {
    let told = async {
        stream.write_all(&turn::no_place()).await?;
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(REFUSAL_MAX, told).await;
    drop(right);
}
