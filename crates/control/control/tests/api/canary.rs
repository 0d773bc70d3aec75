//! Canaries: on by steps, back by themselves, ended by hand, and through restarts.

use crate::{
    peers::Fate,
    world::{Disk, World, archive, binary},
};
use http::{Method, StatusCode};
use std::time::Duration;
use types::{Alias, Code, Deployment, Happening, api::EventList, record::Stage};

const LIVE: &str = "/v1/functions/hello/aliases/live";

impl World {
    /// Deploys with a query; it must go live.
    async fn deploy_by(&self, query: &str, content: &str, more: &str) -> Deployment {
        let path = format!("/v1/functions/hello/deployments{query}");
        let begun: Deployment = self.ask(Method::POST, &path, archive(&binary("hello", content, more))).await.json();
        let (ended, _) = self.ended(&begun).await;
        assert_eq!(ended.stage, Stage::Live, "{ended:?}");
        ended
    }

    /// Waits until `live` of `hello` is served like this.
    async fn becomes(&self, want: &[(u32, u8)]) {
        let mut snapshots = self.snapshots.clone();
        let is = |_: &std::sync::Arc<wire::Snapshot>| self.served("hello", "live").as_deref() == Some(want);
        let wait = async {
            while !is(&snapshots.borrow_and_update().clone()) {
                snapshots.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok(), "{want:?} is not served, but {:?}", self.served("hello", "live"));
    }

    async fn happened(&self) -> Vec<(Happening, u32)> {
        let list: EventList = self.get("/v1/functions/hello/events").await.json();
        list.events.iter().map(|event| (event.what, event.revision.number)).collect()
    }
}

#[tokio::test]
async fn a_revision_that_does_well_gets_all_step_by_step() {
    let world = World::new().await;
    let first = world.deploy_by("?canary=10,50&every=1s", "v1", "").await;
    assert_eq!((world.served("hello", "live"), first.canary), (Some(vec![(1, 100)]), None), "nothing to compare with");
    world.invocations.each_look("hello@1", 90, 1);
    world.invocations.each_look("hello@2", 30, 0);
    let second = world.deploy_by("?canary=10,50&every=1s", "v2", "").await;
    assert_eq!(second.canary.unwrap().steps.len(), 2);
    let alias: Alias = world.get(LIVE).await.json();
    assert_eq!(alias.canary.map(|rollout| (rollout.from, rollout.to)), Some((1, 2)));
    world.becomes(&[(1, 50), (2, 50)]).await;
    let detail = world.get("/v1/functions/hello").await.value();
    assert!(detail["canaries"]["live"].as_str().unwrap().starts_with("in "), "how it goes: {detail}");
    world.becomes(&[(2, 100)]).await;
    let alias: Alias = world.get(LIVE).await.json();
    assert_eq!((alias.canary, alias.history), (None, vec![1]));
    let steps = [(Happening::CanaryDone, 2), (Happening::CanaryStep, 2), (Happening::CanaryStep, 2)];
    assert_eq!(world.happened().await, steps);
    let list: EventList = world.get("/v1/functions/hello/events").await.json();
    assert!(list.events[0].text.contains("calls failed"), "it says why: {}", list.events[0].text);
    let noted = world.logs.noted.lock().clone();
    assert_eq!(
        noted.iter().map(|event| event.what).collect::<Vec<_>>(),
        [Happening::CanaryStep, Happening::CanaryDone]
    );
}

#[tokio::test]
async fn a_revision_that_fails_is_rolled_back() {
    let world = World::new().await;
    world.deploy_by("", "v1", "").await;
    world.invocations.each_look("hello@1", 90, 0);
    world.invocations.each_look("hello@2", 30, 30);
    // By the manifest this time, and long steps: what fails does not have to wait for their end.
    world.deploy_by("", "v2", "[canary]\nsteps = ['10%:1h']").await;
    world.becomes(&[(1, 100)]).await;
    let alias: Alias = world.get(LIVE).await.json();
    assert_eq!((alias.canary, alias.history), (None, vec![]), "as if it had never been");
    assert_eq!(world.happened().await, [(Happening::RolledBack, 2), (Happening::CanaryStep, 2)]);
    let detail = world.get("/v1/functions/hello").await.value();
    let text = detail["events"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("`live` is back on revision 1: more calls fail; in "), "{text}");

    // The alias's own way to the same: a revision that is there already.
    world.invocations.each_look("hello@2", 30, 0);
    let body = r#"{"targets":[{"revision":2,"weight":100}],"canary":{"steps":["30%"],"every":"1s"}}"#;
    let alias: Alias = world.ask(Method::PUT, LIVE, body).await.json();
    assert_eq!(alias.canary.unwrap().weight(), 30);
    let again = world.ask(Method::PUT, LIVE, body).await;
    assert_eq!(again.status, 200, "it is on this way already");
    world.becomes(&[(2, 100)]).await;
}

#[tokio::test]
async fn who_moves_the_alias_by_hand_ends_its_canary() {
    let world = World::new().await;
    world.deploy_by("", "v1", "").await;
    let slow = "?canary=10&every=1h";
    world.deploy_by(slow, "v2", "").await;
    let etag = world.get(LIVE).await.header("etag").to_owned();
    assert!(world.deploy_by(slow, "v2", "").await.unchanged, "the same again changes nothing");
    assert_eq!(world.get(LIVE).await.header("etag"), etag);
    let back: Alias = world.ask(Method::POST, "/v1/functions/hello/rollback", "").await.json();
    assert_eq!((back.canary.is_some(), back.targets[0].revision), (false, 1));
    assert_eq!(world.happened().await[0], (Happening::CanaryEnded, 2));

    // A canary meets the next one: that is compared with what was trusted.
    world.deploy_by(slow, "v2", "").await;
    world.deploy_by(slow, "v3", "").await;
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 90), (3, 10)]));
    // A deploy without one takes all; `none` goes before the manifest.
    world.deploy_by("?canary=none", "v4", "[canary]").await;
    assert_eq!(world.served("hello", "live"), Some(vec![(4, 100)]));
    assert_eq!(world.happened().await[0], (Happening::CanaryEnded, 3));
    // The split itself can be kept.
    world.deploy_by(slow, "v5", "").await;
    let split = r#"{"targets":[{"revision":4,"weight":90},{"revision":5,"weight":10}]}"#;
    let kept: Alias = world.ask(Method::PUT, LIVE, split).await.json();
    assert_eq!((kept.canary, world.served("hello", "live")), (None, Some(vec![(4, 90), (5, 10)])));
    // What was deployed is gone with the function, and so is its story.
    world.ask(Method::DELETE, "/v1/functions/hello", "").await;
    world.deploy_by("", "v1", "").await;
    assert_eq!(world.happened().await, []);
}

#[tokio::test]
async fn a_canary_goes_on_after_a_restart_and_a_crash_leaves_a_step() {
    let disk = Disk::new();
    let world = World::on(disk.clone()).await;
    world.deploy_by("", "v1", "").await;
    world.deploy_by("?canary=10,50&every=1s", "v2", "").await;
    // The process dies while the second step is written.
    world.invocations.each_look("hello@1", 90, 0);
    world.invocations.each_look("hello@2", 30, 0);
    world.records.fate.send_replace(Fate::Dies { after: 0 });
    world.records.hanging.subscribe().wait_for(|hanging| *hanging > 0).await.unwrap();
    assert_eq!(world.served("hello", "live"), Some(vec![(1, 90), (2, 10)]));
    world.server.abort();
    drop(world);

    let world = World::on(disk.clone()).await;
    let alias: Alias = world.get(LIVE).await.json();
    assert_eq!(alias.canary.unwrap().step, 0, "the step is absent, and the canary is there");
    // Nobody calls: it stands, and an orderly stop leaves it standing.
    world.shutdown.cancel();
    world.server.await.unwrap().unwrap();

    let world = World::on(disk).await;
    world.invocations.each_look("hello@1", 90, 0);
    world.invocations.each_look("hello@2", 30, 0);
    world.becomes(&[(1, 50), (2, 50)]).await;
    world.becomes(&[(2, 100)]).await;
    assert_eq!(world.happened().await.len(), 3, "no step is told twice");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new().await;
    world.deploy_by("", "v1", "").await;
    world.deploy_by("", "v2", "").await;
    for query in ["?canary=x", "?canary=50,5", "?canary=5&every=1ms", "?every=1m", "?canary=0", "?steps=5"] {
        let path = format!("/v1/functions/hello/deployments{query}");
        assert_eq!(
            world.ask(Method::POST, &path, archive(&binary("hello", "v3", ""))).await.code(),
            Code::BadRequest,
            "{query}"
        );
    }
    for body in [
        r#"{"targets":[{"revision":1,"weight":90},{"revision":2,"weight":10}],"canary":{}}"#,
        r#"{"targets":[{"revision":1,"weight":100}],"canary":{"steps":[]}}"#,
        r#"{"targets":[{"revision":1,"weight":100}],"canary":{"step":[5]}}"#,
    ] {
        assert_eq!(world.ask(Method::PUT, LIVE, body).await.code(), Code::BadRequest, "{body}");
    }
    let bad = world.deploy("hello", &binary("hello", "v3", "[canary]\nsteps = ['100%']")).await;
    let fault = bad.fault.unwrap();
    assert_eq!(fault.code, Code::ManifestInvalid);
    assert!(fault.detail.contains("canary.steps"), "{fault}");
    assert_eq!(world.served("hello", "live"), Some(vec![(2, 100)]));
}

#[tokio::test]
async fn limits_promise_no_more_than_there_is() {
    let world = World::with(Disk::new(), Some(20)).await;
    world.live("hello", "v1").await;
    world.live("other", "v1").await;
    let set = async |name: &str, calls: u32| {
        world.ask(Method::PUT, &format!("/v1/functions/{name}/limit"), format!("{{\"calls\":{calls}}}")).await
    };
    assert_eq!(set("hello", 10).await.status, 200);
    let refused = set("other", 9).await;
    assert_eq!(refused.code(), Code::BadRequest);
    assert!(refused.problem().detail.contains("so 8 is the most"), "{}", refused.text());
    assert_eq!(set("other", 8).await.status, 200);
    // Its own old limit does not count; to stop one is always possible.
    assert_eq!(set("hello", 9).await.status, 200);
    assert_eq!(set("hello", 11).await.code(), Code::BadRequest);
    let info = world.get("/v1/info").await.value();
    assert_eq!((info["calls_max"].as_u64(), info["calls_unreserved"].as_u64()), (Some(20), Some(3)));
    assert_eq!(set("hello", 0).await.status, 200);
    // Two at once do not both get what is there for one.
    for _ in 0..20 {
        assert_eq!((set("hello", 0).await.status, set("other", 0).await.status), (StatusCode::OK, StatusCode::OK));
        let (one, two) = tokio::join!(set("hello", 18), set("other", 18));
        assert_eq!([one.status, two.status].iter().filter(|status| status.is_success()).count(), 1);
    }
}
