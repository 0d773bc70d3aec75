//! The `command` contract: a process per call, through a guest's socket.

use crate::{
    scene::{self, Scene, hear, is_alive, pids, until, until_gone},
    suite::{checks, join_all},
};
use sandbox::{
    Error, Exit, Mode, Plan, Running,
    command::{self, Ended, Event, How, Invoke, Receiver, Sender},
};
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

checks![
    a_body_comes_back_whole,
    status_signal_and_last_words_are_told,
    each_call_has_variables_of_its_own,
    the_callers_leaving_kills_the_call,
    eight_calls_run_at_once,
    more_connections_than_slots_wait,
    output_before_input_blocks_nobody,
    input_that_nobody_reads_is_passed_over,
    a_call_leaves_nothing_and_spares_its_neighbour,
    what_cannot_start_is_told_before_any_call,
    the_socket_is_the_platforms_alone,
    a_stop_lets_calls_end,
    a_kill_ends_calls,
];

/// An instance that runs a process per call.
struct Host {
    running: Running,
    socket: PathBuf,
}

impl Host {
    async fn start(scene: &Scene, plan: Plan, slots: u32) -> Self {
        let socket = scene.path("calls.sock");
        let running = scene.start(Plan { mode: Mode::Command { socket: socket.clone(), slots }, ..plan }).await;
        Self { running, socket }
    }

    async fn shell(scene: &Scene, script: &str) -> Self {
        Self::start(scene, scene.shell(script), 8).await
    }

    async fn connect(&self) -> (Sender, Receiver) {
        command::connect(&self.socket).await.unwrap()
    }

    async fn end(self) {
        self.running.instance.terminate();
        assert_eq!(self.running.instance.wait().await, Exit::Status(0));
        assert!(is_gone(&self.socket).await);
    }
}

async fn is_gone(path: &std::path::Path) -> bool {
    until(&format!("{} is gone", path.display()), || !path.exists()).await;
    true
}

fn invoke(env: &[(&str, &str)]) -> Invoke {
    let env: BTreeMap<_, _> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Invoke { id: "1".into(), env }
}

async fn drain(receiver: &mut Receiver) -> (Vec<u8>, Ended) {
    let mut output = Vec::new();
    loop {
        match receiver.next().await.unwrap() {
            Event::Data(part) => output.extend_from_slice(&part),
            Event::Ended(ended) => return (output, ended),
        }
    }
}

async fn call(line: &mut (Sender, Receiver), env: &[(&str, &str)], body: &[u8]) -> (Vec<u8>, Ended) {
    let (sender, receiver) = line;
    sender.begin(&invoke(env)).await.unwrap();
    let send = async {
        sender.data(body).await.unwrap();
        sender.finish().await.unwrap();
    };
    tokio::join!(send, drain(receiver)).1
}

fn done(status: i32) -> Ended {
    Ended { how: How::Status(status), stderr_tail: String::new() }
}

async fn a_body_comes_back_whole(scene: &Scene) {
    let host = Host::start(scene, scene.plan("/bin/cat", &[]), 8).await;
    let body: Vec<u8> = (0..10_u32 << 20).map(|n| (n ^ (n >> 9)) as u8).collect();
    let mut line = host.connect().await;
    // One call after the other on one connection, an empty one among them.
    for body in [&body[..], b"", &body[..70_000]] {
        let (output, ended) = call(&mut line, &[], body).await;
        assert!(output == body, "{} of {} bytes", output.len(), body.len());
        assert_eq!(ended, done(0));
    }
    host.end().await;
}

async fn status_signal_and_last_words_are_told(scene: &Scene) {
    let script = r#"case $WHAT in
        status) echo out; echo one >&2; echo two >&2; exit 3;;
        signal) kill -9 $$;;
        words) head -c 100000 /dev/zero | tr '\0' x >&2; echo last >&2;;
    esac"#;
    let mut host = Host::shell(scene, script).await;
    let mut line = host.connect().await;
    let (output, ended) = call(&mut line, &[("WHAT", "status")], b"").await;
    assert_eq!((&*output, ended), (&b"out\n"[..], Ended { how: How::Status(3), stderr_tail: "one\ntwo\n".into() }));
    assert_eq!(call(&mut line, &[("WHAT", "signal")], b"").await.1.how, How::Signal(9));
    // The instance's log has it, too.
    hear(&mut host.running.stderr, "one\ntwo\n").await;
    let read = async { hear(&mut host.running.stderr, "xlast\n").await };
    let env = [("WHAT", "words")];
    let ((_, ended), ()) = tokio::join!(call(&mut line, &env, b""), read);
    assert_eq!(ended.stderr_tail.len(), 4096);
    assert!(ended.stderr_tail.ends_with("xxxlast\n"));
    host.end().await;
}

async fn each_call_has_variables_of_its_own(scene: &Scene) {
    let env = vec![("STAGE".to_owned(), "dev".to_owned()), ("B".to_owned(), "plan".to_owned())];
    let host = Host::start(scene, Plan { env, ..scene.plan("/usr/bin/env", &[]) }, 8).await;
    let mut line = host.connect().await;
    let (output, _) = call(&mut line, &[("Http_Method", "POST"), ("B", "call")], b"").await;
    assert_eq!(String::from_utf8(output).unwrap(), "STAGE=dev\nB=call\nHttp_Method=POST\n");
    let (output, _) = call(&mut line, &[], b"").await;
    assert_eq!(String::from_utf8(output).unwrap(), "STAGE=dev\nB=plan\n");
    let (_, ended) = call(&mut line, &[("A=B", "")], b"").await;
    assert!(matches!(&ended.how, How::ExecFailed(why) if why.contains("A=B")), "{ended:?}");
    assert_eq!(call(&mut line, &[], b"").await.1, done(0), "the connection goes on");
    host.end().await;
}

async fn the_callers_leaving_kills_the_call(scene: &Scene) {
    // While it reads, while it does not, and while it writes what nobody takes.
    for (name, blocked) in [("reading", false), ("deaf", true)] {
        let file = scene.path(&format!("open/{name}"));
        let host = Host::start(scene, scene.actor(&["tree", file.to_str().unwrap()]), 8).await;
        let (mut sender, mut receiver) = host.connect().await;
        sender.begin(&invoke(&[])).await.unwrap();
        assert_eq!(receiver.next().await.unwrap(), Event::Data("ready\n".into()));
        if blocked {
            let body = vec![0; 8 << 20];
            let full = tokio::time::timeout(Duration::from_millis(100), sender.data(&body)).await;
            assert!(full.is_err(), "nobody reads it, so it must wait");
        }
        let family = pids(&file);
        assert!(family.len() == 3 && family.iter().all(|pid| is_alive(*pid)));
        drop((sender, receiver));
        until_gone(&family).await;
        host.end().await;
    }
}

async fn eight_calls_run_at_once(scene: &Scene) {
    let open = scene.path("open");
    // Each ends only once all eight have begun.
    let script = format!(
        "cd {}; : > in-$N; cat; while [ $(ls | grep -c in-) -lt 8 ]; do sleep 0.01; done; exit $N",
        open.display()
    );
    let host = Host::shell(scene, &script).await;
    let calls = (0..8).map(|n: i32| {
        let host = &host;
        async move {
            let (name, mut line) = (n.to_string(), host.connect().await);
            let body = vec![n as u8; 100_000];
            let (output, ended) = call(&mut line, &[("N", &name)], &body).await;
            assert!(output == body);
            assert_eq!(ended, done(n));
        }
    });
    join_all(calls.collect()).await;
    host.end().await;
}

async fn more_connections_than_slots_wait(scene: &Scene) {
    let host = Host::start(scene, scene.plan("/bin/cat", &[]), 1).await;
    let first = host.connect().await;
    let (mut sender, mut receiver) = host.connect().await;
    sender.begin(&invoke(&[])).await.unwrap();
    sender.finish().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), receiver.next()).await;
    assert!(early.is_err(), "there is one slot, and it is taken: {early:?}");
    drop(first);
    assert_eq!(drain(&mut receiver).await, (vec![], done(0)));
    drop((sender, receiver));
    host.end().await;
}

async fn output_before_input_blocks_nobody(scene: &Scene) {
    let host = Host::start(scene, scene.actor(&["deaf-writer", "4"]), 8).await;
    let (output, ended) = call(&mut host.connect().await, &[], &vec![1; 3 << 20]).await;
    assert_eq!((output.len(), ended), ((4 << 20) + 7, done(0)));
    assert_eq!(output[4 << 20..], *b"3145728");
    host.end().await;
}

async fn input_that_nobody_reads_is_passed_over(scene: &Scene) {
    let host = Host::shell(scene, "if [ $CLOSE ]; then exec 0<&-; sleep 0.2; echo closed; else echo gone; fi").await;
    let mut line = host.connect().await;
    let body = vec![1; 2 << 20];
    for (env, words) in [(&[][..], "gone\n"), (&[("CLOSE", "1")][..], "closed\n"), (&[][..], "gone\n")] {
        let (output, ended) = call(&mut line, env, &body).await;
        assert_eq!((&*String::from_utf8(output).unwrap(), ended), (words, done(0)));
    }
    // It ends before its body does; the next call is not confused by the rest.
    line.0.begin(&invoke(&[])).await.unwrap();
    assert_eq!(drain(&mut line.1).await, (b"gone\n".to_vec(), done(0)));
    assert_eq!(call(&mut line, &[], &body).await, (b"gone\n".to_vec(), done(0)));
    host.end().await;
}

async fn a_call_leaves_nothing_and_spares_its_neighbour(scene: &Scene) {
    let file = scene.path("open/litter");
    let script = format!("[ $STAY ] && exec cat; {} actor litter {}", scene.stage.actor().display(), file.display());
    let host = Host::shell(scene, &script).await;
    let (mut sender, mut receiver) = host.connect().await;
    sender.begin(&invoke(&[("STAY", "1")])).await.unwrap();
    sender.data(b"a").await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Event::Data("a".into()));

    assert_eq!(call(&mut host.connect().await, &[], b"").await, (b"ready\n".to_vec(), done(0)));
    let family = pids(&file);
    assert_eq!(family.len(), 3);
    assert!(!family.iter().any(|pid| is_alive(*pid)), "gone once the call's end is told");

    sender.data(b"b").await.unwrap();
    sender.finish().await.unwrap();
    assert_eq!(drain(&mut receiver).await, (b"b".to_vec(), done(0)));
    drop((sender, receiver));
    host.end().await;
}

async fn what_cannot_start_is_told_before_any_call(scene: &Scene) {
    let mode = Mode::Command { socket: scene.path("calls.sock"), slots: 1 };
    let error = scene.sandbox().start(Plan { mode, ..scene.plan("/no/such/program", &[]) }).await.unwrap_err();
    assert!(matches!(&error, Error::Program { why, .. } if why.contains("does not exist")), "{error}");
}

async fn the_socket_is_the_platforms_alone(scene: &Scene) {
    let host = Host::start(scene, scene.plan("/bin/cat", &[]), 8).await;
    let mode = host.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nonsense ends the connection and nothing else.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stray = tokio::net::UnixStream::connect(&host.socket).await.unwrap();
    stray.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset_or_end = stray.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert_eq!(call(&mut host.connect().await, &[], b"x").await, (b"x".to_vec(), done(0)));
    host.end().await;
}

async fn a_stop_lets_calls_end(scene: &Scene) {
    let script = "trap 'echo term; T=1' TERM; echo ready; while [ -z \"$T\" ]; do sleep 0.01; done; cat; exit 4";
    let host = Host::shell(scene, script).await;
    let idle = host.connect().await;
    let (mut sender, mut receiver) = host.connect().await;
    sender.begin(&invoke(&[])).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Event::Data("ready\n".into()));
    host.running.instance.terminate();
    assert_eq!(receiver.next().await.unwrap(), Event::Data("term\n".into()));
    sender.data(b"rest").await.unwrap();
    sender.finish().await.unwrap();
    let (output, ended) = drain(&mut receiver).await;
    assert_eq!((&*output, ended.how), (&b"rest"[..], How::Status(4)));
    assert_eq!(host.running.instance.wait().await, Exit::Status(0));
    drop(idle);
}

async fn a_kill_ends_calls(scene: &Scene) {
    let file = scene.path("open/pids");
    let host = Host::start(scene, scene.actor(&["tree", file.to_str().unwrap()]), 8).await;
    let (mut sender, mut receiver) = host.connect().await;
    sender.begin(&invoke(&[])).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Event::Data("ready\n".into()));
    until("metering sees the call", || host.running.instance.memory() > 0).await;
    host.running.instance.kill();
    assert_eq!(host.running.instance.wait().await, Exit::Signal(9));
    assert!(!pids(&file).iter().any(|pid| scene::is_alive(*pid)));
    assert!(receiver.next().await.is_err());
}
