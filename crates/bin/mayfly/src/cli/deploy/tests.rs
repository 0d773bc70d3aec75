//! Deploys against a small server that plays the platform.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{
    cli::screen::Screen,
    client::tests::{client, full, serve},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, atomic::AtomicUsize};
use types::Code;

const ID: &str = "00000000-0000-4000-8000-000000000001";

fn deployment(stage: &str) -> Value {
    json!({
        "id": ID, "function": "hello", "stage": stage, "revision": null, "unchanged": false, "fault": null,
        "started": "2026-09-21T14:13:20Z", "ended": null, "url": null,
    })
}

fn live() -> Value {
    let mut live = deployment("live");
    live["revision"] = json!("hello@3");
    live["url"] = json!("http://127.0.0.1:8080/hello/");
    live["phases"] = json!({ "build": "1s 200ms", "unpack": "3ms", "start": "80ms", "pack": "10ms" });
    live
}

fn line(n: usize) -> String {
    json!({ "time": "2026-09-21T14:13:20Z", "text": format!("line {n}"), "step": false }).to_string() + "\n"
}

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = "name = 'hello'\nruntime = 'python'\nentry = 'app.handler'\n";
    std::fs::write(dir.path().join("mayfly.toml"), manifest).unwrap();
    std::fs::write(dir.path().join("app.py"), "def handler(event, context): return 1\n").unwrap();
    let folder = Folder::read(dir.path(), None).unwrap();
    (dir, folder)
}

/// A platform whose deployment ends as `end`; keeps what was uploaded.
async fn platform(end: Value) -> (String, Arc<Mutex<Vec<u8>>>) {
    let uploaded = Arc::new(Mutex::new(Vec::new()));
    let kept = uploaded.clone();
    let url = serve(move |request| {
        let (end, kept) = (end.clone(), kept.clone());
        async move {
            let path = request.uri().path().to_owned();
            if path == "/v1/functions/hello/deployments" {
                *kept.lock().unwrap() = request.into_body().collect().await.unwrap().to_bytes().to_vec();
                return full(202, deployment("building").to_string());
            }
            if path.ends_with("/log") { full(200, line(1) + &line(2)) } else { full(200, end.to_string()) }
        }
    })
    .await;
    (url, uploaded)
}

#[tokio::test]
async fn a_folder_is_uploaded_and_followed_until_it_is_live() {
    let (url, uploaded) = platform(live()).await;
    let (_dir, folder) = folder();
    let progress = Progress::for_reloads(&Screen::of_this_process(true));
    let done = publish(&client(&url), &progress, &folder, "").await.unwrap();
    let (first, second) = words(&done);
    assert_eq!(first, "hello@3 is live at http://127.0.0.1:8080/hello/");
    assert!(second.contains(" · unpack 3 ms · build 1.20 s · pack 10 ms · start 80 ms · in all "), "{second}");

    let dir = tempfile::tempdir().unwrap();
    let sent = uploaded.lock().unwrap().clone();
    let unpacked = pack::unpack(sent.as_slice(), &dir.path().join("source"), pack::Limits::default()).unwrap();
    assert_eq!(unpacked.files, 2);
}

#[tokio::test]
async fn an_unchanged_folder_is_told() {
    let mut end = live();
    end["unchanged"] = json!(true);
    let (url, _) = platform(end).await;
    let (_dir, folder) = folder();
    let progress = Progress::for_reloads(&Screen::of_this_process(true));
    let done = publish(&client(&url), &progress, &folder, "").await.unwrap();
    assert!(words(&done).0.starts_with("unchanged: hello@3 "), "{}", words(&done).0);
}

#[tokio::test]
async fn a_canary_is_told() {
    let mut end = live();
    end["canary"] = json!({ "steps": ["5%:2m", "50%"] });
    let (url, _) = platform(end).await;
    let (_dir, folder) = folder();
    let progress = Progress::for_reloads(&Screen::of_this_process(true));
    let done = publish(&client(&url), &progress, &folder, "?canary=5:2m,50").await.unwrap();
    let want = "hello@3 takes 5 % of the calls at http://127.0.0.1:8080/hello/ for 2m, step 1 of 2: ";
    assert!(words(&done).0.starts_with(want), "{}", words(&done).0);
}

#[test]
fn steps_are_sent_as_they_can_be_read() {
    let moves = |canary: Option<&str>, every: Option<&str>, tenant: Option<&str>| {
        let steps = |text: &str| if text.is_empty() { Vec::new() } else { types::canary::steps(text).unwrap() };
        let canary = canary.map(|text| Steps(steps(text)));
        let args = DeployArgs {
            dir: ".".into(),
            name: None,
            tenant: tenant.map(|name| name.parse().unwrap()),
            canary,
            every: every.map(|text| text.parse().unwrap()),
            wait: false,
        };
        moves(&args)
    };
    for (canary, every, tenant, want) in [
        (None, None, None, ""),
        (None, None, Some("acme"), "?tenant=acme"),
        (Some(""), None, None, AT_ONCE),
        (Some("5%,25%:1m30s"), None, None, "?canary=5,25:1m30s"),
        (Some("5"), Some("90s"), None, "?canary=5&every=1m30s"),
        (Some("5"), Some("90s"), Some("acme"), "?canary=5&every=1m30s&tenant=acme"),
    ] {
        let sent = moves(canary, every, tenant);
        assert_eq!(sent, want);
        let pair = |name: &str| sent.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).map(str::to_owned);
        types::canary::Way::read(pair("canary=").as_deref(), pair("every=").as_deref()).unwrap();
    }
}

#[tokio::test]
async fn a_deploy_that_fails_is_its_fault() {
    let mut end = deployment("failed");
    end["fault"] = json!({ "code": "build_failed", "detail": "npm ci ended with status 1" });
    let (url, _) = platform(end).await;
    let (_dir, folder) = folder();
    let progress = Progress::for_reloads(&Screen::of_this_process(true));
    let Err(failure) = publish(&client(&url), &progress, &folder, "").await else { panic!("it is live") };
    assert!(matches!(&failure, Failure::Fault(fault) if fault.code == Code::BuildFailed), "{failure:?}");
    assert_eq!(failure.exit_code(), 1);
}

#[tokio::test]
async fn a_log_that_ends_too_soon_is_read_on_and_no_line_is_told_twice() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let url = serve(move |request| {
        let log = request.uri().path().ends_with("/log");
        let read = if log { counted.fetch_add(1, Ordering::SeqCst) + 1 } else { counted.load(Ordering::SeqCst) };
        // Each reading has a line more than the one before; the deployment ends with the third.
        let end = if read < 3 { deployment("building") } else { live() };
        async move { full(200, if log { (1..=read).map(line).collect() } else { end.to_string() }) }
    })
    .await;
    let begun: Deployment = serde_json::from_value(deployment("building")).unwrap();
    let mut told = Vec::new();
    let ended = follow(&client(&url), begun, &mut |line| told.push(line.text.clone())).await.unwrap();
    assert_eq!((ended.stage, reads.load(Ordering::SeqCst)), (Stage::Live, 3));
    assert_eq!(told, ["line 1", "line 2", "line 3"]);
}

#[tokio::test]
async fn a_platform_that_goes_away_ends_the_wait() {
    let begun: Deployment = serde_json::from_value(deployment("building")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = client(&format!("http://127.0.0.1:{port}"));
    let failure = follow(&client, begun, &mut |_| {}).await.unwrap_err();
    assert_eq!(failure.exit_code(), 3, "{failure:?}");
}
