//! Bodies that end too early, too late or not at all, and whose account that goes on.

use super::*;
use crate::link::h2c::H2cLink;
use hyper::server::conn::http2;

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, part: F) {
        tokio::spawn(part);
    }
}

/// A server of HTTP/2 that says back what it hears.
fn serve_http2(listener: UnixListener) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
            });
            tokio::spawn(
                async move { http2::Builder::new(Spawn).serve_connection(TokioIo::new(stream), service).await },
            );
        }
    });
}

/// A body of unknown length, as it is sent.
fn streamed() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, chunks) = futures_channel();
    (sender, Body::stream(BodyExt::map_err(chunks, |never| match never {})))
}

/// Over HTTP/2, the sender of a body hears only that its stream was reset.
#[tokio::test]
async fn a_body_over_its_limit_is_the_callers_fault_over_h2c_too() {
    let house = House::new("contract='http'\nprotocol='h2c'\nrequest_max='1KiB'");
    serve_http2(house.listener());
    let link = H2cLink::new(house.address(), house.vitals(), 1);
    // Before the answer's head: this server sends it at once, so the first frame is too much already.
    let (sender, body) = streamed();
    sender.send(Bytes::from(vec![0; 2048])).await.unwrap();
    let fault = match house.call(&link, body, Shape::Http).await {
        Err(refusal) => refusal.fault,
        Ok(response) => *text(response).await.unwrap_err().downcast::<types::Fault>().unwrap(),
    };
    assert_eq!(fault.code, Code::RequestTooLarge, "{fault}");
    // In the midst of the answer.
    let (sender, body) = streamed();
    sender.send(Bytes::from_static(b"a word")).await.unwrap();
    let response = house.call(&link, body, Shape::Http).await.unwrap();
    tokio::spawn(async move {
        let _ = sender.send(Bytes::from(vec![0; 2048])).await;
    });
    let fault = text(response).await.unwrap_err().downcast::<types::Fault>().unwrap();
    assert_eq!(fault.code, Code::RequestTooLarge, "{fault}");
    assert_eq!(house.ends.outcomes(), [Outcome::Rejected; 2]);
}

/// The deadline holds to the last byte, and an instance is not blamed for a reader that takes its time.
#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut_and_blames_nobody() {
    let house = House::new("contract='http'\ntimeout='200ms'");
    serve(house.listener(), |_| {
        let (sender, receiver) = futures_channel();
        tokio::spawn(async move { while sender.send(Bytes::from_static(&[0; 8192])).await.is_ok() {} });
        std::future::ready(Response::new(receiver))
    });
    let response = house.call(&house.http(), Body::Empty, Shape::Http).await.unwrap();
    let mut body = response.into_body();
    let mut next =
        async || std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await;
    assert!(next().await.unwrap().is_ok());
    tokio::time::sleep(Duration::from_millis(250)).await;
    let error = loop {
        if let Err(error) = next().await.expect("an end that says why") {
            break error;
        }
    };
    assert!(error.to_string().contains("taken within 200ms"), "{error}");
    assert_eq!(house.ends.outcomes(), [Outcome::Cancelled]);
}
