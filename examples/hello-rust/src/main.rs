//! A handler for AWS's own Rust client, which asks the Runtime API for the next event.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// `event` is an API Gateway event of format 2.0 for an HTTP request, or the data of `mayfly invoke`.
async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let event = event.payload;
    if let Some(n) = event["n"].as_i64() {
        return Ok(json!({ "n": n + 1 }));
    }
    let query = event.get("queryStringParameters").cloned().unwrap_or_else(|| json!({}));
    let body = json!({ "message": "hello from rust", "path": event["rawPath"], "query": query });
    Ok(json!({
        "statusCode": 200,
        "headers": { "content-type": "application/json" },
        "body": body.to_string(),
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}
