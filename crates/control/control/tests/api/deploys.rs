//! From an upload to a live revision, or to a fault that changes nothing.

use crate::{
    peers::Fate,
    world::{World, archive, binary},
};
use http::{Method, StatusCode};
use std::io::Read;
use types::{
    Code, Deployment, Fault,
    api::{DeploymentList, FunctionDetail, RevisionList},
    record::Stage,
};

async fn numbers(world: &World, name: &str) -> Vec<u32> {
    let list: RevisionList = world.get(&format!("/v1/functions/{name}/revisions")).await.json();
    list.revisions.iter().map(|revision| revision.id.number).collect()
}

#[tokio::test]
async fn a_deploy_goes_live_whole() {
    let world = World::new().await;
    let begun = world.upload("hello", &binary("hello", "v1", "[[trigger]]\nhttp = { path = '/hi/*' }")).await;
    assert_eq!((begun.stage, begun.function.as_str()), (Stage::Building, "hello"));
    let (ended, log) = world.ended(&begun).await;
    assert_eq!(ended.stage, Stage::Live, "{ended:?}");
    assert_eq!(ended.revision.as_ref().map(ToString::to_string).as_deref(), Some("hello@1"));
    assert_eq!(ended.url.as_deref(), Some("http://gateway.test:8080/hello/"));
    assert!(!ended.unchanged && ended.fault.is_none() && ended.ended.is_some());
    for phase in ["unpack", "build", "pack", "start"] {
        assert!(ended.phases.contains_key(phase), "{phase}: {:?}", ended.phases);
    }
    let steps: Vec<&str> = log.iter().filter(|line| line.step).map(|line| line.text.as_str()).collect();
    assert!(steps.iter().any(|step| step.starts_with("Unpacked 2 files")), "{steps:?}");
    assert!(steps.iter().any(|step| step.contains("spawn 2.0 ms")), "{steps:?}");
    assert_eq!(steps.last(), Some(&"hello@1 is live"));

    assert_eq!(world.ensured(), ["hello@1"]);
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 100)]));
    assert_eq!(world.snapshots.borrow().routes.values().next().unwrap()[0].path, "/hi/*");
    let detail: FunctionDetail = world.get("/v1/functions/hello").await.json();
    assert_eq!((detail.revisions.len(), detail.aliases.len(), detail.routes.len()), (1, 1, 1));

    // What was stored is what was sent.
    let mut packed = Vec::new();
    world.blobs.get(&detail.revisions[0].artifact).unwrap().read_to_end(&mut packed).unwrap();
    let dest = tempfile::tempdir().unwrap();
    pack::unpack(packed.as_slice(), &dest.path().join("tree"), pack::Limits::default()).unwrap();
    assert_eq!(std::fs::read_to_string(dest.path().join("tree/app")).unwrap(), "v1");
}

#[tokio::test]
async fn the_same_content_makes_no_new_revision() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let again = world.live("hello", "v1").await;
    assert_eq!((again.unchanged, again.revision.unwrap().number), (true, 1));
    assert_eq!(world.live("hello", "v2").await.revision.unwrap().number, 2);

    let back = world.live("hello", "v1").await;
    assert_eq!((back.unchanged, back.revision.unwrap().number), (false, 1), "the alias moves back");
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 100)]));
    assert_eq!(world.alias("hello", "live").await.history, [1, 2]);

    let files = binary("hello", "v1", "timeout = '5s'");
    let configured = world.deploy("hello", &files).await;
    assert_eq!(configured.revision.unwrap().number, 3, "the same code with another configuration is another revision");
    assert_eq!(numbers(&world, "hello").await, [3, 2, 1]);
}

#[tokio::test]
async fn a_revision_that_does_not_start_changes_nothing() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    *world.scaler.fault.lock() = Some(Fault::new(Code::StartFailed, "hello@2: the process ended with status 1"));
    let begun = world.upload("hello", &binary("hello", "v2", "[[trigger]]\nhttp = { path = '/new' }")).await;
    let (failed, log) = world.ended(&begun).await;
    assert_eq!((failed.stage, failed.fault.map(|fault| fault.code)), (Stage::Failed, Some(Code::StartFailed)));
    assert_eq!((failed.revision, failed.url), (None, None));
    assert!(log.last().unwrap().text.contains("ended with status 1"), "{log:?}");
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 100)]));
    assert_eq!(numbers(&world, "hello").await, [1]);
    assert!(world.snapshots.borrow().routes.is_empty());
    assert_eq!(world.blobs.list().unwrap().len(), 1, "its artifact is gone");

    // An instance of the failed hello@2 may still be about somewhere: its number is used.
    *world.scaler.fault.lock() = None;
    assert_eq!(world.live("hello", "v3").await.revision.unwrap().number, 3);
}

#[tokio::test]
async fn what_cannot_be_deployed_says_why() {
    let world = World::new().await;
    for (name, files, code, part) in [
        (
            "hello",
            vec![("mayfly.toml", "name = 'other'\nruntime = 'binary'\nentry = 'app'")],
            Code::ManifestInvalid,
            "other",
        ),
        (
            "hello",
            vec![("mayfly.toml", "name = 'hello'\nruntime = 'binary'\nmemroy = 1")],
            Code::ManifestInvalid,
            "memroy",
        ),
        ("hello", vec![("mayfly.toml", "name = 'A_b'\nruntime = 'binary'")], Code::NameInvalid, "A_b"),
        (
            "hello",
            binary(
                "hello",
                "",
                "[[trigger]]\nhttp = { path = '/a' }\n[[trigger]]\nhttp = { path = '/a', methods = ['GET'] }",
            ),
            Code::ManifestInvalid,
            "two routes",
        ),
    ] {
        let failed = world.deploy(name, &files).await;
        let fault = failed.fault.unwrap_or_else(|| panic!("{files:?} was deployed"));
        assert_eq!((failed.stage, fault.code), (Stage::Failed, code), "{files:?}: {fault}");
        assert!(fault.detail.contains(part), "{fault}");
    }
    let reply = world.ask(Method::POST, "/v1/functions/hello/deployments", "this is no archive").await;
    let (failed, _) = world.ended(&reply.json()).await;
    assert_eq!(failed.fault.unwrap().code, Code::ArchiveInvalid);
    assert_eq!(world.ask(Method::POST, "/v1/functions/hello/deployments", "").await.code(), Code::ArchiveInvalid);
    assert_eq!(world.ask(Method::POST, "/v1/functions/A_b/deployments", "x").await.code(), Code::NameInvalid);
    assert_eq!(world.get("/v1/functions/hello").await.code(), Code::FunctionNotFound);
    assert!(world.ensured().is_empty() && world.blobs.list().unwrap().is_empty());
    let list: DeploymentList = world.get("/v1/functions/hello/deployments?limit=3").await.json();
    assert_eq!(list.deployments.len(), 3);
    assert_eq!(list.deployments[0].id, failed.id, "newest first");
}

#[tokio::test]
async fn an_archive_over_the_limit_is_refused_before_it_is_sent() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v1/functions/hello/deployments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        crate::world::TOKEN,
        101u64 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("archive_too_large"), "{answer}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt;
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v1/functions/hello/deployments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\nhalf",
        crate::world::TOKEN
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let work = world.disk.path().join("deploy/work");
    let files = || std::fs::read_dir(&work).unwrap().count();
    until(|| files() == 1).await;
    drop(stream);
    until(|| files() == 0).await;
    assert!(world.disk.records.list("deployment/").is_empty());
}

/// Waits for what no channel tells.
async fn until(mut holds: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < limit, "it does not come to pass");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn deploys_of_one_function_wait_for_each_other_and_others_do_not() {
    let world = World::new().await;
    world.scaler.open.send_replace(false);
    let first = world.upload("hello", &binary("hello", "v1", "")).await;
    let mut ensured = world.scaler.ensured.subscribe();
    ensured.wait_for(|all| all.len() == 1).await.unwrap();
    let second = world.upload("hello", &binary("hello", "v2", "")).await;
    let other = world.upload("other", &binary("other", "v1", "")).await;
    ensured.wait_for(|all| all.iter().any(|id| id.function.as_str() == "other")).await.unwrap();
    assert_eq!(ensured.borrow().len(), 2, "the second of hello has not come that far");

    world.scaler.open.send_replace(true);
    let (first, _) = world.ended(&first).await;
    let (second, log) = world.ended(&second).await;
    let (other, _) = world.ended(&other).await;
    let number = |deployment: Deployment| deployment.revision.unwrap().to_string();
    assert_eq!((number(first), number(second), number(other)), ("hello@1".into(), "hello@2".into(), "other@1".into()));
    assert!(log[0].text.starts_with("Waiting for another deployment of hello"), "{log:?}");
    assert_eq!(world.served("hello", "live"), Some(vec![(2, 100)]));
}

#[tokio::test]
async fn a_log_can_be_followed_while_the_deployment_runs() {
    use http_body_util::BodyExt;
    let world = World::new().await;
    world.scaler.open.send_replace(false);
    let begun = world.upload("hello", &binary("hello", "v1", "")).await;
    let path = format!("/v1/deployments/{}/log", begun.id);
    let request = crate::world::request(Method::GET, &format!("{path}?follow=true"), "", &[]);
    let mut body = world.send(request).await.into_body();
    let mut text = String::new();
    while !text.contains("Starting hello@1") {
        let frame = body.frame().await.expect("the log ended too soon").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let so_far = world.get(&path).await;
    assert!(so_far.text().ends_with('\n') && !so_far.text().contains("is live"), "{}", so_far.text());
    let shown: Deployment = world.get(&format!("/v1/deployments/{}", begun.id)).await.json();
    assert_eq!(shown.stage, Stage::Probing);
    world.scaler.open.send_replace(true);
    text.push_str(std::str::from_utf8(&body.collect().await.unwrap().to_bytes()).unwrap());
    assert!(text.lines().last().unwrap().contains("hello@1 is live"), "{text}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_changes_nothing() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    world.records.fate.send_replace(Fate::Full);
    let refused = world.ask(Method::POST, "/v1/functions/hello/deployments", archive(&binary("hello", "v2", ""))).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::INSUFFICIENT_STORAGE, Code::StorageFull));
    let body = r#"{"targets":[{"revision":1,"weight":100}]}"#;
    let alias = world.ask(Method::PUT, "/v1/functions/hello/aliases/canary", body).await;
    assert_eq!(alias.code(), Code::StorageFull);
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.code(), Code::StorageFull);

    world.records.fate.send_replace(Fate::Written);
    assert_eq!(world.live("hello", "v2").await.revision.unwrap().number, 2, "it goes on once there is space");
}

#[tokio::test]
async fn a_full_disk_in_the_last_step_leaves_the_old_revision_live() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    world.scaler.open.send_replace(false);
    let begun = world.upload("hello", &binary("hello", "v2", "")).await;
    world.scaler.ensured.subscribe().wait_for(|all| all.len() == 2).await.unwrap();
    world.records.fate.send_replace(Fate::Full);
    world.scaler.open.send_replace(true);
    let (failed, log) = world.ended(&begun).await;
    assert!(log.last().unwrap().text.contains("the disk is full"), "{log:?}");
    assert_eq!(failed.fault.unwrap().code, Code::StorageFull, "although it could not be recorded");
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 100)]));
    assert_eq!(numbers(&world, "hello").await, [1]);
    assert_eq!(world.blobs.list().unwrap().len(), 1, "its artifact is gone");

    world.records.fate.send_replace(Fate::Written);
    world.live("hello", "v3").await;
    let record = world.disk.records.get(&format!("deployment/{}", begun.id)).unwrap();
    let recorded: Deployment = serde_json::from_slice(&record.value).unwrap();
    assert_eq!(recorded.stage, Stage::Failed, "recorded once there was space");
}

#[tokio::test]
async fn a_function_deleted_meanwhile_does_not_come_back() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    world.scaler.open.send_replace(false);
    let begun = world.upload("hello", &binary("hello", "v2", "")).await;
    world.scaler.ensured.subscribe().wait_for(|all| all.len() == 2).await.unwrap();
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.status, StatusCode::NO_CONTENT);
    world.scaler.open.send_replace(true);
    let (failed, _) = world.ended(&begun).await;
    assert_eq!(failed.fault.unwrap().code, Code::FunctionNotFound);
    assert_eq!(world.get("/v1/functions/hello").await.code(), Code::FunctionNotFound);
    assert!(world.blobs.list().unwrap().is_empty());
}

#[tokio::test]
async fn old_revisions_go_unless_an_alias_points_to_them() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    let body = r#"{"targets":[{"revision":1,"weight":100}]}"#;
    world.ask(Method::PUT, "/v1/functions/hello/aliases/first", body).await.value();
    for n in 2..=23 {
        world.live("hello", &format!("v{n}")).await;
    }
    let expected: Vec<u32> = (4..=23).rev().chain([1]).collect();
    assert_eq!(numbers(&world, "hello").await, expected);
    assert_eq!(world.blobs.list().unwrap().len(), expected.len(), "artifacts go with their revisions");
    assert_eq!(world.live("hello", "v2").await.revision.unwrap().number, 24, "what is forgotten is new");
}

#[tokio::test]
async fn a_shared_artifact_stays_while_one_revision_has_it() {
    let world = World::new().await;
    // Without a manifest the name is the request's, so two functions have the same artifact to the byte.
    for name in ["one", "two"] {
        assert_eq!(world.deploy(name, &[("bootstrap", "the same")]).await.stage, Stage::Live);
    }
    assert_eq!(world.blobs.list().unwrap().len(), 1);
    for (name, left) in [("one", 1), ("two", 0)] {
        assert_eq!(world.ask(Method::DELETE, &format!("/v1/functions/{name}"), "").await.status, 204);
        assert_eq!(world.blobs.list().unwrap().len(), left, "after {name}");
    }
}

#[tokio::test]
async fn a_shutdown_ends_what_is_not_committed() {
    let world = World::new().await;
    world.live("hello", "v1").await;
    world.scaler.open.send_replace(false);
    let begun = world.upload("hello", &binary("hello", "v2", "")).await;
    world.scaler.ensured.subscribe().wait_for(|all| all.len() == 2).await.unwrap();
    world.shutdown.cancel();
    world.server.await.unwrap().unwrap();

    let after = World::on(world.disk.clone()).await;
    let ended: Deployment = after.get(&format!("/v1/deployments/{}", begun.id)).await.json();
    assert_eq!((ended.stage, ended.fault.unwrap().code), (Stage::Failed, Code::ShuttingDown));
    assert_eq!(after.served("hello", "live"), Some(vec![(1, 100)]));
}
