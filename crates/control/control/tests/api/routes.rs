//! Routes: who has which place.

use crate::world::{World, binary};
use http::Method;
use types::{Code, Route, api::RouteList, record::Stage};

fn route(path: &str, function: &str, methods: &[&str]) -> String {
    serde_json::json!({ "path": path, "function": function, "alias": "live", "methods": methods }).to_string()
}

async fn paths(world: &World) -> Vec<(String, String, bool)> {
    let list: RouteList = world.get("/v1/routes").await.json();
    list.routes.into_iter().map(|route| (route.path, route.function.to_string(), route.from_manifest)).collect()
}

#[tokio::test]
async fn two_functions_never_have_the_same_place() {
    let world = World::new().await;
    world.live("one", "v1").await;
    world.live("two", "v1").await;
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a/*", "one", &["get", "PUT"])).await.status, 200);
    let refused = world.ask(Method::PUT, "/v1/routes", route("/a/*", "two", &["PUT", "POST"])).await;
    assert_eq!(refused.code(), Code::RouteConflict);
    assert!(refused.problem().detail.contains("`one`"), "{}", refused.text());
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a/*", "two", &["POST"])).await.status, 200);
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a", "two", &[])).await.status, 200, "another place");
    let with_host = r#"{"host":"X.Example","path":"/a/*","function":"two","alias":"live"}"#;
    let set: Route = world.ask(Method::PUT, "/v1/routes", with_host).await.json();
    assert_eq!(set.host.as_deref(), Some("x.example"));
    assert_eq!(world.snapshots.borrow().routes.values().map(|place| place.len()).sum::<usize>(), 4);

    let again: Route = world.ask(Method::PUT, "/v1/routes", route("/a/*", "one", &["GET"])).await.json();
    assert_eq!(again.methods, ["GET"], "its own route gives way");
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a/*", "two", &["PUT"])).await.status, 200);

    // Names of parameters are no part of a place; headers tell routes of one place apart.
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/users/{id}", "one", &[])).await.status, 200);
    assert_eq!(
        world.ask(Method::PUT, "/v1/routes", route("/users/{name}", "two", &[])).await.code(),
        Code::RouteConflict
    );
    let beta = r#"{"path":"/users/{name}","function":"two","alias":"live","headers":{"X-Beta":"1"}}"#;
    assert_eq!(world.ask(Method::PUT, "/v1/routes", beta).await.status, 200);
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/users/me", "two", &[])).await.status, 200);

    // Many at once for one place: one gets it.
    let fight = ["one", "two"].repeat(8).into_iter().map(|name| {
        let world = &world;
        async move { world.ask(Method::PUT, "/v1/routes", route("/fight", name, &[])).await.status.as_u16() }
    });
    let results = futures_util::future::join_all(fight).await;
    assert_eq!(results.iter().filter(|status| **status == 200).count(), 8, "{results:?}");
    assert_eq!(results.iter().filter(|status| **status == 409).count(), 8, "{results:?}");
    assert_eq!(paths(&world).await.iter().filter(|(path, ..)| path == "/fight").count(), 1);
}

#[tokio::test]
async fn a_bad_route_is_refused() {
    let world = World::new().await;
    world.live("one", "v1").await;
    for (body, code) in [
        (route("a", "one", &[]), Code::BadRequest),
        (route("/a/*/b", "one", &[]), Code::BadRequest),
        (route("/a", "one", &["G T"]), Code::BadRequest),
        (route("/a", "nobody", &[]), Code::FunctionNotFound),
        (r#"{"path":"/a","function":"one","alias":"canary"}"#.to_owned(), Code::AliasNotFound),
        (r#"{"path":"/a","function":"one","alias":"live","host":"a b"}"#.to_owned(), Code::BadRequest),
        (r#"{"path":"/a"}"#.to_owned(), Code::BadRequest),
    ] {
        assert_eq!(world.ask(Method::PUT, "/v1/routes", body.clone()).await.code(), code, "{body}");
    }
    assert!(paths(&world).await.is_empty());
    assert_eq!(world.ask(Method::DELETE, "/v1/routes", route("/a", "one", &[])).await.code(), Code::RouteNotFound);
}

#[tokio::test]
async fn manifest_routes_follow_the_deploys_and_explicit_ones_stay() {
    let world = World::new().await;
    let with = |path: &str| {
        binary("one", "v1", Box::leak(format!("[[trigger]]\nhttp = {{ path = '{path}' }}").into_boxed_str()))
    };
    assert_eq!(world.deploy("one", &with("/old")).await.stage, Stage::Live);
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/kept", "one", &[])).await.status, 200);
    assert_eq!(world.deploy("one", &with("/new")).await.stage, Stage::Live);
    let one = || "one".to_owned();
    assert_eq!(paths(&world).await, [("/kept".to_owned(), one(), false), ("/new".to_owned(), one(), true)]);

    // Taken over by hand, it stays by hand.
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/new", "one", &["GET"])).await.status, 200);
    assert_eq!(world.deploy("one", &with("/new")).await.stage, Stage::Live);
    assert_eq!(paths(&world).await, [("/kept".to_owned(), one(), false), ("/new".to_owned(), one(), false)]);
}

#[tokio::test]
async fn a_deploy_with_anothers_route_fails_before_it_builds() {
    let world = World::new().await;
    world.live("one", "v1").await;
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a", "one", &[])).await.status, 200);
    let failed = world.deploy("two", &binary("two", "v1", "[[trigger]]\nhttp = { path = '/a' }")).await;
    assert_eq!(failed.fault.unwrap().code, Code::RouteConflict);
    assert!(!failed.phases.contains_key("build"), "{:?}", failed.phases);
    assert_eq!(world.get("/v1/functions/two").await.code(), Code::FunctionNotFound);
}

#[tokio::test]
async fn a_route_taken_while_a_deploy_runs_fails_it() {
    let world = World::new().await;
    world.live("one", "v1").await;
    world.live("two", "v1").await;
    world.scaler.open.send_replace(false);
    let begun = world.upload("two", &binary("two", "v2", "[[trigger]]\nhttp = { path = '/a' }")).await;
    world.scaler.ensured.subscribe().wait_for(|all| all.len() == 3).await.unwrap();
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/a", "one", &[])).await.status, 200);
    world.scaler.open.send_replace(true);
    let (failed, _) = world.ended(&begun).await;
    assert_eq!(failed.fault.unwrap().code, Code::RouteConflict);
    assert_eq!(world.served("two", "live"), Some(vec![(1, 100)]), "the old revision stays, whole");
}

#[tokio::test]
async fn a_new_function_needs_its_default_place() {
    let world = World::new().await;
    world.live("one", "v1").await;
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/two/*", "one", &["GET"])).await.status, 200);
    let failed = world.deploy("two", &binary("two", "v1", "")).await;
    let fault = failed.fault.unwrap();
    assert_eq!(fault.code, Code::RouteConflict);
    assert!(fault.detail.contains("`one`"), "{fault}");
    assert_eq!(world.ask(Method::DELETE, "/v1/routes", route("/two/*", "one", &["GET"])).await.status, 204);
    assert_eq!(world.ask(Method::PUT, "/v1/routes", route("/two/deeper", "one", &[])).await.status, 200);
    world.live("two", "v1").await;
    assert_eq!(
        world.ask(Method::PUT, "/v1/routes", route("/two/*", "one", &[])).await.status,
        200,
        "an existing function's default place may be taken knowingly"
    );
    world.live("two", "v2").await;
}
