//! A new connection: name, addresses, TCP, TLS. The system's certificates are believed, or those of `SSL_CERT_FILE`.

use crate::{Error, address};
use chassis::task;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
};
use tokio_rustls::TlsConnector;
use wire::{Body, BoxFuture};

/// The addresses of a name and a port.
pub type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

pub(crate) type Sender = http1::SendRequest<Body>;

/// Whom to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Small letters, no brackets, no dot at the end.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) secure: bool,
}

pub(crate) struct Dialer {
    pub(crate) resolver: Resolver,
    pub(crate) tls: OnceCell<TlsConnector>,
}

pub(crate) fn system() -> Resolver {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) }))
}

impl Dialer {
    pub(crate) async fn dial(&self, target: &Target, private: bool) -> Result<Sender, Error> {
        let found = (self.resolver)(target.host.clone(), target.port).await;
        let mut found = found.map_err(|_| Error::Name(target.host.clone()))?;
        if found.is_empty() {
            return Err(Error::Name(target.host.clone()));
        }
        found.retain(|one| address::is_allowed(one.ip(), private));
        if found.is_empty() {
            return Err(Error::Address(target.host.clone()));
        }
        // The very addresses that were checked: nobody asks for the name again.
        let stream = TcpStream::connect(&found[..]).await.map_err(Error::Connect)?;
        let _ = stream.set_nodelay(true);
        if !target.secure {
            return speak(stream).await;
        }
        let tls = self.tls.get_or_try_init(connector).await.map_err(Error::Tls)?;
        let name = ServerName::try_from(target.host.clone()).map_err(|error| Error::Tls(error.to_string()))?;
        speak(tls.connect(name, stream).await.map_err(|error| Error::Tls(error.to_string()))?).await
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<Sender, Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    // It ends with the sender, which the pool or the answer's body owns; whoever uses it hears of its failure.
    task::spawn("outbound connection", async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Reads some 150 certificates, once.
async fn connector() -> Result<TlsConnector, String> {
    let read = tokio::task::spawn_blocking(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(format!("this machine believes no certificate: {:?}", found.errors));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    });
    read.await.map_err(|error| error.to_string())?
}
