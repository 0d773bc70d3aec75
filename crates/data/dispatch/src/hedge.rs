//! A second instance for a call whose answer is late: the first answer counts, the other call is given up.

use crate::pool::Pool;
use http::{Method, Request, Response};
use std::{pin::pin, time::Duration};
use types::InstanceId;
use wire::{Body, Call, Refusal};

/// Another copy of a call that may be made twice: `GET` or `HEAD` without a body (RFC 9110 §9.2.1: safe methods).
pub(crate) fn copy(call: &Call) -> Option<Call> {
    let request = &call.request;
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    // An upgrade is a conversation, not a question.
    if request.headers().contains_key(http::header::UPGRADE) {
        return None;
    }
    let mut copy = Request::new(Body::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    Some(Call {
        id: call.id,
        request: Box::new(copy),
        shape: call.shape,
        arrived: call.arrived,
        deadline: call.deadline,
        peer: call.peer,
    })
}

/// `first` is on its way at `instance`; after `patience`, `spare` goes to another one that is free.
pub(crate) async fn race(
    pool: &Pool,
    first: impl Future<Output = Result<Response<Body>, Refusal>>,
    spare: Call,
    instance: InstanceId,
    patience: Duration,
) -> Result<Response<Body>, Refusal> {
    let mut first = pin!(first);
    if let Ok(answer) = tokio::time::timeout(patience, &mut first).await {
        return answer;
    }
    let Some((link, permit)) = pool.spare(&spare, instance) else { return first.await };
    pool.metrics.hedged();
    let mut second = pin!(link.call(spare, permit));
    tokio::select! {
        biased;
        answer = &mut first => match answer {
            Ok(answer) => Ok(answer),
            Err(refusal) => second.await.map_err(|_| refusal),
        },
        answer = &mut second => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => first.await,
        },
    }
}
