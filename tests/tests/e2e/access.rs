//! Who called, with which trace, and the line that says so.

use mayfly_tests::{Folder, Platform, Start, until};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

const SEES: &str = "def handler(event, context):\n    return {'headers': event['headers'], \
    'source': event['requestContext']['http']['sourceIp'], 'id': context.aws_request_id}\n";

fn started(args: &[&str]) -> Platform {
    Platform::start_with(Start { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Start::default() })
}

/// "a list of trusted proxies; X-Forwarded-* and RFC 7239 `Forwarded` from others are not believed; the event's sourceIp follows".
#[test]
fn only_trusted_proxies_say_who_called() {
    for (trusted, source) in [("127.0.0.0/8", "203.0.113.9"), ("10.0.0.0/8", "127.0.0.1")] {
        let platform = started(&["--trusted-proxies", trusted]);
        platform.deploy(&Folder::python("sees", "", SEES));
        for (name, value) in [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("forwarded", "for=203.0.113.9;proto=https")]
        {
            let seen = platform.gateway().with(name, value).get("/sees").ok().json();
            assert_eq!(seen["source"], source, "{name} with {trusted} trusted: {seen}");
        }
        let seen = platform.gateway().with("forwarded", "for=203.0.113.9").get("/sees").ok().json();
        assert_eq!(seen["headers"].get("forwarded").is_some(), source != "127.0.0.1", "{seen}");
    }
}

/// "W3C trace context (`traceparent`/`tracestate` accepted, made where missing, handed to the function …)".
#[test]
fn traces_go_on_or_begin() {
    let platform = Platform::shared();
    platform.deploy(&Folder::python("traced", "", SEES));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = platform.gateway().with("traceparent", parent).with("tracestate", "a=1");
    let seen = client.get("/traced").ok().json();
    assert_eq!(
        (seen["headers"]["traceparent"].as_str(), seen["headers"]["tracestate"].as_str()),
        (Some(parent), Some("a=1"))
    );
    let seen = platform.gateway().with("tracestate", "a=1").get("/traced").ok().json();
    let made = seen["headers"]["traceparent"].as_str().expect("a new trace");
    assert_eq!(made[3..35], seen["id"].as_str().unwrap().replace('-', ""), "{seen}");
    assert!(seen["headers"].get("tracestate").is_none(), "{seen}");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// "access log (one JSON line a request, off by default …)", opened again on SIGHUP.
#[test]
fn each_request_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let platform = started(&["--access-log", path.to_str().unwrap()]);
    platform.deploy(&Folder::python("logged", "", SEES));
    platform.gateway().with("user-agent", "tester").get("/logged/x?y=1").ok();
    platform.gateway().get("/nobody");
    let written = until(Duration::from_secs(10), "both lines", || Some(lines(&path)).filter(|lines| lines.len() == 2));
    let line = &written[0];
    for (name, want) in [
        ("method", "GET"),
        ("path", "/logged/x?y=1"),
        ("protocol", "HTTP/1.1"),
        ("client", "127.0.0.1"),
        ("function", "logged"),
        ("revision", "logged@1"),
        ("user_agent", "tester"),
        ("scheme", "http"),
    ] {
        assert_eq!(line[name], want, "{line}");
    }
    assert_eq!((line["status"].as_u64(), line["trace"].as_str().map(str::len)), (Some(200), Some(32)), "{line}");
    assert!(
        line["response_bytes"].as_u64().unwrap() > 100 && line["total_us"].as_u64() >= line["first_us"].as_u64(),
        "{line}"
    );
    assert!(line.get("aborted").is_none(), "{line}");
    assert_eq!((written[1]["status"].as_u64(), written[1]["code"].as_str()), (Some(404), Some("route_not_found")));
    // Somebody moves the file away and says so.
    fs::rename(&path, &moved).unwrap();
    // SAFETY: a signal to the platform that this test started.
    unsafe { libc::kill(platform.pid() as i32, libc::SIGHUP) };
    until(Duration::from_secs(10), "lines go to a new file", || {
        platform.gateway().get("/logged").ok();
        (!lines(&path).is_empty()).then_some(())
    });
}
