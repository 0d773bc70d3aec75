//! Calls by name, and what is remembered of them.

use crate::world::{World, request};
use http::Method;
use http_body_util::BodyExt;
use types::{
    Code, Fault, InstanceId, Invocation, InvocationId, LogLine, Timestamp,
    api::{FUNCTION_ERROR_HEADER, InvocationList, REQUEST_ID_HEADER, REVISION_HEADER},
    record::{Outcome, Stream},
};

const CALL: &str = "/v1/functions/hello/invocations";

#[tokio::test]
async fn a_call_passes_through_both_ways() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let id = InvocationId::random().to_string();
    let headers = [(REQUEST_ID_HEADER, id.as_str()), ("traceparent", "00-1-2-01"), ("cookie", "secret=1")];
    let reply = world.ask_with(Method::POST, CALL, r#"{"n":1}"#, &headers).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, r#"{"n":1}"#));
    assert_eq!((reply.header(REVISION_HEADER), reply.header(REQUEST_ID_HEADER)), ("hello@1", id.as_str()));
    assert!(reply.headers.get(FUNCTION_ERROR_HEADER).is_none());

    let seen = world.invoke.seen.lock().pop().unwrap();
    assert_eq!(
        (seen.id.as_str(), seen.method.as_str(), seen.body.as_ref()),
        (id.as_str(), "POST", br#"{"n":1}"#.as_slice())
    );
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["traceparent"], "00-1-2-01");
    assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("cookie"), "{:?}", seen.headers);
    assert_eq!(seen.target.alias.as_str(), "live");
}

#[tokio::test]
async fn a_call_can_name_an_alias() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    world.live("hello", "v2").await;
    let body = r#"{"targets":[{"revision":1,"weight":100}]}"#;
    assert_eq!(world.ask(Method::PUT, "/v1/functions/hello/aliases/old", body).await.status, 200);
    assert_eq!(world.ask(Method::POST, &format!("{CALL}?alias=old"), "1").await.header(REVISION_HEADER), "hello@1");
    assert_eq!(world.ask(Method::POST, CALL, "1").await.header(REVISION_HEADER), "hello@2");
    assert_eq!(world.ask(Method::POST, &format!("{CALL}?alias=no"), "1").await.code(), Code::AliasNotFound);
    assert_eq!(world.ask(Method::POST, "/v1/functions/no/invocations", "1").await.code(), Code::FunctionNotFound);
    assert_eq!(world.ask(Method::POST, &format!("{CALL}?alais=old"), "1").await.code(), Code::BadRequest);
}

#[tokio::test]
async fn a_call_that_fails_says_whose_fault_it_is() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    for (code, functions) in [(Code::FunctionError, true), (Code::FunctionTimeout, true), (Code::QueueFull, false)] {
        *world.invoke.fault.lock() = Some(Fault::new(code, "it threw"));
        let reply = world.ask(Method::POST, CALL, "1").await;
        assert_eq!(reply.code(), code);
        assert_eq!(reply.problem().detail, "it threw");
        assert_eq!(reply.header(FUNCTION_ERROR_HEADER), if functions { code.as_str() } else { "" });
        assert_eq!(reply.header("retry-after"), if code.retry() { "1" } else { "" });
    }
}

#[tokio::test]
async fn an_asynchronous_call_is_refused_in_a_clear_word() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let by_query = world.ask(Method::POST, &format!("{CALL}?async=true"), "1").await;
    let by_header = world.ask_with(Method::POST, CALL, "1", &[("mayfly-invocation-type", "Event")]).await;
    for reply in [by_query, by_header] {
        assert_eq!((reply.status.as_u16(), reply.code()), (501, Code::AsyncUnavailable));
    }
    assert!(world.invoke.seen.lock().is_empty());
    let sync = world.ask_with(Method::POST, CALL, "1", &[("mayfly-invocation-type", "RequestResponse")]).await;
    assert_eq!(sync.status, 200);
}

#[tokio::test]
async fn the_last_calls_are_listed() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let call = |n| Invocation {
        id: InvocationId::random(),
        revision: "hello@1".parse().unwrap(),
        instance: None,
        started: Timestamp(n),
        duration_us: n,
        waited_us: 0,
        cold: false,
        outcome: Outcome::Ok,
        status: 200,
        code: None,
    };
    *world.invocations.0.lock() = (0..60).map(call).collect();
    let list: InvocationList = world.get(CALL).await.json();
    assert_eq!(list.invocations.len(), 50);
    let list: InvocationList = world.get(&format!("{CALL}?limit=2")).await.json();
    assert_eq!(list.invocations.len(), 2);
}

fn line(n: u64) -> LogLine {
    LogLine {
        time: Timestamp(n),
        revision: "hello@1".parse().unwrap(),
        instance: InstanceId::random(),
        invocation: None,
        stream: Stream::Stdout,
        text: format!("line {n}"),
    }
}

#[tokio::test]
async fn logs_are_lines_of_json_that_can_be_followed() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    *world.logs.lines.lock() = (0..10).map(line).collect();
    let id = InvocationId::random();
    let path = format!("/v1/functions/hello/logs?tail=3&revision=1&invocation={id}");
    let reply = world.get(&path).await;
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let lines: Vec<LogLine> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["line 7", "line 8", "line 9"]);
    let filter = world.logs.filters.lock().pop().unwrap();
    assert_eq!((filter.tail, filter.invocation, filter.follow), (3, Some(id), false));
    assert_eq!(filter.revision.unwrap().to_string(), "hello@1");

    let mut body =
        world.send(request(Method::GET, "/v1/functions/hello/logs?follow=true&tail=1", "", &[])).await.into_body();
    let mut next =
        async || String::from_utf8(body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    assert!(next().await.contains("line 9"));
    let follower = world.logs.followers.lock().pop().unwrap();
    follower.send(line(10)).await.unwrap();
    assert!(next().await.contains("line 10"));

    // A platform that stops lets nobody hang.
    world.shutdown.cancel();
    let rest = tokio::time::timeout(std::time::Duration::from_secs(20), body.collect()).await.expect("it hangs");
    assert!(rest.unwrap().to_bytes().is_empty());
    world.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_that_hangs_up_ends_the_following() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let response = world.send(request(Method::GET, "/v1/functions/hello/logs?follow=true", "", &[])).await;
    let follower = world.logs.followers.lock().pop().unwrap();
    drop(response);
    tokio::time::timeout(std::time::Duration::from_secs(20), follower.closed()).await.expect("it is still read");
}

#[tokio::test]
async fn logs_of_a_function_that_never_went_live_can_be_read() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/functions/hello/logs").await.code(), Code::FunctionNotFound);
    *world.scaler.fault.lock() = Some(Fault::new(Code::StartFailed, "it ended"));
    world.deploy("hello", &crate::world::binary("hello", "v1", "")).await;
    *world.logs.lines.lock() = vec![line(1)];
    assert_eq!(world.get("/v1/functions/hello/logs").await.text().lines().count(), 1);
}
