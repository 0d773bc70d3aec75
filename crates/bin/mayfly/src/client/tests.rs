//! The client against a small server in this process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Response, body::Frame, service::service_fn};
use serde_json::{Value, json};
use std::{convert::Infallible, io::Write as _, sync::Arc};
use tokio::{net::TcpListener, sync::mpsc};
use types::{Code, Fault, api::FunctionList};

/// Serves every request by `answer`; gives the URL.
pub(crate) async fn serve<F, R>(answer: F) -> String
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    // Ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer.clone();
                async move { Ok::<_, Infallible>(answer(request).await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

pub(crate) fn full(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Body::Full(body.into())).unwrap()
}

pub(crate) fn client(url: &str) -> Client {
    Client::new(url, Token { path: "/data/token".into(), value: Ok("secret".into()) }).unwrap()
}

#[tokio::test]
async fn a_request_carries_token_host_and_path() {
    let url = serve(|request| async move {
        let header = |name| request.headers()[name].to_str().unwrap().to_owned();
        let seen =
            json!([request.method().as_str(), request.uri().to_string(), header("authorization"), header("host")]);
        full(200, seen.to_string())
    })
    .await;
    let seen: Value = client(&format!("{url}/")).get("/functions?a=b").await.unwrap();
    assert_eq!(seen, json!(["GET", "/v1/functions?a=b", "Bearer secret", url.strip_prefix("http://").unwrap()]));
}

#[tokio::test]
async fn a_problem_document_becomes_its_fault() {
    let fault = Fault::new(Code::FunctionNotFound, "there is no function `hello`");
    let problem = serde_json::to_vec(&fault.problem()).unwrap();
    let url = serve(move |_| {
        let problem = problem.clone();
        async move { full(404, problem) }
    })
    .await;
    let error = client(&url).get::<FunctionList>("/functions/hello").await.unwrap_err();
    assert!(matches!(error, Error::Fault(seen) if seen == fault));
}

#[tokio::test]
async fn a_refused_token_is_told_from_other_refusals() {
    let problem = serde_json::to_vec(&Fault::new(Code::Unauthorized, "who?").problem()).unwrap();
    let url = serve(move |_| {
        let problem = problem.clone();
        async move { full(401, problem) }
    })
    .await;
    let error = client(&url).get::<FunctionList>("/functions").await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { token, .. } if token.path.as_os_str() == "/data/token"));
}

#[tokio::test]
async fn another_server_is_recognised() {
    let url = serve(|request| async move {
        if request.uri().path().ends_with("ok") { full(200, "<html>") } else { full(404, "<html>nginx") }
    })
    .await;
    for (path, status) in [("/ok", 200), ("/missing", 404)] {
        let error = client(&url).get::<FunctionList>(path).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { status: seen, .. } if seen.as_u16() == status), "{path}");
    }
}

#[tokio::test]
async fn documents_stream_as_they_come() {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = std::sync::Mutex::new(Some(receiver));
    let url = serve(move |_| {
        let pieces = receiver.lock().unwrap().take().unwrap();
        let stream = futures_util::stream::unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), pieces))
        });
        async move { Response::new(Body::stream(StreamBody::new(stream))) }
    })
    .await;
    let mut lines = client(&url).lines::<Value>("/log").await.unwrap();
    // Each is there before the next is sent: nothing is held back.
    for (piece, want) in [("{\"a\":1}\n", json!({"a": 1})), ("\n{\"b\":\"ü\"}\n", json!({"b": "ü"}))] {
        sender.send(piece).await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Some(want));
    }
    // Two in one piece, one over two pieces, the last without a line's end.
    sender.send("[1]\n[2]\n[").await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(json!([1])));
    assert_eq!(lines.next().await.unwrap(), Some(json!([2])));
    sender.send("3]\n[4]").await.unwrap();
    drop(sender);
    assert_eq!(lines.next().await.unwrap(), Some(json!([3])));
    assert_eq!(lines.next().await.unwrap(), Some(json!([4])));
    assert_eq!(lines.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let n = stream.read(&mut head).await.unwrap();
        assert!(n > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[1]\n\r\n").await.unwrap();
    });
    let mut lines = client(&url).lines::<Value>("/log").await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(json!([1])));
    assert!(matches!(lines.next().await, Err(Error::Broken { .. })));
    server.await.unwrap();
}

#[tokio::test]
async fn garbage_in_a_stream_is_an_error() {
    let url = serve(|_| async { full(200, "{\"a\":1}\nnot json\n") }).await;
    let mut lines = client(&url).lines::<Value>("/log").await.unwrap();
    assert!(lines.next().await.unwrap().is_some());
    assert!(matches!(lines.next().await, Err(Error::Broken { .. })));
}

#[tokio::test]
async fn an_upload_arrives_byte_for_byte_and_is_counted() {
    let url = serve(|request| async move {
        let length = request.headers()["content-length"].to_str().unwrap().to_owned();
        let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let sum = body.iter().enumerate().fold(0_u64, |sum, (i, b)| sum.wrapping_add(i as u64 * u64::from(*b)));
        full(202, json!({ "length": length, "kind": kind, "sum": sum }).to_string())
    })
    .await;
    // Neither a multiple of a piece nor of a page, and longer than what is read ahead.
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|i| (i % 251) as u8).collect();
    let sum = bytes.iter().enumerate().fold(0_u64, |sum, (i, b)| sum.wrapping_add(i as u64 * u64::from(*b)));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let upload = Upload::new(file).unwrap();
    let moved = upload.counter();
    let seen: Value = client(&url).upload("/functions/hello/deployments", upload).await.unwrap();
    assert_eq!(seen, json!({ "length": "3000001", "kind": types::api::ARCHIVE_TYPE, "sum": sum }));
    assert_eq!(moved.load(std::sync::atomic::Ordering::Relaxed), bytes.len() as u64);
}

#[tokio::test]
async fn a_refused_upload_tells_why_though_it_was_not_read() {
    let problem = serde_json::to_vec(&Fault::new(Code::QueueFull, "64 wait").problem()).unwrap();
    let url = serve(move |_unread| {
        let problem = problem.clone();
        async move { full(429, problem) }
    })
    .await;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 8 << 20]).unwrap();
    let upload = Upload::new(file).unwrap();
    let moved = upload.counter();
    let error = client(&url).upload::<Value>("/x", upload).await.unwrap_err();
    assert!(matches!(&error, Error::Fault(fault) if fault.code == Code::QueueFull), "{error:?}");
    assert_eq!(moved.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_upload_goes_on_where_the_server_never_says_continue() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\nwords") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    });
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"words").unwrap();
    assert_eq!(client(&url).upload::<Value>("/x", Upload::new(file).unwrap()).await.unwrap(), json!({}));
    server.await.unwrap();
}

#[tokio::test]
async fn conditions_and_tags_travel_in_headers() {
    let url = serve(|request| async move {
        let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let seen =
            json!({ "match": header("if-match"), "none": header("if-none-match"), "type": header("content-type") });
        let mut response = full(200, seen.to_string());
        response.headers_mut().insert("etag", HeaderValue::from_static("\"7\""));
        response
    })
    .await;
    let client = client(&url);
    let (_, tag) = client.get_tagged::<Value>("/x").await.unwrap();
    assert_eq!(tag, Some(Tag(HeaderValue::from_static("\"7\""))));
    for (condition, r#match, none) in [
        (Condition::Unchanged(tag.unwrap()), json!("\"7\""), json!(null)),
        (Condition::Absent, json!(null), json!("*")),
        (Condition::Always, json!(null), json!(null)),
    ] {
        let seen: Value = client.change(Method::PUT, "/x", &json!({}), condition).await.unwrap();
        assert_eq!(seen, json!({ "match": r#match, "none": none, "type": "application/json" }));
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_url() {
    // The port was free a moment ago; nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let error = client(&url).get::<FunctionList>("/functions").await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { url: seen, .. } if *seen == url), "{error:?}");
}

#[test]
fn an_address_is_checked_at_once() {
    let token = || Token { path: PathBuf::new(), value: Err("none".into()) };
    for url in ["https://x", "127.0.0.1:9900", "http://", "http://x/v1", "http://x?y", ""] {
        assert!(matches!(Client::new(url, token()), Err(Error::Url { .. })), "{url}");
    }
    assert_eq!(Client::new("http://host", token()).unwrap().url(), "http://host:80");
    assert_eq!(Client::new("http://[::1]:9900/", token()).unwrap().url(), "http://[::1]:9900");
}

#[test]
fn a_token_is_read_without_its_line_end() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    assert_eq!(Token::read(file.path().to_owned()).value, Ok("secret".to_owned()));
    std::fs::write(file.path(), "\n").unwrap();
    assert!(Token::read(file.path().to_owned()).value.is_err());
    assert!(Token::read("/no/such/token".into()).value.unwrap_err().contains("No such file"));
}
