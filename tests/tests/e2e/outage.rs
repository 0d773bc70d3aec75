//! Nobody decides any more: control and fleet stopped, in the real binary.

use crate::load::Load;
use mayfly_tests::{Folder, Platform, Start, eventually};
use std::{io::Read, io::Write, time::Duration};

const SOON: Duration = Duration::from_secs(30);
const SAYS: &str = "import os\ndef handler(event, context):\n    return os.getpid()\n";

/// SIGUSR1 begins an outage and ends it.
fn signal(platform: &Platform, says: &str) {
    let said = || platform.log().matches(says).count();
    let before = said();
    // SAFETY: a signal to the platform that this test started.
    unsafe { libc::kill(platform.pid() as i32, libc::SIGUSR1) };
    eventually(SOON, says, || said() > before);
}

/// True where a request to the API is answered within half a second.
fn api_answers(platform: &Platform) -> bool {
    let Ok(mut stream) = platform.api_without_token().connect() else { return false };
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
}

/// "with control and fleet stopped, warm traffic goes on and cold starts still work on the last snapshot".
#[test]
fn calls_go_on_while_control_and_fleet_are_stopped() {
    let args = vec!["--rehearse-outages".to_owned()];
    let mut platform = Platform::start_with(Start { args, ..Start::default() });
    platform.deploy(&Folder::python("warm", "", SAYS));
    platform.deploy(&Folder::python("dies", "", SAYS));
    platform.deploy(&Folder::python("cold", "[scale]\nidle = '1s'", SAYS));
    eventually(SOON, "nothing of it runs", || platform.instances("cold").is_empty());
    assert!(api_answers(&platform));
    let load = Load::start(&platform.gateway(), "/warm");
    let before = platform.gateway().get("/dies").ok().json();

    signal(&platform, "a rehearsed outage of control and fleet begins");
    assert!(!api_answers(&platform), "control still answers");
    load.goes_on();
    // Nothing is there, and nobody else would start it.
    let started = platform.gateway().get("/cold").ok().json();
    assert_eq!(platform.gateway().get("/cold").ok().json(), started, "warm from here on");
    // What was warm and dies comes back, too.
    // SAFETY: a signal to the process of an instance of this test's platform, as it told itself.
    unsafe { libc::kill(before.as_i64().unwrap() as i32, libc::SIGKILL) };
    eventually(SOON, "another instance answers", || {
        let answer = platform.gateway().get("/dies");
        answer.status == 200 && answer.json() != before
    });
    load.goes_on();

    signal(&platform, "the rehearsed outage ends");
    eventually(SOON, "control answers", || api_answers(&platform));
    let events = platform.api().get("/v1/functions/cold/events").ok().json();
    assert_eq!(events["events"][0]["what"], "emergency_start", "{events}");
    // Everything is as before: deploys, and an end to what is idle.
    platform.deploy(&Folder::python("late", "", SAYS));
    platform.gateway().get("/late").ok();
    eventually(SOON, "the fleet is back: what idles goes", || platform.instances("cold").is_empty());
    load.none_failed();
    // A stop in the middle of one is an orderly stop.
    signal(&platform, "a rehearsed outage of control and fleet begins");
    assert_eq!(platform.stop(SOON), Some(0));
    platform.expect_no_process(SOON);
}
