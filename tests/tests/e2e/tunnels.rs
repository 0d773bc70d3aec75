//! WebSockets outlive what happens to the platform around them.

use mayfly_tests::{Client, Folder, Platform, Start, eventually, python::Talk, until};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Echoes; says 1001 to its clients when it is asked to end.
const ECHO: &str = r#"
import asyncio, os, signal
from websockets.asyncio.server import unix_serve

async def echo(socket):
    async for message in socket:
        await socket.send(os.environ["WORD"] + " " + message)

async def main():
    async with unix_serve(echo, os.environ["MAYFLY_SOCKET"], ping_interval=None) as server:
        if "POLITE" in os.environ:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        await server.wait_closed()

asyncio.run(main())
"#;

fn echo(word: &str, tunnel: &str) -> Folder {
    echo_with(word, tunnel, "")
}

/// Sockets may stay longer than calls.
fn echo_with(word: &str, tunnel: &str, env: &str) -> Folder {
    let manifest =
        format!("timeout = \"5s\"\n[tunnel]\ntimeout = \"10m\"\n{tunnel}\n[env]\nWORD = \"{word}\"\n{env}\n");
    Folder::python_server("sockets", &manifest, ECHO).file("requirements.txt", "websockets==17.4\n")
}

fn open(platform: &Platform) -> Talk {
    Talk::start("ws_talk.py", &[&format!("{}/sockets/", platform.gateway_url().replace("http://", "ws://"))])
}

fn metric(admin: &Client, name: &str) -> Option<u64> {
    let text = admin.get("/metrics").ok().text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// "a socket open across `up --take-over` and across a deploy keeps echoing until its client closes".
#[test]
fn a_socket_outlives_a_deploy_and_a_take_over() {
    let mut platform = Platform::start();
    platform.deploy(&echo("one", ""));
    let mut first = open(&platform);
    assert_eq!(first.ask("say a"), "one a");
    platform.deploy(&echo("two", ""));
    let mut second = open(&platform);
    assert_eq!((second.ask("say b"), first.ask("say b")), ("two b".into(), "one b".into()));
    assert_eq!(metric(&platform.admin(), "mayfly_tunnels"), Some(2));
    let (begun, admin) = (Instant::now(), platform.admin());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The admin port is the heir's from here on, and the old one keeps the sockets.
            eventually(LIMIT, "the heir serves", || metric(&admin, "mayfly_tunnels") == Some(0));
            for turn in 0..10 {
                assert_eq!(first.ask(&format!("say {turn}")), format!("one {turn}"));
                assert_eq!(second.ask(&format!("say {turn}")), format!("two {turn}"));
            }
            assert_eq!((first.ask("close"), second.ask("close")), ("closed 1000".into(), "closed 1000".into()));
        });
        platform.take_over(LIMIT);
    });
    // The old process ended with its last socket, not with its grace.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(open(&platform).ask("say c"), "two c");
}

/// A tunnel is a call: it counts against the function's limit, and no other call has its slot.
#[test]
fn an_open_socket_is_a_call() {
    let platform = Platform::start();
    platform.deploy(&echo("one", ""));
    platform.mayfly(&["limit", "sockets", "1"]).ok();
    let mut socket = open(&platform);
    assert_eq!(socket.ask("say a"), "one a");
    platform.gateway().get("/sockets/").problem(429, "function_limit");
    assert_eq!(socket.ask("close"), "closed 1000");
    // A plain request is what this server refuses by itself.
    eventually(LIMIT, "its slot is free", || platform.gateway().get("/sockets/").status == 426);
}

/// After a deploy, the old revision's instance is kept for a while and then drained; that takes as long as its sockets.
#[test]
fn a_drained_instance_waits_for_its_socket() {
    let platform = Platform::start();
    platform.deploy(&echo("one", ""));
    let mut socket = open(&platform);
    assert_eq!(socket.ask("say a"), "one a");
    platform.deploy(&echo("two", ""));
    // 30 s for a rollback, and the `timeout` of calls with its slack: then it was cut, before there were tunnels' own.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(45) {
        assert_eq!(socket.ask("say b"), "one b", "after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(socket.ask("close"), "closed 1000");
    eventually(LIMIT, "then the instance ends", || {
        platform.instances("sockets").iter().all(|instance| instance["revision"] != "sockets@1")
    });
}

/// The end of the grace: a function that has something to say to its clients is asked to end while they still hear it.
#[test]
fn at_the_end_of_the_grace_sockets_end_well() {
    for (env, want) in [("POLITE = \"1\"", "ended 1001"), ("", "ended 1006")] {
        let args = ["--grace", "1s"].map(str::to_owned).to_vec();
        let mut platform = Platform::start_with(Start { args, ..Start::default() });
        platform.deploy(&echo_with("one", "", env));
        let mut socket = open(&platform);
        assert_eq!(socket.ask("say a"), "one a");
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let end = scope.spawn(|| socket.ask("end"));
            assert_eq!(platform.stop(LIMIT), Some(0));
            assert_eq!(end.join().unwrap(), want, "{env}");
        });
        assert!(begun.elapsed() >= Duration::from_secs(1), "it had its grace: {:?}", begun.elapsed());
        platform.expect_no_process(LIMIT);
    }
}

/// `tunnel.idle`: what says nothing is ended, what speaks stays, and either is one call with its slot.
#[test]
fn an_idle_socket_is_ended() {
    let platform = Platform::start();
    platform.deploy(&echo("one", "idle = \"1500ms\""));
    let (mut socket, begun) = (open(&platform), Instant::now());
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(socket.ask("say a"), "one a");
    }
    assert_eq!(socket.ask("end"), "ended 1006");
    let history = until(LIMIT, "the call has ended", || {
        let list = platform.api().get("/v1/functions/sockets/invocations").ok().json();
        list["invocations"].as_array().filter(|all| all.len() == 1).cloned()
    });
    assert_eq!((history[0]["status"].as_u64(), history[0]["outcome"].as_str()), (Some(101), Some("ok")));
    eventually(LIMIT, "nothing is held", || metric(&platform.admin(), "mayfly_tunnels") == Some(0));
}

/// An open socket is use: its instance stays however short the idle time is, and goes once the socket is closed.
#[test]
fn an_instance_is_not_idle_while_its_socket_is_open() {
    let platform = Platform::start();
    platform.deploy(&echo("one", "[scale]\nidle = \"1s\""));
    let mut socket = open(&platform);
    assert_eq!(socket.ask("say a"), "one a");
    let ids = || platform.instances("sockets").iter().map(|one| one["id"].to_string()).collect::<Vec<_>>();
    let (first, begun) = (ids(), Instant::now());
    assert_eq!(first.len(), 1);
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(ids(), first, "after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((socket.ask("say b"), ids()), ("one b".into(), first));
    assert_eq!(socket.ask("close"), "closed 1000");
    eventually(Duration::from_secs(15), "it scales to zero", || ids().is_empty());
    eventually(LIMIT, "nothing is held", || metric(&platform.admin(), "mayfly_tunnels") == Some(0));
}
