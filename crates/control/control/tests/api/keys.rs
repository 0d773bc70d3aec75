//! API keys: shown once, kept as hashes, pushed to who serves.

use crate::world::World;
use http::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use types::{ApiKey, Code};

async fn create(world: &World, body: &str) -> Value {
    let reply = world.ask(Method::POST, "/v1/keys", body.to_owned()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.value()
}

/// What the gateway would find for the key.
fn pushed(world: &World, secret: &str) -> Option<ApiKey> {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    world.snapshots.borrow().keys.get(&hash).map(|key| (**key).clone())
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_at_once() {
    let world = World::new().await;
    world.live("one", "v1").await;
    let made = create(&world, r#"{"name":"ci","functions":["one"],"expires":"2999-01-01T00:00:00Z"}"#).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with(&format!("mfk_{id}_")) && secret.len() == 63, "{secret}");
    let all = create(&world, r#"{"name":"admin","all":true}"#).await;
    assert!(all["functions"].is_null());

    let list = world.get("/v1/keys").await;
    assert!(!list.text().contains(secret) && !list.text().contains("sha256"), "{}", list.text());
    let listed: Vec<_> = list.value()["keys"].as_array().unwrap().iter().map(|key| key["name"].clone()).collect();
    assert!(listed.contains(&"ci".into()) && listed.contains(&"admin".into()), "{listed:?}");

    let found = pushed(&world, secret).unwrap();
    assert_eq!(
        (found.id.as_str(), found.opens(&"one".parse().unwrap()), found.opens(&"two".parse().unwrap())),
        (id, true, false)
    );
    assert!(pushed(&world, &secret[..62]).is_none());

    let path = format!("/v1/keys/{id}");
    assert_eq!(world.ask(Method::DELETE, &path, "").await.status, 204);
    assert!(pushed(&world, secret).is_none(), "the answer comes after the push");
    assert!(pushed(&world, all["secret"].as_str().unwrap()).is_some());
    assert_eq!(world.ask(Method::DELETE, &path, "").await.code(), Code::KeyNotFound);
    assert_eq!(world.ask(Method::DELETE, "/v1/keys/..%2Ffunction%2Fone", "").await.code(), Code::KeyNotFound);
}

#[tokio::test]
async fn a_bad_key_is_refused() {
    let world = World::new().await;
    for (body, code) in [
        (r#"{"name":"x","functions":["nobody"]}"#, Code::FunctionNotFound),
        (r#"{"name":"x"}"#, Code::BadRequest),
        (r#"{"name":"x","all":true,"expires":"2001-01-01T00:00:00Z"}"#, Code::BadRequest),
        (r#"{"name":"x","all":true,"id":"0a"}"#, Code::BadRequest),
        ("", Code::BadRequest),
    ] {
        assert_eq!(world.ask(Method::POST, "/v1/keys", body).await.code(), code, "{body}");
    }
    assert_eq!(world.get("/v1/keys").await.value()["keys"], serde_json::json!([]));
}

#[tokio::test]
async fn a_key_does_not_open_a_later_function_of_a_deleted_ones_name() {
    let world = World::new().await;
    world.live("one", "v1").await;
    world.live("two", "v1").await;
    let alone = create(&world, r#"{"name":"alone","functions":["one"]}"#).await;
    let both = create(&world, r#"{"name":"both","functions":["one","two"]}"#).await;
    assert_eq!(world.ask(Method::DELETE, "/v1/functions/one", "").await.status, 204);
    world.live("one", "v2").await;
    assert!(pushed(&world, alone["secret"].as_str().unwrap()).is_none());
    let both = pushed(&world, both["secret"].as_str().unwrap()).unwrap();
    assert_eq!(both.functions, Some(vec!["two".parse().unwrap()]));
}
