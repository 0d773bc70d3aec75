//! A platform is replaced by another process while it serves: nothing is refused, nothing is cut, nothing is left.

use crate::load::Load;
use mayfly_tests::{Folder, Platform, eventually, processes};
use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);
const SAYS: &str = "def handler(event, context):\n    return context.function_version\n";

/// A piece every 50 ms, for three seconds.
const STREAM: &str = r#"
const http = require('node:http');
http.createServer((request, response) => {
  let left = 60;
  const timer = setInterval(() => {
    response.write('x'.repeat(100));
    if (--left === 0) { clearInterval(timer); response.end(); }
  }, 50);
}).listen(process.env.MAYFLY_SOCKET);
"#;

/// "graceful restart by handing the listening sockets to a new process: a running load sees 0 failed requests, streams
/// included up to the grace time".
#[test]
fn a_take_over_fails_no_request_and_cuts_no_stream() {
    let mut platform = Platform::start();
    platform.deploy(&Folder::python("steady", "", SAYS));
    platform.deploy(&Folder::node_server("long", "", STREAM));
    let (gateway, old) = (platform.gateway(), platform.pid());
    gateway.get("/long").ok();
    let load = Load::start(&gateway, "/steady");
    for turn in 1..=3 {
        let mut stream = begin_stream(platform.gateway_url());
        platform.take_over(LIMIT);
        load.goes_on();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "turn {turn}: the stream was cut: {rest:?}");
        // The API is the heir's: what it acknowledges is served.
        platform.deploy(&Folder::python("steady", "", &format!("# {turn}\n{SAYS}")));
        let version = (turn + 1).to_string();
        assert_eq!(gateway.get("/steady").ok().json(), version.as_str());
    }
    assert!(load.none_failed() > 60);
    assert!(!processes::is_alive(old));
    platform.stop(LIMIT);
    platform.expect_no_process(LIMIT);
}

/// Calls `/long` and waits for the first piece of its body.
fn begin_stream(gateway: &str) -> TcpStream {
    let address = gateway.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /long HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut seen = String::new();
    while !seen.contains("xxx") {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    stream
}

/// An upgrade: SIGUSR2 starts the program that lies in the platform's place now.
#[test]
fn a_signal_starts_the_heir() {
    let mut platform = Platform::start();
    platform.deploy(&Folder::python("steady", "", SAYS));
    let load = Load::start(&platform.gateway(), "/steady");
    let heir = platform.replace(LIMIT);
    load.goes_on();
    load.none_failed();
    assert!(processes::is_alive(heir));
    platform.deploy(&Folder::python("steady", "", &format!("# again\n{SAYS}")));
}

/// An heir that dies before it serves costs nothing: the old platform takes the office again.
#[test]
fn an_heir_that_breaks_off_leaves_the_old_one_in_office() {
    let platform = Platform::start();
    platform.deploy(&Folder::python("steady", "", SAYS));
    let load = Load::start(&platform.gateway(), "/steady");
    for turn in 1..=3 {
        let mut heir = UnixStream::connect(platform.data_dir().join("run/i/handover")).unwrap();
        // The sockets come with this byte, and the kernel closes those that nobody takes.
        heir.read_exact(&mut [0]).unwrap();
        drop(heir);
        eventually(LIMIT, "the API answers again", || {
            platform.api().try_send("GET", "/v1/functions", b"").is_ok_and(|answer| answer.status == 200)
        });
        platform.deploy(&Folder::python("steady", "", &format!("# {turn}\n{SAYS}")));
    }
    load.none_failed();
}

/// Two platforms on one data directory never decide both.
#[test]
fn without_take_over_a_second_platform_is_refused() {
    let platform = Platform::start();
    let data = platform.data_dir();
    let free = "127.0.0.1:0";
    let args = ["up", "--data-dir", data.to_str().unwrap(), "--listen", free, "--api", free, "--admin", free];
    platform.mayfly(&args).fails(4, &["another platform runs on", "--take-over"]);
    platform.api().get("/v1/functions").ok();
}
