//! The process dies at any write: what was acknowledged is there afterwards, all else is whole or absent.

use crate::{
    peers::Fate,
    world::{Disk, World, binary},
};
use http::Method;
use std::{collections::HashSet, sync::Arc};
use store::record::Store;
use types::{
    Code, Deployment,
    api::{FunctionDetail, RouteList},
    record::Stage,
};

const ROUTE: &str = "[[trigger]]\nhttp = { path = '/hi' }";

/// Lets a deploy run into its death; gives its id where it was told, and whether it was seen live.
async fn deploy_and_die(world: &World, content: &str) -> (Option<String>, bool) {
    let mut hanging = world.records.hanging.subscribe();
    let run = async {
        let begun = world.upload("hello", &binary("hello", content, ROUTE)).await;
        (begun.id.to_string(), world.ended(&begun).await.0.stage == Stage::Live)
    };
    tokio::select! {
        biased;
        _ = hanging.wait_for(|hanging| *hanging > 0) => (None, false),
        (id, live) = run => (Some(id), live),
    }
}

/// Whatever is there must be whole: aliases point to revisions, revisions have artifacts, nothing is left over.
async fn check_whole(world: &World, content_live: &HashSet<u32>) -> Option<u32> {
    let reply = world.get("/v1/functions/hello").await;
    let stories = world.disk.records.list("deployment/");
    for story in &stories {
        let deployment: Deployment = serde_json::from_slice(&story.value).unwrap();
        assert!(deployment.stage.is_final(), "{deployment:?}");
    }
    let routes: RouteList = world.get("/v1/routes").await.json();
    if !reply.status.is_success() {
        assert_eq!(reply.code(), Code::FunctionNotFound);
        assert!(routes.routes.is_empty() && world.blobs.list().unwrap().is_empty());
        assert_eq!(world.served("hello", "live"), None);
        return None;
    }
    let detail: FunctionDetail = reply.json();
    let artifacts: HashSet<_> = detail.revisions.iter().map(|revision| revision.artifact.clone()).collect();
    let blobs: HashSet<_> = world.blobs.list().unwrap().into_iter().map(|blob| blob.digest).collect();
    assert_eq!(artifacts, blobs, "each revision has its artifact and nothing else is kept");
    let live = detail.aliases[0].targets[0].revision;
    assert!(content_live.contains(&live), "{live} is none of {content_live:?}");
    assert_eq!(world.served("hello", "live"), Some(vec![(live, 100)]));
    assert!(detail.revisions.iter().any(|revision| revision.id.number == live));
    assert_eq!(routes.routes.len(), 1);
    Some(live)
}

#[tokio::test]
async fn a_first_deploy_is_whole_or_absent_whenever_the_process_dies() {
    let mut outcomes = HashSet::new();
    for after in 0..20 {
        let disk = Disk::new();
        // Kept to the end: a process that dies clears nothing away.
        let dead = World::on(disk.clone()).await;
        dead.records.fate.send_replace(Fate::Dies { after });
        let (_, acknowledged) = deploy_and_die(&dead, "v1").await;

        let world = World::on(disk.clone()).await;
        let live = check_whole(&world, &HashSet::from([1])).await;
        assert!(live.is_some() || !acknowledged, "an acknowledged deploy is gone (death after {after} writes)");
        assert!(std::fs::read_dir(disk.path().join("deploy/work")).unwrap().next().is_none());
        assert_eq!(world.deploy("hello", &binary("hello", "v1", ROUTE)).await.stage, Stage::Live, "it goes on");
        outcomes.insert((live.is_some(), acknowledged));
        if acknowledged {
            break;
        }
    }
    assert!(outcomes.contains(&(false, false)) && outcomes.contains(&(true, true)), "{outcomes:?}");
}

#[tokio::test]
async fn a_second_deploy_leaves_the_old_or_the_new_whenever_the_process_dies() {
    let mut outcomes = HashSet::new();
    for after in 0..20 {
        let disk = Disk::new();
        let dead = World::on(disk.clone()).await;
        assert_eq!(dead.deploy("hello", &binary("hello", "v1", ROUTE)).await.stage, Stage::Live);
        dead.records.fate.send_replace(Fate::Dies { after });
        let (_, acknowledged) = deploy_and_die(&dead, "v2").await;

        let world = World::on(disk.clone()).await;
        let live = check_whole(&world, &HashSet::from([1, 2])).await.expect("the acknowledged first deploy is gone");
        assert!(live == 2 || !acknowledged, "an acknowledged deploy is gone (death after {after} writes)");
        outcomes.insert((live, acknowledged));
        if acknowledged {
            break;
        }
    }
    assert!(outcomes.contains(&(1, false)) && outcomes.contains(&(2, true)), "{outcomes:?}");
}

#[tokio::test]
async fn an_interrupted_deployment_says_so_after_the_restart() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let open = || {
        let store = Store::sqlite(&dir.path().join("records.db"), store::record::Options::default()).unwrap();
        Disk { dir: Arc::clone(&dir), records: Arc::new(store) }
    };
    // A runtime of its own, so that all of the process' tasks are gone before the next one opens the store.
    let id = {
        let disk = open();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let id = runtime.block_on(async {
                let world = World::on(disk).await;
                world.live("hello", "v1").await;
                world.scaler.open.send_replace(false);
                let begun = world.upload("hello", &binary("hello", "v2", "")).await;
                world.scaler.ensured.subscribe().wait_for(|all| all.len() == 2).await.unwrap();
                world.records.fate.send_replace(Fate::Dies { after: 0 });
                begun.id
            });
            drop(runtime);
            id
        })
        .join()
        .unwrap()
    };

    let world = World::on(open()).await;
    let story: Deployment = world.get(&format!("/v1/deployments/{id}")).await.json();
    let fault = story.fault.unwrap();
    assert_eq!((story.stage, fault.code), (Stage::Failed, Code::Internal));
    assert!(fault.detail.contains("interrupted by a restart"), "{fault}");
    assert!(story.ended.is_some() && story.revision.is_none());
    let log = world.get(&format!("/v1/deployments/{id}/log?follow=true")).await;
    assert!(log.text().contains("Starting hello@2"), "the log is still there: {}", log.text());
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 100)]));
    assert_eq!(world.blobs.list().unwrap().len(), 1, "the orphan is swept");
    assert_eq!(world.live("hello", "v2").await.revision.unwrap().number, 3, "number 2 may have an instance somewhere");
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.status, 204);
}
