//! How many connections there may be, and tunnels among them.

use super::{House, Reply, ok};
use crate::Options;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use types::Fault;
use wire::{Body, Call};

const SWITCH: &str = "GET /hello HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// A function that speaks "echo" behind the switch.
async fn echo(mut call: Call) -> Result<Response<Body>, Fault> {
    let client = call.request.extensions_mut().remove::<OnUpgrade>().expect("a client that can switch");
    chassis::task::spawn("echo", async move {
        let Ok(client) = client.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(client));
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    Ok(response)
}

#[track_caller]
fn says(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).unwrap();
    let mut heard = vec![0; word.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, word.as_bytes());
}

/// The head of the answer, and the stream behind it.
fn tunnel(house: &House) -> TcpStream {
    let mut stream = house.send(SWITCH);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn a_tunnel_lives_through_the_grace() {
    let house = House::with(Options { grace: Duration::from_secs(20), ..Options::default() }, echo);
    let mut stream = tunnel(&house);
    says(&mut stream, "before");
    assert!(house.metrics.render().contains("mayfly_tunnels 1"), "{}", house.metrics.render());
    house.shutdown.cancel();
    while TcpStream::connect(house.addr).is_ok() {
        std::thread::yield_now();
    }
    says(&mut stream, "while it stops");
    assert!(!house.done.is_finished());
    drop(stream);
    let metrics = house.metrics.clone();
    house.stop();
    let told = metrics.render();
    assert!(told.contains("mayfly_tunnels 0") && told.contains("mayfly_connections 0"), "{told}");
    assert!(told.contains("mayfly_tunnels_opened_total 1"), "{told}");
}

#[test]
fn a_tunnel_holds_a_shutdown_up_for_the_grace_and_no_longer() {
    let house = House::with(Options { grace: Duration::from_millis(300), ..Options::default() }, echo);
    let mut stream = tunnel(&house);
    says(&mut stream, "before");
    let begun = Instant::now();
    house.stop();
    assert!((300..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    // The lanes are gone, and the socket with them.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn without_a_place_a_connection_is_told_so() {
    let house = House::with(Options { connections_max: 2, ..Options::default() }, ok);
    let open = || {
        let mut stream = house.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let (first, second) = (open(), open());
    assert_eq!([first.1.as_str(), second.1.as_str()], ["HTTP/1.1 200"; 2]);
    // Much is sent, and the answer is heard all the same.
    let long = format!("POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 99999\r\n\r\n{}", "x".repeat(99_999));
    let reply = Reply::read(house.send(&long));
    assert_eq!((reply.status, reply.headers["mayfly-error"].as_str()), (503, "connections_exhausted"));
    assert_eq!((reply.headers["connection"].as_str(), reply.headers["retry-after"].as_str()), ("close", "1"));
    assert!(house.metrics.render().contains("mayfly_connections_refused_total 1"), "{}", house.metrics.render());
    drop(first);
    let end = Instant::now() + Duration::from_secs(10);
    while open().1 != "HTTP/1.1 200" {
        assert!(Instant::now() < end, "its place is free again");
    }
    house.stop();
}
