//! Speaks the REST API to a platform: one connection a request, typed documents, problem documents as faults.
//!
//! [`error`] is how it fails, [`upload`] and [`lines`] are the two bodies that stream.

pub mod error;
mod lines;
mod upload;

pub use error::Error;
pub use lines::Lines;
pub use upload::Upload;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::Notify, task::JoinHandle, time::timeout};
use types::fault::Problem;
use wire::Body;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Longest time without a sign of life from the API on a plain request.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// A function may take 15 minutes, and wait for its instance before.
pub const CALL_WAIT: Duration = Duration::from_secs(20 * 60);
/// No document of the API is longer.
const DOCUMENT_MAX: u64 = 64 << 20;

/// The API's token and where it was looked for, so that a 401 can say so.
#[derive(Debug, Clone)]
pub struct Token {
    pub path: PathBuf,
    /// The token, or why there is none.
    pub value: Result<String, String>,
}

impl Token {
    pub fn read(path: PathBuf) -> Self {
        let value = match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Err("the file is empty".to_owned()),
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Self { path, value }
    }
}

/// The version of a document, as the `ETag` header had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub HeaderValue);

/// When a change may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// The document is still the one that was read.
    Unchanged(Tag),
    /// There is none yet.
    Absent,
}

/// A platform's API.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    authority: String,
    token: Token,
}

/// A response whose body has not been read.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// Drives the connection; it must live as long as the body is read, and no longer.
    _connection: Connection,
}

struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// # Errors
    /// [`Error::Url`] for anything but `http://HOST[:PORT]`.
    pub fn new(url: &str, token: Token) -> Result<Self, Error> {
        let bad = |why: &str| Error::Url { url: url.to_owned(), why: why.to_owned() };
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|e: http::uri::InvalidUri| bad(&e.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("it has to begin with http://"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("nothing may follow the host and port"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        let port = authority.port_u16().unwrap_or(80);
        let authority = format!("{}:{port}", authority.host());
        Ok(Self { url: format!("http://{authority}"), authority, token })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request to `/v1` + `path`; any status is an answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Broken`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
        wait: Duration,
    ) -> Result<Answer, Error> {
        let request = self.request(method, path, headers, body)?;
        timeout(wait, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(self.broken(format_args!("no answer within {} s", wait.as_secs()))))
    }

    fn request(&self, method: Method, path: &str, headers: HeaderMap, body: Body) -> Result<Request<Body>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("/v1{path}").parse().map_err(|e| self.broken(e))?;
        *request.headers_mut() = headers;
        let mut set = |name, value: &str| -> Result<(), Error> {
            let value = HeaderValue::from_str(value).map_err(|e| self.broken(e))?;
            request.headers_mut().insert(name, value);
            Ok(())
        };
        set(header::HOST, &self.authority)?;
        set(header::CONNECTION, "close")?;
        set(header::USER_AGENT, concat!("mayfly/", env!("CARGO_PKG_VERSION")))?;
        if let Ok(token) = &self.token.value {
            set(header::AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, Error> {
        let unreachable = |cause: String| Error::Unreachable { url: self.url.clone(), cause };
        let stream = match timeout(CONNECT_WAIT, TcpStream::connect(&self.authority)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no connection within {} s", CONNECT_WAIT.as_secs()))),
        };
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        // Its failure is the body's failure, and is seen there.
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let (parts, body) = sender.send_request(request).await.map_err(|e| self.broken(e))?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body, _connection: connection })
    }

    fn broken(&self, cause: impl std::fmt::Display) -> Error {
        Error::Broken { url: self.url.clone(), cause: cause.to_string() }
    }

    /// An answer that is a success; everything else becomes an error.
    ///
    /// # Errors
    /// [`Error::Fault`] and [`Error::Unauthorized`] from a problem document, [`Error::Foreign`] without one.
    pub async fn success(&self, answer: Answer) -> Result<Answer, Error> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let body = answer.bytes(self).await?;
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| Error::Foreign {
            url: self.url.clone(),
            status,
            body: String::from_utf8_lossy(body.get(..200).unwrap_or(&body)).into_owned(),
        })?;
        Err(if status == StatusCode::UNAUTHORIZED {
            Error::Unauthorized { fault: problem.into(), token: self.token.clone() }
        } else {
            Error::Fault(problem.into())
        })
    }

    /// # Errors
    /// Those of [`Client::send`] and [`Client::success`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self.get_tagged(path).await?.0)
    }

    /// A document and its version.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_tagged<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<Tag>), Error> {
        let answer = self.send(Method::GET, path, HeaderMap::new(), Body::Empty, ANSWER_WAIT).await?;
        let answer = self.success(answer).await?;
        let tag = answer.headers.get(header::ETAG).cloned().map(Tag);
        Ok((answer.document(self).await?, tag))
    }

    /// Sends a document by `method` and reads one. Waits as long as for a call: a change of an alias starts instances.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: &impl Serialize,
        condition: Condition,
    ) -> Result<T, Error> {
        let document = serde_json::to_vec(document).map_err(|e| self.broken(e))?;
        let mut headers = headers_for(condition);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.send(method, path, headers, document.into(), CALL_WAIT).await?;
        self.success(answer).await?.document(self).await
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str, body: Body, condition: Condition) -> Result<(), Error> {
        let mut headers = headers_for(condition);
        if !matches!(body, Body::Empty) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answer = self.send(Method::DELETE, path, headers, body, ANSWER_WAIT).await?;
        self.success(answer).await?.bytes(self).await.map(drop)
    }

    /// A stream of documents, one a line.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, Error> {
        let answer = self.send(Method::GET, path, HeaderMap::new(), Body::Empty, ANSWER_WAIT).await?;
        Ok(Lines::new(self.success(answer).await?, self.url.clone()))
    }

    /// Sends an archive; the wait ends when nothing moves for [`ANSWER_WAIT`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn upload<T: DeserializeOwned>(&self, path: &str, upload: Upload) -> Result<T, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(types::api::ARCHIVE_TYPE));
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let moved = upload.counter();
        let wanted = Arc::new(Notify::new());
        let body = Body::stream(upload.once(wanted.clone()));
        let mut request = self.request(Method::POST, path, headers, body)?;
        hyper::ext::on_informational(&mut request, move |word| {
            if word.status() == StatusCode::CONTINUE {
                wanted.notify_one();
            }
        });
        let mut exchange = std::pin::pin!(self.exchange(request));
        let answer = loop {
            let before = moved.load(std::sync::atomic::Ordering::Relaxed);
            match timeout(ANSWER_WAIT, &mut exchange).await {
                Ok(answer) => break answer?,
                Err(_) if moved.load(std::sync::atomic::Ordering::Relaxed) > before => {}
                Err(_) => return Err(self.broken("the upload stands still")),
            }
        };
        self.success(answer).await?.document(self).await
    }
}

impl Answer {
    /// The whole body, at most [`DOCUMENT_MAX`] bytes.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub async fn bytes(self, client: &Client) -> Result<Bytes, Error> {
        Body::Incoming(self.body).collect(DOCUMENT_MAX).await.map_err(|error| match error {
            Some(error) => client.broken(error),
            None => client.broken(format_args!("the answer is longer than {} MiB", DOCUMENT_MAX >> 20)),
        })
    }

    async fn document<T: DeserializeOwned>(self, client: &Client) -> Result<T, Error> {
        let status = self.status;
        let body = self.bytes(client).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Foreign {
            url: client.url.clone(),
            status,
            body: format!("an unexpected document: {error}"),
        })
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        use http_body_util::BodyExt as _;
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_trailers) => {}
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn headers_for(condition: Condition) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match condition {
        Condition::Always => {}
        Condition::Unchanged(Tag(tag)) => drop(headers.insert(header::IF_MATCH, tag)),
        Condition::Absent => drop(headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"))),
    }
    headers
}

#[cfg(test)]
pub(crate) mod tests;
