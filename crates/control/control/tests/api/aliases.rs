//! Aliases: by weight, by ETag, and back.

use crate::world::World;
use http::{Method, StatusCode};
use types::{Alias, Code, Fault, api::AliasList};

fn targets(list: &[(u32, u8)]) -> String {
    let targets: Vec<String> =
        list.iter().map(|(revision, weight)| format!(r#"{{"revision":{revision},"weight":{weight}}}"#)).collect();
    format!(r#"{{"targets":[{}]}}"#, targets.join(","))
}

async fn three_revisions() -> World {
    let world = World::new().await;
    for content in ["v1", "v2", "v3"] {
        world.live("hello", content).await;
    }
    world
}

#[tokio::test]
async fn an_alias_splits_traffic_between_revisions_that_started() {
    let world = three_revisions().await;
    world.scaler.ensured.send_modify(Vec::clear);
    let path = "/v1/functions/hello/aliases/canary";
    let made: Alias = world.ask(Method::PUT, path, targets(&[(3, 90), (1, 10)])).await.json();
    assert_eq!((made.name.as_str(), made.targets.len()), ("canary", 2));
    assert_eq!(world.ensured(), ["hello@3", "hello@1"]);
    assert_eq!(world.served("hello", "canary"), Some(vec![(3, 90), (1, 10)]));
    let list: AliasList = world.get("/v1/functions/hello/aliases").await.json();
    assert_eq!(list.aliases.iter().map(|alias| alias.name.as_str()).collect::<Vec<_>>(), ["canary", "live"]);

    *world.scaler.fault.lock() = Some(Fault::new(Code::StartTimeout, "hello@2 was not ready"));
    assert_eq!(world.ask(Method::PUT, path, targets(&[(2, 100)])).await.code(), Code::StartTimeout);
    assert_eq!(world.served("hello", "canary"), Some(vec![(3, 90), (1, 10)]), "no traffic for what does not start");
}

#[tokio::test]
async fn a_bad_alias_is_refused_and_starts_nothing() {
    let world = three_revisions().await;
    world.scaler.ensured.send_modify(Vec::clear);
    for (path, body, code) in [
        ("/v1/functions/hello/aliases/canary", targets(&[(3, 90), (1, 20)]), Code::BadRequest),
        ("/v1/functions/hello/aliases/canary", targets(&[]), Code::BadRequest),
        ("/v1/functions/hello/aliases/canary", targets(&[(1, 50), (2, 25), (3, 25)]), Code::BadRequest),
        ("/v1/functions/hello/aliases/canary", targets(&[(9, 100)]), Code::RevisionNotFound),
        ("/v1/functions/hello/aliases/Can_ary", targets(&[(1, 100)]), Code::NameInvalid),
        ("/v1/functions/nobody/aliases/canary", targets(&[(1, 100)]), Code::FunctionNotFound),
        ("/v1/functions/hello/aliases/canary", "{\"targets\":[],\"wait\":1}".to_owned(), Code::BadRequest),
        ("/v1/functions/hello/aliases/canary", "{".to_owned(), Code::BadRequest),
        ("/v1/functions/hello/aliases/canary", String::new(), Code::BadRequest),
    ] {
        assert_eq!(world.ask(Method::PUT, path, body.clone()).await.code(), code, "{path} {body}");
    }
    assert_eq!(world.get("/v1/functions/hello/aliases/canary").await.code(), Code::AliasNotFound);
    assert_eq!(world.ensured(), [""; 0]);
}

#[tokio::test]
async fn if_match_keeps_two_from_undoing_each_other() {
    let world = three_revisions().await;
    let path = "/v1/functions/hello/aliases/live";
    let etag = world.get(path).await.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 2, "{etag}");

    let first = world.ask_with(Method::PUT, path, targets(&[(2, 100)]), &[("if-match", &etag)]).await;
    let new = first.header("etag").to_owned();
    assert_eq!(first.status, StatusCode::OK);
    assert_ne!(new, etag);
    assert_eq!(world.get(path).await.header("etag"), new);

    let second = world.ask_with(Method::PUT, path, targets(&[(1, 100)]), &[("if-match", &etag)]).await;
    assert_eq!(second.code(), Code::PreconditionFailed);
    assert!(second.problem().detail.contains(&new), "{}", second.text());
    assert_eq!(world.served("hello", "live"), Some(vec![(2, 100)]));

    let repeated = world.ask_with(Method::PUT, path, targets(&[(2, 100)]), &[("if-match", &new)]).await;
    assert_eq!((repeated.status, repeated.header("etag")), (StatusCode::OK, new.as_str()), "nothing changed");

    let absent = "/v1/functions/hello/aliases/canary";
    let none = [("if-none-match", "*")];
    assert_eq!(world.ask_with(Method::PUT, path, targets(&[(3, 100)]), &none).await.code(), Code::PreconditionFailed);
    assert_eq!(world.ask_with(Method::PUT, absent, targets(&[(3, 100)]), &none).await.status, StatusCode::OK);
    assert_eq!(world.ask(Method::DELETE, absent, "").await.status, StatusCode::NO_CONTENT);
    let refused = world.ask_with(Method::PUT, absent, targets(&[(2, 100)]), &[("if-match", "*")]).await;
    assert_eq!(refused.code(), Code::PreconditionFailed);
    assert_eq!(world.ask_with(Method::PUT, path, targets(&[(1, 100)]), &[("if-match", "*")]).await.status, 200);
    assert_eq!(
        world.ask_with(Method::PUT, path, targets(&[(1, 100)]), &[("if-match", "1")]).await.code(),
        Code::BadRequest
    );
}

#[tokio::test]
async fn an_alias_goes_unless_something_needs_it() {
    let world = three_revisions().await;
    let path = "/v1/functions/hello/aliases/canary";
    assert_eq!(world.ask(Method::DELETE, path, "").await.code(), Code::AliasNotFound);
    let etag = world.ask(Method::PUT, path, targets(&[(2, 100)])).await.header("etag").to_owned();
    let route = r#"{"path":"/c","function":"hello","alias":"canary"}"#;
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route).await.status, 200);
    assert_eq!(world.ask(Method::DELETE, path, "").await.code(), Code::BadRequest, "a route points to it");
    assert_eq!(world.ask(Method::DELETE, "/v1/routes", route).await.status, 204);
    assert_eq!(
        world.ask_with(Method::DELETE, path, "", &[("if-match", "\"1\"")]).await.code(),
        Code::PreconditionFailed
    );
    assert_eq!(world.ask_with(Method::DELETE, path, "", &[("if-match", &etag)]).await.status, 204);
    assert_eq!(world.served("hello", "canary"), None);
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello/aliases/live", "").await.code(), Code::BadRequest);
}

#[tokio::test]
async fn a_rollback_walks_back_through_what_was_live() {
    let world = three_revisions().await;
    world.scaler.ensured.send_modify(Vec::clear);
    let path = "/v1/functions/hello/rollback";
    for (body, live) in [("", 2), ("{}", 1)] {
        let alias: Alias = world.ask(Method::POST, path, body).await.json();
        assert_eq!(alias.targets[0].revision, live);
        assert_eq!(world.served("hello", "live"), Some(vec![(live, 100)]));
    }
    assert_eq!(world.ensured(), ["hello@2", "hello@1"], "each was started before it got traffic");
    let none = world.ask(Method::POST, path, "").await;
    assert_eq!(none.code(), Code::RevisionNotFound);
    assert!(none.problem().detail.contains("no earlier revision"), "{}", none.text());

    let alias: Alias = world.ask(Method::POST, path, r#"{"to":3}"#).await.json();
    assert_eq!((alias.targets[0].revision, alias.history), (3, vec![1]));
    assert_eq!(world.ask(Method::POST, path, r#"{"to":9}"#).await.code(), Code::RevisionNotFound);
    assert_eq!(world.ask(Method::POST, "/v1/functions/nobody/rollback", "").await.code(), Code::FunctionNotFound);
    let refused = world.ask(Method::POST, path, r#"{"back":1}"#).await;
    assert_eq!(refused.code(), Code::BadRequest);
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_a_build() {
    let world = three_revisions().await;
    world.scaler.open.send_replace(false);
    *world.scaler.only.lock() = Some("hello@4".to_owned());
    let begun = world.upload("hello", &crate::world::binary("hello", "v4", "")).await;
    world.scaler.ensured.subscribe().wait_for(|all| all.len() == 4).await.unwrap();
    let alias: Alias = world.ask(Method::POST, "/v1/functions/hello/rollback", "").await.json();
    assert_eq!(alias.targets[0].revision, 2);
    world.scaler.open.send_replace(true);
    let (ended, _) = world.ended(&begun).await;
    assert_eq!(ended.revision.unwrap().number, 4);
    assert_eq!(world.alias("hello", "live").await.history, [1, 2], "what was rolled away from is no way back");
}

#[tokio::test]
async fn a_rollback_that_was_overtaken_looks_again() {
    let world = three_revisions().await;
    world.scaler.open.send_replace(false);
    *world.scaler.only.lock() = Some("hello@2".to_owned());
    let rollback = world.ask(Method::POST, "/v1/functions/hello/rollback", "");
    let overtaken = async {
        world.scaler.ensured.subscribe().wait_for(|all| all.len() == 4).await.unwrap();
        world.live("hello", "v4").await;
        world.scaler.open.send_replace(true);
    };
    let (reply, ()) = tokio::join!(rollback, overtaken);
    let alias: Alias = reply.json();
    assert_eq!(alias.targets[0].revision, 3, "the one before the newest, not before what was the newest");
}
