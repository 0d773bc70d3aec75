//! A handler for AWS's own Rust client, which speaks the Lambda Runtime API.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// The event is an API Gateway event (payload format 2.0) for an HTTP request, or the data of `mayfly invoke`.
/// A value without `statusCode` is answered as JSON.
async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let event = event.payload;
    let query = &event["queryStringParameters"]["name"];
    let name = query.as_str().or_else(|| event["name"].as_str()).unwrap_or("world");
    println!("hello, {name}");
    Ok(json!({ "message": format!("hello, {name}") }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}
