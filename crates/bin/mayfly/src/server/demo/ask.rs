//! What the demo asks an example, as any client would: its front page, its stdin, or a method of its gRPC service.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::net::TcpStream;
use types::{Contract, Fault, Manifest};

/// Beside an example that has no front page.
const FILE: &str = "demo.json";
const HELLO: &str = "hello from the demo";
const ANSWER_MAX: usize = 1 << 20;
const CALL_MAX: Duration = Duration::from_secs(60);
/// A gRPC message has one byte that says whether it is compressed and four of length before it
/// (gRPC over HTTP/2, "Length-Prefixed-Message").
const GRPC_PREFIX: usize = 5;

/// One example's question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    FrontPage { path: String },
    Stdin { path: String },
    Grpc(Method),
}

/// A method of a gRPC service, called with one message.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Method {
    /// `/package.Service/Method`.
    grpc: String,
    message: String,
}

impl Ask {
    pub fn of(folder: &Path, manifest: &Manifest) -> Result<Self, String> {
        let path = format!("/{}", manifest.name);
        match (std::fs::read_to_string(folder.join(FILE)), manifest.contract()) {
            (Ok(text), _) => {
                let method = serde_json::from_str(&text);
                method.map(Self::Grpc).map_err(|error| format!("{}: {error}", folder.join(FILE).display()))
            }
            (Err(_), Contract::Command) => Ok(Self::Stdin { path }),
            (Err(_), Contract::Handler | Contract::Http | Contract::Component) => Ok(Self::FrontPage { path }),
        }
    }

    /// Status and answer of one call through the gateway.
    pub async fn call(&self, gateway: SocketAddr) -> Result<(u16, String), Fault> {
        let exchange = async {
            let stream = TcpStream::connect(gateway).await.map_err(Fault::internal)?;
            match self {
                Self::FrontPage { path } => over_http1(stream, request("GET", path, gateway, Bytes::new())?).await,
                Self::Stdin { path } => over_http1(stream, request("POST", path, gateway, HELLO.into())?).await,
                Self::Grpc(method) => over_grpc(stream, method, gateway).await,
            }
        };
        tokio::time::timeout(CALL_MAX, exchange).await.map_err(Fault::internal)?
    }
}

fn request(method: &str, path: &str, gateway: SocketAddr, body: Bytes) -> Result<Request<Full<Bytes>>, Fault> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, gateway.to_string());
    request.body(Full::new(body)).map_err(Fault::internal)
}

async fn over_http1(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<(u16, String), Fault> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Fault::internal)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(Fault::internal)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(Fault::internal)?;
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

async fn over_grpc(stream: TcpStream, method: &Method, gateway: SocketAddr) -> Result<(u16, String), Fault> {
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(Fault::internal)?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method("POST")
        .version(Version::HTTP_2)
        .uri(format!("http://{gateway}{}", method.grpc))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(framed(&method.message)))
        .map_err(Fault::internal)?;
    let response = sender.send_request(request).await.map_err(Fault::internal)?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(Fault::internal)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    driver.abort();
    Ok((parts.status.as_u16(), said(&parts.headers, &trailers, &body.to_bytes())))
}

fn framed(message: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message.as_bytes());
    frame.freeze()
}

/// The answer's first message and the status that the service ended with.
fn said(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> String {
    let status = trailers.get("grpc-status").or_else(|| headers.get("grpc-status"));
    let status = status.and_then(|value| value.to_str().ok()).unwrap_or("missing");
    let length =
        body.get(1..GRPC_PREFIX).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    let message: &[u8] = body.get(GRPC_PREFIX..GRPC_PREFIX.saturating_add(length)).unwrap_or_default();
    format!("grpc-status {status} {}", String::from_utf8_lossy(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was_framed() {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        assert_eq!(said(&HeaderMap::new(), &trailers, &framed("HELLO")), "grpc-status 0 HELLO");
        assert_eq!(said(&trailers, &HeaderMap::new(), b""), "grpc-status 0 ");
        assert_eq!(said(&HeaderMap::new(), &HeaderMap::new(), &[0, 255, 255, 255, 255, 1]), "grpc-status missing ");
    }

    #[test]
    fn each_example_has_its_question() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
        let ask = |name: &str| {
            let folder = examples.join(name);
            let manifest = std::fs::read_to_string(folder.join(types::manifest::FILE)).unwrap();
            Ask::of(&folder, &Manifest::parse(&manifest).unwrap()).unwrap()
        };
        assert!(matches!(ask("web-grpc"), Ask::Grpc(method) if method.grpc == "/mayfly.example.Words/Shout"));
        assert_eq!(ask("shout"), Ask::Stdin { path: "/shout".to_owned() });
        assert_eq!(ask("web-go"), Ask::FrontPage { path: "/web-go".to_owned() });
    }
}
