//! One `GET` of a small document over HTTP or HTTPS, with a bound on everything.
//!
//! Redirects are not followed: the manifest says whose keys are believed. The system's certificates are believed, or those
//! that `SSL_CERT_FILE` names.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use wire::Body;

/// The whole of it: name, connection, handshake, answer.
pub(super) const LONGEST: Duration = Duration::from_secs(5);
/// A set of keys has 1 to 4 KB; with certificate chains in it some have 30.
const BODY_MAX: u64 = 256 << 10;

#[derive(Default)]
pub(super) struct Fetcher(OnceCell<TlsConnector>);

impl Fetcher {
    /// The body of a 200, and how long it says that it is good for.
    ///
    /// # Errors
    /// What failed, with the URL.
    pub(super) async fn get(&self, url: &str) -> Result<(Bytes, Option<Duration>), String> {
        match timeout(LONGEST, self.attempt(url)).await {
            Ok(answer) => answer.map_err(|why| format!("{url}: {why}")),
            Err(_) => Err(format!("{url}: no answer within {} s", LONGEST.as_secs())),
        }
    }

    async fn attempt(&self, url: &str) -> Result<(Bytes, Option<Duration>), String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let secure = uri.scheme_str() == Some("https");
        let authority = uri.authority().ok_or("no host in it")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("mayfly/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Body::Empty)
            .map_err(|error| error.to_string())?;
        if !secure {
            return exchange(stream, request).await;
        }
        let tls = self.0.get_or_try_init(connector).await?;
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<(Bytes, Option<Duration>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers with {}", response.status()));
        }
        let fresh = fresh(response.headers());
        let body = Body::Incoming(response.into_body()).collect(BODY_MAX).await.map_err(|error| match error {
            Some(error) => error.to_string(),
            None => format!("the answer is longer than {BODY_MAX} bytes"),
        })?;
        Ok((body, fresh))
    };
    // Who uses a connection drives it: both end together.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            // The answer may be whole already.
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1).
fn fresh(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let age = said.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    age.trim_matches('"').parse().ok().map(Duration::from_secs)
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
