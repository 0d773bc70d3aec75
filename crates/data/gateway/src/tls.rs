//! TLS: certificates by name from a folder, read again when they change.
//!
//! A running connection keeps the certificate that it began with, so a reload drops none. Where new files are broken,
//! the old certificates stay and the log says which file is wrong.

mod folder;

use crate::connection::Protocol;
use chassis::metrics::{Counter, Metrics};
use folder::{Found, Print};
use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Between two looks at the folder. A look is some `stat` calls.
const LOOK: Duration = Duration::from_secs(2);

/// The certificates in use. Clones share them.
#[derive(Clone)]
pub(crate) struct Certificates(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    names: Arc<Names>,
    /// What the folder looked like when it was read last, well or not.
    read: Mutex<Print>,
    server: Tls,
    reloads: Counter,
    failures: Counter,
}

/// Accepts connections of one set of certificates.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl Certificates {
    /// # Errors
    /// Where the folder cannot be read, a file is broken, or there is no certificate: the message names the file.
    pub(crate) fn open(folder: &Path, metrics: &Metrics) -> io::Result<Self> {
        let (print, set) = read(folder)?;
        let names = Arc::new(Names(RwLock::new(Arc::new(set))));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are resumed by tickets that the client keeps: nothing is stored for it here.
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(io::Error::other)?;
        let counter = |name, help| metrics.register(name, help, Counter::default());
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            names,
            read: Mutex::new(print),
            server: Tls(TlsAcceptor::from(Arc::new(config))),
            reloads: counter("tls_reloads", "times that new certificates were taken into use"),
            failures: counter("tls_reload_failures", "times that new certificates were broken and the old ones stayed"),
        })))
    }

    pub(crate) fn server(&self) -> Tls {
        self.0.server.clone()
    }

    /// Resolves once the folder looks different from when it was read.
    pub(crate) async fn changed(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let folder = self.0.folder.clone();
            let print = tokio::task::spawn_blocking(move || folder::print(&folder)).await;
            if let Ok(print) = print
                && print != *self.0.read.lock()
            {
                return;
            }
        }
    }

    /// Takes what is in the folder now into use, if all of it is sound.
    pub(crate) async fn reload(&self) {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.reload_now()).await;
        if done.is_err() {
            tracing::error!("reading certificates panicked: this is a defect");
        }
    }

    fn reload_now(&self) {
        let inner = &*self.0;
        match read(&inner.folder) {
            Ok((print, set)) => {
                tracing::info!(names = set.by_name.len(), folder = %inner.folder.display(), "certificates were read");
                *inner.names.0.write() = Arc::new(set);
                *inner.read.lock() = print;
                inner.reloads.inc();
            }
            Err(error) => {
                tracing::error!(%error, "new certificates cannot be used: the old ones stay");
                *inner.read.lock() = folder::print(&inner.folder);
                inner.failures.inc();
            }
        }
    }
}

impl Tls {
    /// The handshake, with the protocol that both sides chose.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Protocol>)> {
        let stream = self.0.accept(stream).await?;
        let protocol = stream.get_ref().1.alpn_protocol().map(|name| match name {
            b"h2" => Protocol::Http2,
            _ => Protocol::Http1,
        });
        Ok((stream, protocol))
    }
}

fn read(folder: &Path) -> io::Result<(Print, Set)> {
    // Looked at first: what changes meanwhile is seen by the next look.
    let print = folder::print(folder);
    let set = Set::new(folder::read(folder)?);
    Ok((print, set))
}

/// Finds the certificate for a handshake: the one place that a reload changes.
#[derive(Debug)]
struct Names(RwLock<Arc<Set>>);

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = Arc::clone(&self.0.read());
        Some(set.find(hello.server_name()))
    }
}

/// Certificates by the names that they are for.
#[derive(Debug)]
struct Set {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For who asks for no name, or for one that nobody has.
    default: Arc<CertifiedKey>,
}

impl Set {
    /// The first of two certificates for one name is taken; `found` has at least one, in order of the files' names.
    fn new(found: Found) -> Self {
        let Found { first, rest, default } = found;
        let chosen = default.unwrap_or_else(|| Arc::clone(&first.key));
        let mut by_name = HashMap::new();
        for certificate in std::iter::once(first).chain(rest) {
            for name in certificate.names {
                by_name.entry(name).or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        Self { by_name, default: chosen }
    }

    /// The name itself, then the wildcard one level up (RFC 6125 §6.4.3), then the default.
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return Arc::clone(&self.default) };
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        Arc::clone(self.by_name.get(&name).or_else(wildcard).unwrap_or(&self.default))
    }
}
