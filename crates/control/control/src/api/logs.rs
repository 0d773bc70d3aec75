//! A function's output, as lines of JSON, as it comes.

use super::{
    State,
    answer::lines,
    input::{Asked, Names},
    problem::Refusal,
};
use axum::{body::Body, extract, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{Code, Fault, FunctionName, InvocationId, LogLine, RevisionId, fault::Problem};
use wire::LogFilter;

/// Lines shown where the request says nothing, and at most.
const TAIL: usize = 100;
const TAIL_MAX: usize = 10_000;
/// Lines sent together when they are there: a system call for each would cost more than the line.
const BURST_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    follow: bool,
    tail: Option<usize>,
    revision: Option<u32>,
    invocation: Option<InvocationId>,
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/logs", tag = "logs",
    params(
        ("name" = String, Path,),
        ("follow" = Option<bool>, Query, description = "goes on with what comes"),
        ("tail" = Option<usize>, Query, description = "the last so many lines, 100 where left out, 10000 at most"),
        ("revision" = Option<u32>, Query,),
        ("invocation" = Option<String>, Query, description = "the lines of one call"),
    ),
    responses(
        (status = 200, body = LogLine, content_type = "application/x-ndjson", description = "one document per line"),
        (status = 404, body = Problem),
    ),
)]
/// A function's output.
pub(crate) async fn read(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(which): Asked<Which>,
) -> Result<Response, Refusal> {
    let function = names.function()?;
    check_known(&state, &function)?;
    let tail = which.tail.unwrap_or(TAIL);
    if tail > TAIL_MAX {
        return Err(Fault::new(Code::BadRequest, format!("tail: {tail} is over {TAIL_MAX}")).into());
    }
    let filter = LogFilter {
        revision: which.revision.map(|number| RevisionId { function: function.clone(), number }),
        function,
        invocation: which.invocation,
        tail,
        follow: which.follow,
    };
    let receiver = state.deps.logs.read(filter).await;
    Ok(lines(stream_of(receiver, state.shutdown.clone())))
}

/// A function that never went live has no record, but its first instances said why.
fn check_known(state: &State, name: &FunctionName) -> Result<(), Fault> {
    let registry = &state.deps.registry;
    let Err(fault) = registry.function(name) else { return Ok(()) };
    let tried = registry.deployments()?.iter().any(|deployment| deployment.function == *name);
    if tried { Ok(()) } else { Err(fault) }
}

fn stream_of(receiver: mpsc::Receiver<LogLine>, shutdown: CancellationToken) -> Body {
    let next = |(mut receiver, shutdown): (mpsc::Receiver<LogLine>, CancellationToken)| async move {
        let mut burst = Vec::new();
        tokio::select! {
            count = receiver.recv_many(&mut burst, BURST_MAX) => if count == 0 { return Ok(None) },
            () = shutdown.cancelled() => return Ok(None),
        }
        Ok::<_, serde_json::Error>(Some((encode(&burst)?, (receiver, shutdown))))
    };
    Body::from_stream(stream::try_unfold((receiver, shutdown), next))
}

fn encode(burst: &[LogLine]) -> Result<Bytes, serde_json::Error> {
    let mut chunk = BytesMut::new().writer();
    for line in burst {
        serde_json::to_writer(&mut chunk, line)?;
        chunk.get_mut().put_u8(b'\n');
    }
    Ok(chunk.into_inner().freeze())
}
