//! Who may ask, and how the API refuses.

use crate::world::{TOKEN, World};
use http::Method;
use types::{Code, api::REQUEST_ID_HEADER};

#[tokio::test]
async fn only_the_token_opens_the_api() {
    let world = World::new().await;
    let wrong = format!("Bearer {TOKEN}x");
    for authorization in ["", "Bearer ", "Basic abc", wrong.as_str()] {
        for path in ["/v1/functions", "/v1/info", "/v1/functions/a/logs", "/v1/nowhere", "/"] {
            let reply = world.ask_with(Method::GET, path, "", &[("authorization", authorization)]).await;
            assert_eq!(reply.code(), Code::Unauthorized, "{path} {authorization}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
    }
    let upload = world.ask_with(Method::POST, "/v1/functions/a/deployments", "x", &[("authorization", "")]).await;
    assert_eq!(upload.code(), Code::Unauthorized);
    for path in ["/healthz", "/v1/openapi.json"] {
        assert_eq!(world.ask_with(Method::GET, path, "", &[("authorization", "")]).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let world = World::new().await;
    for path in ["/v1/nowhere", "/v1", "/v1/functions/a/b/c/d", "/v1/functions/"] {
        assert_eq!(world.get(path).await.code(), Code::RouteNotFound, "{path}");
    }
    for (method, path, allow) in [
        (Method::POST, "/v1/info", "GET,HEAD"),
        (Method::PATCH, "/v1/functions/a", "GET,HEAD,DELETE"),
        (Method::DELETE, "/healthz", "GET,HEAD"),
        (Method::PUT, "/v1/openapi.json", "GET,HEAD"),
    ] {
        let reply = world.ask(method.clone(), path, "").await;
        assert_eq!(reply.code(), Code::MethodNotAllowed, "{method} {path}");
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let world = World::new().await;
    let mine = "6f0c1f9e-8a54-4a7e-9f0e-0e4d1c5a7b11";
    for (path, sent, kept) in [
        ("/v1/functions", "", false),
        ("/v1/functions", mine, true),
        ("/v1/nowhere", mine, true),
        ("/healthz", mine, true),
        ("/v1/functions", "not-an-id", false),
    ] {
        let reply = world.ask_with(Method::GET, path, "", &[(REQUEST_ID_HEADER, sent)]).await;
        let id = reply.header(REQUEST_ID_HEADER);
        assert_eq!((id.len(), id == mine), (36, kept), "{path} {sent}: {id}");
    }
    let refused = world.ask_with(Method::GET, "/v1/functions", "", &[("authorization", "")]).await;
    assert_eq!(refused.header(REQUEST_ID_HEADER).len(), 36);
}

#[tokio::test]
async fn a_document_over_the_limit_or_a_wrong_query_is_refused() {
    let world = World::new().await;
    world.live("one", "v1").await;
    let reply = world.ask(Method::PUT, "/v1/functions/one/aliases/a", vec![b' '; 70_000]).await;
    assert_eq!(reply.code(), Code::RequestTooLarge);
    for path in [
        "/v1/functions/one/invocations?limit=many",
        "/v1/functions/one/logs?follow=perhaps",
        "/v1/functions/one/logs?tail=99999999",
        "/v1/functions/one/logs?since=1h",
        "/v1/functions/one/logs?invocation=7",
    ] {
        assert_eq!(world.get(path).await.code(), Code::BadRequest, "{path}");
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let world = World::new().await;
    let document = world.get("/v1/openapi.json").await.value();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(document["paths"]["/v1/functions/{name}"]["get"].is_object());
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let world = World::new().await;
    let silent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    assert_eq!(world.get("/healthz").await.text(), "ok\n");
    world.shutdown.cancel();
    world.server.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err(), "it still listens");
    drop(silent);
}
