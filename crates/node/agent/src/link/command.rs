//! Contract `command`: a process for each call, started by the guest; body on stdin, stdout back.
//!
//! The answer's head waits for the process to end or for [`HOLD_MAX`] bytes, so that an exit status can become a fault.

use crate::{
    address::Address,
    link::{
        frame::{self, Frame, Framed, ReadError},
        limit,
        vitals::Vitals,
    },
};
use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, future::poll_fn, pin::Pin, time::Instant};
use tokio::{sync::mpsc, time::timeout_at};
use types::{Code, Fault, InvocationId, record::Outcome};
use wire::{Body, BodyError, BoxFuture, Call, End, Link, Permit, Refusal};

/// Output that is held back until the process ends; more is streamed, and a later failure cuts the answer.
const HOLD_MAX: usize = 1 << 20;
/// Largest frame that the guest sends.
const FRAME_MAX: u64 = 1 << 20;
/// Pieces of a request's body go to the guest in frames of at most this size.
const CHUNK: usize = 64 << 10;

pub(crate) struct CommandLink {
    address: Address,
    vitals: Vitals,
}

#[derive(Serialize)]
struct Invoke {
    id: InvocationId,
    env: BTreeMap<String, String>,
}

/// How the process ended, as the guest tells it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Exit {
    status: Option<i32>,
    signal: Option<i32>,
    exec_failed: Option<String>,
    stderr_tail: String,
}

impl CommandLink {
    pub(crate) fn new(address: Address, vitals: Vitals) -> Self {
        Self { address, vitals }
    }

    async fn run(&self, call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        // The guest is a process of ours: a connection costs a few µs, so none is kept.
        let connection = match self.address.connect().await {
            Ok(stream) => Framed::new(stream),
            Err(error) => {
                let fault = Fault::new(Code::Unavailable, format!("cannot connect to the guest: {error}"));
                permit.finish(End { outcome: Outcome::Crashed, ..End::fault(&fault) });
                return Err(Refusal::unsent(fault, call));
            }
        };
        let deadline = call.deadline;
        let mut process = Process { connection, vitals: self.vitals.clone(), deadline, permit: Some(permit), sent: 0 };
        let held = process.start(call).await;
        match held {
            Ok(Held::Whole(output)) => {
                process.end(End::ok(200));
                Ok(response(Body::from(output.clone()), std::str::from_utf8(&output).is_ok()))
            }
            Ok(Held::Part(output)) => {
                let text = std::str::from_utf8(&output).is_ok();
                Ok(response(process.stream(output.into()), text))
            }
            Err(fault) => {
                process.end(End::fault(&fault));
                Err(fault.into())
            }
        }
    }
}

impl Link for CommandLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.run(call, permit))
    }
}

enum Held {
    Whole(Vec<u8>),
    Part(Vec<u8>),
}

/// One running process. Dropping it closes the connection, and the guest kills the process.
struct Process {
    connection: Framed,
    vitals: Vitals,
    deadline: Instant,
    permit: Option<Permit>,
    /// Bytes of output so far.
    sent: u64,
}

impl Process {
    fn end(&mut self, end: End) {
        if let Some(permit) = self.permit.take() {
            permit.finish(end);
        }
    }

    /// Sends the call, and reads output until the process ends or there is too much to hold.
    async fn start(&mut self, call: Call) -> Result<Held, Fault> {
        let (parts, body) = call.request.into_parts();
        let mut frame = Frame::open(frame::INVOKE, 1024);
        let invoke = Invoke { id: call.id, env: environment(&parts) };
        serde_json::to_writer(frame.payload(), &invoke).map_err(Fault::internal)?;
        let body = limit::request(body, self.vitals.revision.spec.request_max)?;
        match timeout_at(self.deadline.into(), self.talk(&frame.close(), body)).await {
            Ok(held) => held,
            Err(_) => Err(self.vitals.overdue()),
        }
    }

    async fn talk(&mut self, invoke: &[u8], mut body: Body) -> Result<Held, Fault> {
        if self.connection.write(invoke).await.is_err() {
            return Err(self.vitals.why_gone().await);
        }
        let mut output = Vec::new();
        let mut sending = true;
        // Both ways at once: a process may answer before it has read everything.
        while sending {
            let piece = tokio::select! {
                biased;
                next = self.connection.read(FRAME_MAX) => match self.take(next).await? {
                    Some(data) => {
                        output.extend_from_slice(&data);
                        if output.len() >= HOLD_MAX { break }
                        continue;
                    }
                    None => return Ok(Held::Whole(output)),
                },
                piece = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)) => piece,
            };
            sending = self.send(piece).await?;
        }
        if sending {
            return self.rest_of_body(body, output).await;
        }
        while output.len() < HOLD_MAX {
            let next = self.connection.read(FRAME_MAX).await;
            match self.take(next).await? {
                Some(data) => output.extend_from_slice(&data),
                None => return Ok(Held::Whole(output)),
            }
        }
        Ok(Held::Part(output))
    }

    /// Passes one piece of the body on; false after the last.
    async fn send(&mut self, piece: Option<Result<http_body::Frame<Bytes>, BodyError>>) -> Result<bool, Fault> {
        let data = match piece {
            None => Bytes::new(),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                let fault = error.downcast::<Fault>();
                return Err(fault.map_or_else(
                    |error| Fault::new(Code::BadRequest, format!("the body broke off: {error}")),
                    |f| *f,
                ));
            }
        };
        let last = data.is_empty();
        for chunk in data.chunks(CHUNK) {
            self.write(frame::DATA, chunk).await?;
        }
        if last {
            self.write(frame::FINISH, &[]).await?;
        }
        Ok(!last)
    }

    async fn write(&mut self, kind: u8, data: &[u8]) -> Result<(), Fault> {
        let mut frame = Frame::open(kind, data.len());
        frame.payload().extend_from_slice(data);
        match self.connection.write(&frame.close()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.vitals.why_gone().await),
        }
    }

    /// The process writes much before it has read everything: read on, send on, hold on to no more than it takes.
    async fn rest_of_body(&mut self, mut body: Body, mut output: Vec<u8>) -> Result<Held, Fault> {
        loop {
            let piece = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            if !self.send(piece).await? {
                break;
            }
        }
        let next = self.connection.read(FRAME_MAX).await;
        match self.take(next).await? {
            Some(data) => {
                output.extend_from_slice(&data);
                Ok(Held::Part(output))
            }
            None => Ok(Held::Whole(output)),
        }
    }

    /// A piece of output, or `None` once the process ended well.
    async fn take(&mut self, next: Result<(u8, Vec<u8>), ReadError>) -> Result<Option<Vec<u8>>, Fault> {
        match next {
            Ok((frame::DATA, data)) => {
                self.sent += data.len() as u64;
                limit::check_response(self.sent, self.vitals.revision.spec.response_max)?;
                Ok(Some(data))
            }
            Ok((frame::EXIT, json)) => exit_fault(&json).map_or(Ok(None), Err),
            Ok((kind, _)) => Err(Fault::internal(format!("the guest sent a frame of kind {kind}"))),
            Err(ReadError::TooLong(length)) => Err(Fault::internal(format!("the guest announced {length} bytes"))),
            Err(ReadError::Broken) => Err(self.vitals.why_gone().await),
        }
    }

    /// The rest of the output as a body.
    fn stream(mut self, first: Bytes) -> Body {
        let (sender, receiver) = mpsc::channel(4);
        chassis::task::spawn("command output", async move {
            let mut next = Ok(Some(first.to_vec()));
            loop {
                match next {
                    Ok(Some(data)) => {
                        if sender.send(Ok(Bytes::from(data))).await.is_err() {
                            // The caller went away: the permit drops as cancelled, the guest kills the process.
                            return;
                        }
                    }
                    Ok(None) => return self.end(End::ok(200)),
                    Err(fault) => {
                        self.end(End::fault(&fault));
                        let _ = sender.send(Err(fault.into())).await;
                        return;
                    }
                }
                next = match timeout_at(self.deadline.into(), self.connection.read(FRAME_MAX)).await {
                    Ok(frame) => self.take(frame).await,
                    Err(_) => Err(self.vitals.overdue()),
                };
            }
        });
        Body::stream(Received(receiver))
    }
}

struct Received(mpsc::Receiver<Result<Bytes, BodyError>>);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BodyError;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|next| next.map(|data| data.map(http_body::Frame::data)))
    }
}

fn response(body: Body, text: bool) -> Response<Body> {
    let kind = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The fault that the end of a process means; `None` for status 0.
fn exit_fault(json: &[u8]) -> Option<Fault> {
    let exit: Exit = serde_json::from_slice(json).unwrap_or_default();
    let tail = exit.stderr_tail.trim();
    let last = tail.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
    let what = match exit {
        Exit { exec_failed: Some(error), .. } => format!("the command cannot be started: {error}"),
        Exit { status: Some(0), .. } => return None,
        Exit { status: Some(status), .. } => format!("the command ended with status {status}{last}"),
        Exit { signal: Some(signal), .. } => format!("the command was ended by signal {signal}{last}"),
        Exit { .. } => "the command ended in an unknown way".to_owned(),
    };
    Some(Fault::new(Code::FunctionError, what))
}

/// The request as variables, named as OpenFaaS' classic watchdog names them.
fn environment(parts: &Parts) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    // `Proxy` would become HTTP_PROXY, which programs take for their own configuration ("httpoxy").
    for name in parts.headers.keys().filter(|name| name.as_str() != "proxy") {
        let values = parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = values.collect::<Vec<_>>().join(",");
        if value.contains('\0') {
            continue;
        }
        env.insert(format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_")), value.clone());
        env.insert(format!("Http_{}", title_case(name.as_str())), value);
    }
    env.insert("Http_Method".into(), parts.method.to_string());
    env.insert("Http_Path".into(), parts.uri.path().to_owned());
    env.insert("Http_Query".into(), parts.uri.query().unwrap_or("").to_owned());
    env
}

/// `x-request-id` → `X_Request_Id`.
fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    });
    words.collect::<Vec<_>>().join("_")
}
