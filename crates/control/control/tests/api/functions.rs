//! Lists, descriptions, deletion, and the picture.

use crate::world::{World, binary};
use http::{Method, StatusCode};
use std::sync::Arc;
use types::{
    Code, InstanceId, Revision, Timestamp,
    api::{FunctionDetail, FunctionList, Info, InstanceList, InstanceState, InstanceView},
    record::Stage,
};

fn instance(revision: &str, state: InstanceState) -> InstanceView {
    InstanceView {
        id: InstanceId::random(),
        revision: revision.parse().unwrap(),
        state,
        started: Timestamp(1),
        pid: Some(7),
        memory_bytes: 1,
        start_us: vec![],
    }
}

#[tokio::test]
async fn functions_are_listed_and_described() {
    let world = World::new().await;
    assert!(world.get("/v1/functions").await.json::<FunctionList>().functions.is_empty());
    world.live("two", "v1").await;
    world.live("one", "v1").await;
    world.live("one", "v2").await;
    *world.host.0.lock() = vec![
        instance("one@2", InstanceState::Ready),
        instance("one@1", InstanceState::Ready),
        instance("one@2", InstanceState::Starting),
        instance("two@1", InstanceState::Draining),
    ];
    let list: FunctionList = world.get("/v1/functions").await.json();
    let rows: Vec<_> = list.functions.iter().map(|f| (f.name.as_str(), f.live[0].revision, f.instances)).collect();
    assert_eq!(rows, [("one", 2, 2), ("two", 1, 0)]);
    assert_eq!(list.functions[0].url, "http://gateway.test:8080/one/");

    let reply = world.get("/v1/functions/one").await;
    let detail: FunctionDetail = reply.json();
    assert!(!reply.header("etag").is_empty());
    assert_eq!(detail.revisions.iter().map(|r| r.id.number).collect::<Vec<_>>(), [2, 1], "newest first");
    assert_eq!(detail.instances.len(), 3);
    let instances: InstanceList = world.get("/v1/functions/two/instances").await.json();
    assert_eq!(instances.instances.len(), 1);

    let revision: Revision = world.get("/v1/functions/one/revisions/1").await.json();
    assert_eq!(revision.id.to_string(), "one@1");
    for (path, code) in [
        ("/v1/functions/one/revisions/9", Code::RevisionNotFound),
        ("/v1/functions/one/revisions/x", Code::RevisionNotFound),
        ("/v1/functions/nobody/revisions", Code::FunctionNotFound),
        ("/v1/functions/nobody/instances", Code::FunctionNotFound),
        ("/v1/functions/nobody/invocations", Code::FunctionNotFound),
        ("/v1/functions/nobody/deployments", Code::FunctionNotFound),
        ("/v1/functions/nobody/aliases", Code::FunctionNotFound),
        ("/v1/functions/No_body", Code::NameInvalid),
        ("/v1/deployments/6f0c1f9e-8a54-4a7e-9f0e-0e4d1c5a7b11", Code::DeploymentNotFound),
        ("/v1/deployments/x/log", Code::DeploymentNotFound),
    ] {
        assert_eq!(world.get(path).await.code(), code, "{path}");
    }
}

#[tokio::test]
async fn every_change_of_what_a_function_has_changes_its_etag() {
    let world = World::new().await;
    world.live("one", "v1").await;
    let mut seen = std::collections::HashSet::new();
    let etag = async || world.get("/v1/functions/one").await.header("etag").to_owned();
    assert!(seen.insert(etag().await));
    let targets = r#"{"targets":[{"revision":1,"weight":100}]}"#;
    let route = r#"{"path":"/a","function":"one","alias":"live"}"#;
    for (method, path, body) in [
        (Method::PUT, "/v1/functions/one/aliases/canary", targets),
        (Method::PUT, "/v1/routes", route),
        (Method::DELETE, "/v1/routes", route),
        (Method::DELETE, "/v1/functions/one/aliases/canary", ""),
    ] {
        assert!(world.ask(method.clone(), path, body).await.status.is_success(), "{method} {path}");
        assert!(seen.insert(etag().await), "{method} {path}");
    }
    world.live("one", "v2").await;
    assert!(seen.insert(etag().await));
}

#[tokio::test]
async fn a_deleted_function_leaves_nothing_but_its_numbers() {
    let world = World::new().await;
    world.live("other", "v1").await;
    let files = binary("hello", "v1", "[[trigger]]\nhttp = { path = '/hi' }");
    assert_eq!(world.deploy("hello", &files).await.stage, Stage::Live);
    let old = world.get("/v1/functions/hello").await.header("etag").to_owned();
    let targets = r#"{"targets":[{"revision":1,"weight":100}]}"#;
    assert_eq!(world.ask(Method::PUT, "/v1/functions/hello/aliases/canary", targets).await.status, 200);
    let refused = world.ask_with(Method::DELETE, "/v1/functions/hello", "", &[("if-match", &old)]).await;
    assert_eq!(refused.code(), Code::PreconditionFailed);

    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.code(), Code::FunctionNotFound);
    assert_eq!(world.get("/v1/functions/hello/aliases/live").await.code(), Code::FunctionNotFound);
    assert!(world.snapshots.borrow().routes.is_empty());
    assert_eq!((world.served("hello", "live"), world.served("other", "live")), (None, Some(vec![(1, 100)])));
    assert_eq!(world.blobs.list().unwrap().len(), 1);
    assert_eq!(*world.logs.forgotten.lock(), ["hello".parse().unwrap()]);
    for prefix in ["function/hello", "revision/hello/", "alias/hello/", "route/"] {
        assert!(world.disk.records.list(prefix).is_empty(), "{prefix}");
    }
    assert_eq!(world.live("hello", "v1").await.revision.unwrap().to_string(), "hello@2");
}

#[tokio::test]
async fn a_picture_shares_what_did_not_change() {
    let world = World::new().await;
    world.live("one", "v1").await;
    world.live("two", "v1").await;
    let before = Arc::clone(&world.snapshots.borrow());
    world.live("two", "v2").await;
    let after = Arc::clone(&world.snapshots.borrow());
    let two = "two".parse().unwrap();
    assert!(after.version > before.version);
    assert!(Arc::ptr_eq(&before.functions["one"], &after.functions["one"]));
    assert!(!Arc::ptr_eq(&before.functions["two"], &after.functions["two"]));

    // A split keeps the revision that it had.
    let body = r#"{"targets":[{"revision":2,"weight":90},{"revision":1,"weight":10}]}"#;
    assert_eq!(world.ask(Method::PUT, "/v1/functions/two/aliases/live", body).await.status, 200);
    let split = Arc::clone(&world.snapshots.borrow());
    let revision = |snapshot: &wire::Snapshot| {
        Arc::clone(&snapshot.target(&two, &types::AliasName::live()).unwrap().revisions[0].revision)
    };
    assert!(Arc::ptr_eq(&revision(&after), &revision(&split)));

    // What concerns nobody who serves makes no new picture.
    let failed = world.deploy("two", &[("mayfly.toml", "nonsense")]).await;
    assert_eq!(failed.stage, Stage::Failed);
    assert!(Arc::ptr_eq(&split, &world.snapshots.borrow()));
}

#[tokio::test]
async fn the_picture_is_there_at_once_after_a_restart_and_follows_other_writers() {
    let world = World::new().await;
    world.live("one", "v1").await;
    let other = World::on(world.disk.clone()).await;
    assert_eq!(other.served("one", "live"), Some(vec![(1, 100)]));

    // Two processes on one store, as in a cluster: each learns of the other's changes.
    let mut snapshots = other.snapshots.clone();
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/one", "").await.status, 204);
    let waited = snapshots.wait_for(|snapshot| !snapshot.functions.contains_key("one"));
    tokio::time::timeout(std::time::Duration::from_secs(20), waited).await.expect("it never learns").unwrap();
}

#[tokio::test]
async fn the_platform_says_what_it_has() {
    let world = World::new().await;
    let info: Info = world.get("/v1/info").await.json();
    assert_eq!((info.gateway_url.as_str(), info.isolation.as_str()), ("http://gateway.test:8080", "none: a test"));
    let has = |name: &str| info.runtimes.iter().find(|r| r.runtime.as_str() == name).unwrap();
    assert!(has("binary").available && has("wasm").available);
    assert!(!has("nodejs").available && has("nodejs").detail.contains("Install Node.js"), "{info:?}");
    assert_eq!(info.runtimes.len(), 7);
}

#[tokio::test]
async fn a_limit_is_set_served_lifted_and_gone_with_its_function() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let limit = "/v1/functions/hello/limit";
    let served = || world.snapshots.borrow().limits.get("hello").copied();
    assert_eq!((world.get(limit).await.text().to_owned(), served()), (r#"{"calls":null}"#.to_owned(), None));
    for calls in [7, 0] {
        assert_eq!(world.ask(Method::PUT, limit, format!(r#"{{"calls":{calls}}}"#)).await.status, 200);
        assert_eq!(
            (world.get(limit).await.text().to_owned(), served()),
            (format!(r#"{{"calls":{calls}}}"#), Some(calls))
        );
    }
    assert_eq!(world.ask(Method::PUT, limit, r#"{"calls":-1}"#).await.code(), Code::BadRequest);
    let other = World::on(world.disk.clone()).await;
    assert_eq!(other.snapshots.borrow().limits.get("hello"), Some(&0), "it survives a restart");
    assert_eq!(world.ask(Method::PUT, limit, r#"{"calls":null}"#).await.status, 200);
    assert_eq!(served(), None);
    assert_eq!(
        world.ask(Method::PUT, "/v1/functions/none/limit", r#"{"calls":1}"#).await.code(),
        Code::FunctionNotFound
    );
    assert_eq!(world.ask(Method::PUT, limit, r#"{"calls":3}"#).await.status, 200);
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.status, 204);
    assert_eq!(served(), None);
}
