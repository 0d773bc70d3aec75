//! A component that does what the path of the request says: the good, the slow and the bad that user code may do.

use std::sync::atomic::{AtomicU32, Ordering};
use wasip2::{
    cli, clocks, exports,
    filesystem::preopens,
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
            Scheme,
        },
    },
    io::streams::{InputStream, OutputStream, StreamError},
    random,
};

struct Probe;
wasip2::http::proxy::export!(Probe);

/// Instances share nothing, so this is 1 after the first call of each.
static CALLS: AtomicU32 = AtomicU32::new(0);

impl exports::http::incoming_handler::Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = || query.parse::<u64>().unwrap_or(0);
        match path {
            "/hello" => answer(out, 200, b"hello"),
            "/headers" => headers(&request, out),
            "/echo" => echo(request, out),
            "/env" => answer(out, 200, lines(cli::environment::get_environment()).as_bytes()),
            "/print" => print(out),
            "/count" => answer(out, 200, (CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string().as_bytes()),
            "/status" => answer(out, number() as u16, b""),
            "/big" => answer(out, 200, &vec![b'x'; number() as usize]),
            "/sleep" => {
                sleep(number());
                answer(out, 200, b"slept");
            }
            "/spin" => spin(),
            "/bomb" => bomb(),
            "/eat" => answer(out, 200, vec![1_u8; number() as usize].len().to_string().as_bytes()),
            "/trap" => deep(number()),
            "/recurse" => answer(out, 200, recurse(u64::MAX).to_string().as_bytes()),
            "/none" => drop(out),
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("no tea today".into())))),
            "/exit" => cli::exit::exit(if number() == 0 { Ok(()) } else { Err(()) }),
            "/drip" => drip(out),
            "/half" => half(out),
            "/abandon" => abandon(out),
            "/after" => after(out, number()),
            "/outbound" => outbound(out),
            "/reach" => reach(out),
            "/noise" => noise(out, number()),
            _ => answer(out, 404, path.as_bytes()),
        }
    }
}

fn head(out: ResponseOutparam, status: u16) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status between 100 and 999");
    let body = response.body().expect("the body's first use");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn answer(out: ResponseOutparam, status: u16, text: &[u8]) {
    let body = head(out, status);
    let stream = body.write().expect("the stream's first use");
    let _ = write(&stream, text);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(4096).try_for_each(|chunk| stream.blocking_write_and_flush(chunk))
}

fn lines(pairs: Vec<(String, String)>) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn headers(request: &IncomingRequest, out: ResponseOutparam) {
    let mut text = format!("{:?} {}\n", request.method(), request.authority().unwrap_or_default());
    for (name, value) in request.headers().entries() {
        text += &format!("{name}={}\n", String::from_utf8_lossy(&value));
    }
    let fields = Fields::new();
    fields.append("x-one", b"1").expect("a header");
    fields.append("x-one", b"2").expect("a second value");
    fields.append("content-type", b"text/plain").expect("a header");
    let response = OutgoingResponse::new(fields);
    response.set_status_code(201).expect("201");
    let body = response.body().expect("the body's first use");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream's first use");
    let _ = write(&stream, text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Streams: never holds more than one chunk.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body's first use");
    let input: InputStream = incoming.stream().expect("the stream's first use");
    let body = head(out, 200);
    let output = body.write().expect("the stream's first use");
    loop {
        match input.blocking_read(64 << 10) {
            Ok(bytes) => write(&output, &bytes).expect("somebody who reads"),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("the request broke off: {error:?}"),
        }
    }
    drop(output);
    let _ = OutgoingBody::finish(body, None);
}

fn print(out: ResponseOutparam) {
    let stdout = cli::stdout::get_stdout();
    let _ = stdout.blocking_write_and_flush(b"first line\nsecond ");
    // Another handle to the same stream goes on in the same line.
    let _ = cli::stdout::get_stdout().blocking_write_and_flush(b"line\nno end");
    let _ = cli::stderr::get_stderr().blocking_write_and_flush(b"an error\n");
    answer(out, 200, b"printed");
}

fn noise(out: ResponseOutparam, bytes: u64) {
    let stdout = cli::stdout::get_stdout();
    for _ in 0..bytes / 4096 {
        let _ = stdout.blocking_write_and_flush(&[b'n'; 4096]);
    }
    answer(out, 200, b"noisy");
}

fn sleep(millis: u64) {
    clocks::monotonic_clock::subscribe_duration(millis * 1_000_000).block();
}

fn spin() {
    let mut x = 1_u64;
    loop {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

fn bomb() {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

#[inline(never)]
fn deep(level: u64) {
    if std::hint::black_box(level) == 0 {
        panic!("as asked");
    }
    deep(level - 1);
    std::hint::black_box(level);
}

#[inline(never)]
fn recurse(level: u64) -> u64 {
    let pad = std::hint::black_box([level; 64]);
    if level == 0 { 0 } else { recurse(level - 1) + pad[(level % 64) as usize] }
}

/// Writes for ever.
fn drip(out: ResponseOutparam) {
    let body = head(out, 200);
    let stream = body.write().expect("the stream's first use");
    while write(&stream, b"drip\n").is_ok() {
        sleep(5);
    }
}

/// Breaks off after the head and some bytes.
fn half(out: ResponseOutparam) {
    let body = head(out, 200);
    let stream = body.write().expect("the stream's first use");
    let _ = write(&stream, b"half of it");
    sleep(20);
    panic!("the other half");
}

/// Drops the body without finishing it.
fn abandon(out: ResponseOutparam) {
    let body = head(out, 200);
    let stream = body.write().expect("the stream's first use");
    let _ = write(&stream, b"half of it");
    drop(stream);
    drop(body);
}

/// Goes on when everything is answered.
fn after(out: ResponseOutparam, millis: u64) {
    answer(out, 200, b"answered");
    sleep(millis);
    let _ = cli::stdout::get_stdout().blocking_write_and_flush(b"afterwards\n");
}

fn outbound(out: ResponseOutparam) {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some("127.0.0.1:1")).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let told = match outgoing_handler::handle(request, None) {
        Err(error) => format!("{error:?}"),
        Ok(future) => {
            future.subscribe().block();
            match future.get() {
                Some(Ok(Err(error))) => format!("{error:?}"),
                _ => "it went through".to_owned(),
            }
        }
    };
    answer(out, 200, told.as_bytes());
}

/// What the world around has to offer.
fn reach(out: ResponseOutparam) {
    let dirs = preopens::get_directories().len();
    let seed = random::random::get_random_bytes(16).len();
    let now = clocks::wall_clock::now().seconds;
    let stdin = matches!(cli::stdin::get_stdin().blocking_read(1), Err(StreamError::Closed));
    answer(out, 200, format!("dirs={dirs} random={seed} clock={} stdin-empty={stdin}", now > 1_700_000_000).as_bytes());
}
