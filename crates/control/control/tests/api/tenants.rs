//! Tenants: made and changed with ETags, owners of functions for good, deleted when they own none.

use crate::world::{Disk, World, archive, binary};
use http::{Method, StatusCode};
use types::{Code, record::Stage};

const ACME: &str = "/v1/tenants/acme";

/// Deploys for a tenant; gives the fault where it is refused at once.
async fn deploy(world: &World, name: &str, tenant: &str, text: &str) -> Result<(), Code> {
    let path = format!("/v1/functions/{name}/deployments?tenant={tenant}");
    let reply = world.ask(Method::POST, &path, archive(&binary(name, text, ""))).await;
    if reply.status != StatusCode::ACCEPTED {
        return Err(reply.code());
    }
    let ended = world.ended(&reply.json()).await.0;
    assert_eq!(ended.stage, Stage::Live, "{ended:?}");
    Ok(())
}

async fn put(world: &World, path: &str, body: &str) -> StatusCode {
    world.ask(Method::PUT, path, body.to_owned()).await.status
}

#[tokio::test]
async fn a_tenant_is_made_changed_and_deleted_with_its_etag() {
    let world = World::new().await;
    assert_eq!(world.get(ACME).await.code(), Code::TenantNotFound);
    let ask = async |method: Method, body: &str, headers: &[(&str, &str)]| {
        world.ask_with(method, ACME, body.to_owned(), headers).await
    };
    let made = ask(Method::PUT, r#"{"calls_max":100,"rate":"1000/s"}"#, &[("if-none-match", "*")]).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let first = made.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(ask(Method::PUT, "{}", &[("if-none-match", "*")]).await.code(), Code::PreconditionFailed);
    let want = serde_json::json!({ "name": "acme", "calls_max": 100, "rate": "1000/s", "functions": 0 });
    assert_eq!(world.get(ACME).await.value(), want);
    let changed = ask(Method::PUT, r#"{"calls_max":0}"#, &[("if-match", &first)]).await;
    assert_eq!((changed.status, changed.value()["rate"].is_null()), (StatusCode::OK, true));
    assert_eq!(ask(Method::DELETE, "", &[("if-match", &first)]).await.code(), Code::PreconditionFailed);
    let names = world.get("/v1/tenants").await.value();
    let names: Vec<_> = names["tenants"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "default"]);
    assert_eq!(ask(Method::DELETE, "", &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(Method::DELETE, "", &[]).await.code(), Code::TenantNotFound);

    for (path, body, code) in [
        (ACME, r#"{"calls_max":-1}"#, Code::BadRequest),
        (ACME, r#"{"rate":"often"}"#, Code::BadRequest),
        (ACME, r#"{"calls":1}"#, Code::BadRequest),
        (ACME, "", Code::BadRequest),
        ("/v1/tenants/Acme", "{}", Code::NameInvalid),
    ] {
        assert_eq!(world.ask(Method::PUT, path, body).await.code(), code, "{path} {body}");
    }
}

#[tokio::test]
async fn a_function_is_one_tenants_for_good() {
    let world = World::new().await;
    assert_eq!(deploy(&world, "hello", "acme", "v1").await, Err(Code::TenantNotFound));
    assert_eq!(put(&world, ACME, "{}").await, StatusCode::OK);
    assert_eq!(put(&world, "/v1/tenants/other", "{}").await, StatusCode::OK);
    deploy(&world, "hello", "acme", "v1").await.unwrap();
    assert_eq!(deploy(&world, "hello", "other", "v2").await, Err(Code::TenantMismatch));
    assert_eq!(deploy(&world, "hello", "default", "v2").await, Err(Code::TenantMismatch));
    deploy(&world, "hello", "acme", "v2").await.unwrap();
    // Without a word about it, whoever has it keeps it; a new one is the default tenant's.
    world.live("hello", "v3").await;
    world.live("plain", "v1").await;
    let tenant = async |name: &str| world.get(&format!("/v1/functions/{name}")).await.value()["tenant"].clone();
    assert_eq!((tenant("hello").await, tenant("plain").await), ("acme".into(), "default".into()));
    let list = world.get("/v1/functions").await.value();
    assert_eq!(list["functions"][0]["tenant"], "acme");
    let told = |name: &str| {
        let snapshot = world.snapshots.borrow();
        snapshot.functions.get(name).unwrap().tenant().unwrap().to_string()
    };
    assert_eq!((told("hello"), told("plain")), ("acme".to_owned(), "default".to_owned()));

    let refused = world.ask(Method::DELETE, ACME, "").await;
    assert_eq!(refused.code(), Code::TenantInUse);
    assert!(refused.problem().detail.contains("owns 1 functions, `hello` among them"), "{}", refused.text());
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/hello", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.ask(Method::DELETE, ACME, "").await.status, StatusCode::NO_CONTENT);
    // Its name is free for another tenant.
    deploy(&world, "hello", "other", "v1").await.unwrap();
    assert_eq!(told("hello"), "other");
}

#[tokio::test]
async fn a_tenant_that_is_deleted_gets_no_function_meanwhile() {
    let world = World::new().await;
    for n in 0..10 {
        assert_eq!(put(&world, ACME, "{}").await, StatusCode::OK);
        let name = format!("f{n}");
        let path = format!("/v1/functions/{name}/deployments?tenant=acme");
        let (made, deleted) = tokio::join!(
            world.ask(Method::POST, &path, archive(&binary(&name, "v1", ""))),
            world.ask(Method::DELETE, ACME, "")
        );
        if made.status == StatusCode::ACCEPTED {
            world.ended(&made.json()).await;
        }
        let there = world.get(&format!("/v1/functions/{name}")).await.status == StatusCode::OK;
        let tenant = world.get(ACME).await.status == StatusCode::OK;
        assert!(tenant || !there, "{name} belongs to nobody: {}", deleted.status);
        world.ask(Method::DELETE, &format!("/v1/functions/{name}"), "").await;
    }
}

#[tokio::test]
async fn guarantees_are_of_the_tenants_own_calls() {
    let world = World::with(Disk::new(), Some(20)).await;
    let set = async |name: &str, calls: u32| {
        world.ask(Method::PUT, &format!("/v1/functions/{name}/limit"), format!("{{\"calls\":{calls}}}")).await
    };
    assert_eq!(put(&world, ACME, r#"{"calls_max":10}"#).await, StatusCode::OK);
    deploy(&world, "hello", "acme", "v1").await.unwrap();
    world.live("plain", "v1").await;
    // What acme promises takes nothing from others, and the platform's option is not acme's.
    let refused = set("hello", 10).await;
    assert!(refused.problem().detail.contains("of the 10 of tenant `acme`, 0 are"), "{}", refused.text());
    assert_eq!(set("hello", 9).await.status, 200);
    assert_eq!(set("plain", 18).await.status, 200);
    // Nor may the tenant's own limit go below its promises, except to stop it.
    assert_eq!(put(&world, ACME, r#"{"calls_max":9}"#).await, StatusCode::BAD_REQUEST);
    assert_eq!(put(&world, "/v1/tenants/default", r#"{"calls_max":18}"#).await, StatusCode::BAD_REQUEST);
    assert_eq!(put(&world, ACME, r#"{"calls_max":0}"#).await, StatusCode::OK);
    assert_eq!(put(&world, ACME, r#"{"calls_max":11}"#).await, StatusCode::OK);
    // The default tenant's record goes before the option, and the option holds again without it.
    let calls = async || world.get("/v1/tenants/default").await.value()["calls_max"].as_u64();
    assert_eq!(calls().await, Some(20));
    assert_eq!(put(&world, "/v1/tenants/default", r#"{"calls_max":50}"#).await, StatusCode::OK);
    assert_eq!(calls().await, Some(50));
    assert_eq!(world.get("/v1/info").await.value()["calls_unreserved"], 32);
    assert_eq!(world.ask(Method::DELETE, "/v1/tenants/default", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(calls().await, Some(20));
}

#[tokio::test]
async fn tenants_survive_the_process() {
    let disk = Disk::new();
    let world = World::on(disk.clone()).await;
    assert_eq!(put(&world, ACME, r#"{"calls_max":7,"rate":"5/s"}"#).await, StatusCode::OK);
    deploy(&world, "hello", "acme", "v1").await.unwrap();
    drop(world);
    let world = World::on(disk).await;
    let want = serde_json::json!({ "name": "acme", "calls_max": 7, "rate": "5/s", "functions": 1 });
    assert_eq!(world.get(ACME).await.value(), want);
    let snapshot = std::sync::Arc::clone(&world.snapshots.borrow());
    assert_eq!(snapshot.tenants.get("acme").and_then(|limits| limits.calls_max), Some(7));
    assert_eq!(snapshot.functions.get("hello").unwrap().tenant().unwrap().as_str(), "acme");
}
