//! Clients that leave in the midst of an upload, whatever the function does with its input.

use mayfly_tests::{Folder, Platform, eventually};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Long before the functions' own time is over.
const SOON: Duration = Duration::from_secs(10);

/// `/slow` takes a piece now and then, `/mute` none; with `early` in its name the answer has begun by then.
const TAKES: &str = r#"
const said = {};
const take = (q, r) => {
  const path = q.url.split('/').pop();
  if (path === 'said') return r.end(JSON.stringify(said));
  said[path] = 'begun';
  if (path.includes('slow')) q.on('data', () => { q.pause(); setTimeout(() => q.resume(), 20); });
  // Node emits `end` at a reset, too, before the close or after it; `aborted` tells it from a whole body.
  q.on('end', () => { if (!q.aborted) said[path] = 'whole'; });
  q.on('error', () => {});
  (q.stream ?? q).on('close', () => { if (q.aborted || said[path] === 'begun') said[path] = 'broke off'; });
  if (path.includes('early')) r.write('.');
};
"#;

fn http1(name: &str) -> Folder {
    let code = format!("{TAKES}require('node:http').createServer(take).listen(process.env.MAYFLY_SOCKET);\n");
    Folder::node_server(name, "timeout = \"100s\"", &code)
}

fn h2c(name: &str) -> Folder {
    let code = format!("{TAKES}require('node:http2').createServer(take).listen(process.env.MAYFLY_SOCKET);\n");
    Folder::node_server(name, "timeout = \"100s\"\nprotocol = \"h2c\"", &code)
}

fn said(platform: &Platform, function: &str, path: &str) -> String {
    platform.gateway().get(&format!("/{function}/said")).ok().json()[path].as_str().unwrap_or_default().to_owned()
}

/// Calls of the function that ended, and how: `(cancelled or rejected, otherwise badly)`.
fn ended(platform: &Platform, function: &str) -> (u64, u64) {
    let metrics = platform.admin().get("/metrics").ok().text();
    let own = format!("mayfly_calls_total{{function=\"{function}\",outcome=\"");
    let mut all = (0, 0);
    for (outcome, count) in metrics.lines().filter_map(|line| line.strip_prefix(&own)?.split_once("\"} ")) {
        let count: u64 = count.parse().unwrap();
        match outcome {
            "cancelled" | "rejected" => all.0 += count,
            "ok" => {}
            _ => all.1 += count,
        }
    }
    all
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Begins an upload on stream 1 and sends less of it than a stream's window lets it.
fn begin_http2(platform: &Platform, path: &str) -> TcpStream {
    let mut stream = platform.gateway().connect().unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // The server's settings are its first frame (§3.4), and have effect once they are acknowledged.
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "settings");
    stream.read_exact(&mut vec![0; usize::from(head[2])]).unwrap();
    stream.write_all(&frame(4, 1, 0, &[])).unwrap();
    // Literals that are not kept (RFC 7541 §6.2.2).
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let head: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat())
        .collect();
    stream.write_all(&frame(1, 4, 1, &head)).unwrap();
    for _ in 0..15 {
        stream.write_all(&frame(0, 0, 1, &[b'x'; 16 << 10])).unwrap();
    }
    stream
}

/// Begins an upload and sends so much of it.
fn begin_http1(platform: &Platform, path: &str, size: usize) -> TcpStream {
    let mut stream = platform.gateway().connect().unwrap();
    stream
        .write_all(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").as_bytes())
        .unwrap();
    stream.write_all(&vec![b'x'; size]).unwrap();
    stream
}

/// Has the next close of this socket be a reset.
fn reset(stream: TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of_val(&linger)).unwrap();
    // SAFETY: the descriptor is open, and the value is a `linger` of this size.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    assert_eq!(done, 0);
}

/// The upload has begun, and ends with `leave`: its slot is free, nothing counts as crashed, and a function that `sees` it
/// is told.
fn ends_with(platform: &Platform, function: &str, path: &str, sees: bool, leave: impl FnOnce()) {
    eventually(SOON, "the call has begun", || said(platform, function, path) == "begun");
    let before = ended(platform, function);
    leave();
    eventually(SOON, &format!("the slot of {function}/{path} is free"), || {
        ended(platform, function) == (before.0 + 1, before.1)
    });
    if sees {
        eventually(SOON, &format!("{function}/{path} is told"), || said(platform, function, path) == "broke off");
    }
}

/// A stream that is reset (RFC 9113 §6.4): the function's request breaks off with it, and its slot is free.
#[test]
fn a_reset_stream_ends_the_call() {
    let platform = Platform::start();
    for folder in [http1("one"), h2c("two")] {
        platform.deploy(&folder);
    }
    for (function, path, sees) in [
        ("one", "slow", true),
        ("one", "slow-early", true),
        // A server of Node that reads nothing sees nothing, but its slot is free.
        ("one", "mute", false),
        ("one", "mute-early", false),
        ("two", "slow", true),
        ("two", "slow-early", true),
        // Behind data that it does not take, a function over h2c is not told before its connection ends.
        ("two", "mute", false),
        ("two", "mute-early", false),
    ] {
        let mut stream = begin_http2(&platform, &format!("/{function}/{path}"));
        ends_with(&platform, function, path, sees, || {
            stream.write_all(&frame(3, 0, 1, &8_u32.to_be_bytes())).unwrap();
        });
    }
}

/// A connection that ends, or is reset, with some of the body on its way: its end is seen behind that, so what nobody
/// takes must fit into the sockets on its way; of more, the call ends with its time (`streams::held_peers_fill_nothing`).
/// A caller that leaves says nothing against the instance.
#[test]
fn a_closed_connection_ends_the_call() {
    let platform = Platform::start();
    for folder in [http1("one"), h2c("two")] {
        platform.deploy(&folder);
    }
    for (function, path, sees) in [
        ("one", "slow", true),
        ("one", "slow-early", true),
        ("one", "mute", false),
        ("one", "mute-early", false),
        ("two", "slow", true),
        ("two", "slow-early", true),
    ] {
        for (how, leave) in [("closed", drop as fn(TcpStream)), ("reset", reset)] {
            let path = format!("{path}-{how}");
            let stream = begin_http1(&platform, &format!("/{function}/{path}"), 600 << 10);
            ends_with(&platform, function, &path, sees, || leave(stream));
        }
    }
}
