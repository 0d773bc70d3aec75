//! HTTP/2 as it should be, and clients that mean harm.

use super::{
    House,
    frames::{
        CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE,
        field, frame, head,
    },
    held, ok,
};
use crate::Options;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use std::{
    net::TcpStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};
use wire::{Body, BodyError};

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const LIMIT: Duration = Duration::from_secs(10);

impl House {
    fn http2(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).unwrap())
    }
}

fn options() -> Options {
    Options { grace: Duration::from_secs(5), ..Options::default() }
}

#[test]
fn streams_over_the_limit_are_refused_and_may_be_repeated() {
    let (answer, calls) = held();
    let house = House::with(Options { streams_max: 4, ..options() }, answer);
    let mut client = house.http2();
    let settings = client.until(SETTINGS);
    let limit = settings.payload.chunks(6).find(|one| one[..2] == [0, 3]).map(|one| one[5]);
    assert_eq!(limit, Some(4), "the client is told");
    for stream in [1, 3, 5, 7, 9] {
        client.get(stream, "/hello");
    }
    let refused = client.until(RST_STREAM);
    assert_eq!((refused.stream, refused.number()), (9, REFUSED_STREAM));
    let calls: Vec<_> = (0..4).map(|_| calls.recv_timeout(LIMIT).unwrap()).collect();
    calls.into_iter().for_each(|call| call.send("done").unwrap());
    let mut ended = [false; 8];
    while !(ended[1] && ended[3] && ended[5] && ended[7]) {
        let data = client.until(DATA);
        ended[data.stream as usize] |= data.flags & END_STREAM != 0;
    }
    // A place is free again.
    client.get(11, "/hello");
    house.stop();
}

/// RFC 9113 §6.8: what runs ends well, what comes later is for somebody else.
#[test]
fn a_shutdown_says_goaway_and_lets_streams_end() {
    let (answer, calls) = held();
    let house = House::with(options(), answer);
    let mut client = house.http2();
    client.get(1, "/hello");
    let call = calls.recv_timeout(LIMIT).unwrap();
    house.shutdown.cancel();
    let last = |frame: &super::frames::Frame| u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
    let first = client.until(GOAWAY);
    assert_eq!((last(&first), first.number()), (u32::MAX >> 1, 0), "what is on its way is served, and it is no error");
    // After a round trip it is said which stream was the last.
    assert_eq!(last(&client.until(GOAWAY)), 1);
    client.get(3, "/hello");
    call.send("ended well").unwrap();
    let frames = client.rest();
    assert!(frames.iter().any(|frame| frame.kind == DATA && frame.payload == b"ended well"), "{frames:?}");
    assert!(frames.iter().all(|frame| frame.stream != 3), "{frames:?}");
    assert!(calls.try_recv().is_err(), "it is for somebody else");
    house.stop();
}

/// CVE-2023-44487.
#[test]
fn rapid_resets_end_the_connection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let house = House::with(options(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    });
    let mut client = house.http2();
    let pairs = (0..20_000_u32).flat_map(|n| {
        let stream = n * 2 + 1;
        let get = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/hello"));
        [get, frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
    });
    client.send(&pairs.collect::<Vec<u8>>());
    let frames = client.rest();
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY && frame.number() != 0);
    assert_eq!(goaway.map(super::frames::Frame::number), Some(ENHANCE_YOUR_CALM), "{}", frames.len());
    assert!(calls.load(Ordering::Relaxed) < 2_000, "{calls:?} calls were begun");
    house.stop();
}

/// Whoever reads the body by a task of its own, as a connection to an instance does, must not take half for a whole.
#[test]
fn half_an_upload_is_not_taken_for_a_whole_one() {
    let (told, hears) = mpsc::channel();
    let house = House::with(options(), move |call: wire::Call| {
        let told = told.clone();
        tokio::spawn(async move { told.send(call.request.into_body().collect(100).await) });
        std::future::pending()
    });
    let mut client = house.http2();
    let ends = [
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes()),
        frame(DATA, END_STREAM, 5, b""),
    ];
    for (stream, end) in [1, 3, 5].into_iter().zip(ends) {
        client.send(&frame(HEADERS, END_HEADERS, stream, &head("POST", "/hello")));
        client.send(&frame(DATA, 0, stream, b"half"));
        client.send(&end);
        let body = hears.recv_timeout(LIMIT).unwrap();
        assert_eq!(body.is_ok(), stream == 5, "{stream}: {body:?}");
    }
    house.stop();
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[test]
fn a_head_without_end_ends_the_connection() {
    let (answer, calls) = held();
    let house = House::with(options(), answer);
    let mut client = house.http2();
    client.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/hello")));
    let more = frame(CONTINUATION, 0, 1, &field(0, "x", &"v".repeat(16_000)));
    let taken = (0..4_000).take_while(|_| client.send(&more)).count();
    assert!(taken < 4_000, "64 MB were taken");
    assert!(calls.try_recv().is_err(), "nobody was called");
    assert_eq!(house.get("/nobody").status, 404, "the others are served");
    house.stop();
}

/// A few bytes that unpack to many: one long field, named again and again.
#[test]
fn a_head_that_unpacks_to_too_much_is_refused() {
    let (answer, calls) = held();
    let house = House::with(options(), answer);
    let mut client = house.http2();
    let mut bomb = head("GET", "/hello");
    bomb.extend(field(0x40, "x", &"v".repeat(4_000)));
    // Index 62 is the youngest entry of the table (RFC 7541 §2.3.3).
    bomb.extend([0xBE; 10_000]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    let told = loop {
        match client.read() {
            Some(frame) if [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind) => break Some(frame),
            Some(_) => {}
            None => break None,
        }
    };
    assert!(told.is_some(), "an answer, a reset or an end");
    assert!(calls.try_recv().is_err(), "40 MB of headers reached nobody");
    house.stop();
}

/// An answer that never ends, and how much of it was asked for.
struct Endless {
    given: Arc<AtomicUsize>,
    _end: mpsc::Sender<()>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.given.fetch_add(16 << 10, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

/// A house whose answers never end; says how much of them was asked for, and when one was given up.
fn endless(options: Options) -> (House, Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let given = Arc::new(AtomicUsize::new(0));
    let (end, ended) = mpsc::channel();
    let count = Arc::clone(&given);
    let house = House::with(options, move |_| {
        let body = Endless { given: Arc::clone(&count), _end: end.clone() };
        // The sender that stays here would keep the channel open.
        std::future::ready(Ok(Response::new(Body::stream(Ended(Some(body))))))
    });
    (house, given, ended)
}

/// Tells the end of a body: the sender of the house lives on.
struct Ended(Option<Endless>);

impl http_body::Body for Ended {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            let _ = body._end.send(());
        }
    }
}

/// A client that answers pings and takes nothing: its window stays shut.
#[test]
fn a_stream_that_nobody_takes_is_bounded_and_ends() {
    let (house, given, ended) = endless(Options { stall: Duration::from_millis(300), ..options() });
    let mut client = house.http2();
    client.get(1, "/hello");
    let mut taken = 0;
    let reset = loop {
        let frame = client.read().expect("the connection stays");
        match frame.kind {
            DATA => taken += frame.payload.len(),
            RST_STREAM => break frame,
            _ => {}
        }
    };
    assert_eq!((reset.stream, taken), (1, 65_535), "the window of a client that says nothing of it");
    ended.recv_timeout(LIMIT).expect("the function's answer is given up");
    let ahead = given.load(Ordering::Relaxed) - taken;
    assert!(ahead <= 256 << 10, "{ahead} bytes were held for it");
    // The connection goes on: it did nothing wrong.
    client.send(&frame(WINDOW_UPDATE, 0, 0, &65_535_u32.to_be_bytes()));
    client.get(3, "/hello");
    assert_eq!(client.until(DATA).stream, 3);
    house.stop();
}

/// The same over HTTP/1.1.
#[test]
fn a_client_that_never_reads_is_bounded_and_cut() {
    let (house, given, ended) = endless(Options { stall: Duration::from_millis(500), ..options() });
    let client = house.send("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    ended.recv_timeout(LIMIT).expect("the connection is cut");
    // What the kernel takes for itself, and no more than that.
    let given = given.load(Ordering::Relaxed);
    assert!(given < 16 << 20, "{given} bytes were asked for");
    drop(client);
    house.stop();
}

/// A function that reads nothing: the client may send ahead what its window lets it, and hears of no more.
#[test]
fn an_upload_that_nobody_reads_is_bounded() {
    let (answer, calls) = held();
    let house = House::with(options(), answer);
    let mut client = house.http2();
    client.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/hello")));
    let _call = calls.recv_timeout(LIMIT).unwrap();
    let window = client.until(SETTINGS);
    let window = window
        .payload
        .chunks(6)
        .find(|one| one[..2] == [0, 4])
        .map(|one| u32::from_be_bytes(one[2..].try_into().unwrap()) as usize);
    let window = window.expect("a window for each stream");
    assert!(window <= 1 << 20, "{window}");
    for _ in 0..window / (16 << 10) {
        client.send(&frame(DATA, 0, 1, &[0; 16 << 10]));
    }
    // Over it is an error of the client's, and told at once: nothing was granted meanwhile.
    client.send(&frame(DATA, 0, 1, &[0; 16 << 10]));
    loop {
        let frame = client.read().expect("an error, before the end");
        assert!(frame.kind != WINDOW_UPDATE || frame.stream == 0, "more was granted: {frame:?}");
        if [RST_STREAM, GOAWAY].contains(&frame.kind) {
            break;
        }
    }
    house.stop();
}

/// Slow loris, in both protocols: a head that comes too slowly ends the connection.
#[test]
fn a_head_that_comes_too_slowly_ends_the_connection() {
    let house = House::with(Options { head_timeout: Duration::from_millis(200), ..options() }, ok);
    // Too little to tell the protocol; a half head, at first or behind a good request. Who says nothing behind one rests.
    let good = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    for begun in ["", "PR", "GET /hello HTTP/1.1\r\nhost:", &format!("{good}GET /hello HT")] {
        let text = super::whole(house.send(begun));
        assert!(!text.contains("500"), "{text}");
    }
    let mut client = house.http2();
    client.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/hello")));
    assert!(client.rest().iter().all(|frame| frame.kind != HEADERS), "it ended without an answer");
    house.stop();
}
