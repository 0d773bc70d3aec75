//! Contract `command`: a process for each call, started by the guest; body on stdin, stdout back.
//!
//! The answer's head waits for the process to end or for [`HOLD_MAX`] bytes, so that an exit status can become a fault.

use crate::link::{limit, vitals::Vitals};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header, request::Parts};
use http_body::Body as _;
use sandbox::command::{self, Ended, Event, How, Invoke, Receiver, Sender};
use std::{collections::BTreeMap, future::poll_fn, io, path::PathBuf, pin::Pin, time::Instant};
use tokio::{sync::mpsc, time::timeout_at};
use types::{Code, Fault, record::Outcome};
use wire::{Body, BodyError, BoxFuture, Call, End, Link, Permit, Refusal};

/// Output that is held back until the process ends; more is streamed, and a later failure cuts the answer.
const HOLD_MAX: usize = 1 << 20;

pub(crate) struct CommandLink {
    socket: PathBuf,
    vitals: Vitals,
}

impl CommandLink {
    pub(crate) fn new(socket: PathBuf, vitals: Vitals) -> Self {
        Self { socket, vitals }
    }

    async fn run(&self, call: Call, permit: Permit) -> Result<Response<Body>, Refusal> {
        // The guest is a process of ours: a connection costs a few µs, so none is kept.
        let (sender, receiver) = match command::connect(&self.socket).await {
            Ok(connection) => connection,
            Err(error) => {
                let fault = Fault::new(Code::Unavailable, format!("cannot connect to the guest: {error}"));
                permit.finish(End { outcome: Outcome::Crashed, ..End::fault(&fault) });
                return Err(Refusal::unsent(fault, call));
            }
        };
        let deadline = call.deadline;
        let (parts, body) = call.request.into_parts();
        let invoke = Invoke { id: call.id.to_string(), env: environment(&parts) };
        let body = match limit::request(body, self.vitals.revision.spec.request_max) {
            Ok(body) => body,
            Err(fault) => {
                permit.finish(End::fault(&fault));
                return Err(fault.into());
            }
        };
        let process = Process {
            receiver,
            upload: Some(Box::pin(upload(sender, invoke, body))),
            sender: None,
            vitals: self.vitals.clone(),
            deadline,
            permit: Some(permit),
            sent: 0,
        };
        process.answer().await.map_err(Refusal::from)
    }
}

impl Link for CommandLink {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<Response<Body>, Refusal>> {
        Box::pin(self.run(call, permit))
    }
}

type Upload = Pin<Box<dyn Future<Output = Result<Sender, Fault>> + Send>>;

/// Sends the call and its body. A guest that is gone is the receiver's news.
///
/// # Errors
/// That of the caller's body: too large, or broken off.
async fn upload(mut sender: Sender, invoke: Invoke, mut body: Body) -> Result<Sender, Fault> {
    let mut written = sender.begin(&invoke).await;
    while written.is_ok() {
        let data = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => {
                let _ = sender.finish().await;
                break;
            }
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(body_fault(error)),
        };
        written = sender.data(&data).await;
    }
    Ok(sender)
}

fn body_fault(error: BodyError) -> Fault {
    match error.downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(error) => Fault::new(Code::BadRequest, format!("the body broke off: {error}")),
    }
}

/// One running process. Dropping it closes the connection, and the guest kills the process.
struct Process {
    receiver: Receiver,
    /// Sends the body while output is read: a process may write before it has read everything.
    upload: Option<Upload>,
    /// Kept after the upload: closing one direction would end the call.
    sender: Option<Sender>,
    vitals: Vitals,
    deadline: Instant,
    permit: Option<Permit>,
    /// Bytes of output so far.
    sent: u64,
}

impl Process {
    /// Holds the output until the process ends; streams it where there is too much to hold.
    async fn answer(mut self) -> Result<Response<Body>, Fault> {
        let mut held = BytesMut::new();
        loop {
            match self.next().await {
                Ok(Some(data)) => held.extend_from_slice(&data),
                Ok(None) => {
                    self.end(End::ok(200));
                    let text = std::str::from_utf8(&held).is_ok();
                    return Ok(response(Body::from(held.freeze()), text));
                }
                Err(fault) => {
                    self.end(End::fault(&fault));
                    return Err(fault);
                }
            }
            if held.len() >= HOLD_MAX {
                // A character may be cut at the end; what is text up to there is text.
                let text = std::str::from_utf8(&held).map_or_else(|error| error.error_len().is_none(), |_| true);
                return Ok(response(self.stream(held.freeze()), text));
            }
        }
    }

    fn end(&mut self, end: End) {
        if let Some(permit) = self.permit.take() {
            permit.finish(end);
        }
    }

    /// A piece of output, or `None` once the process ended well; until the deadline.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match timeout_at(self.deadline.into(), self.next_event()).await {
            Ok(Ok(event)) => self.take(event),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(self.vitals.overdue()),
        }
    }

    async fn next_event(&mut self) -> Result<Event, Fault> {
        loop {
            let event: io::Result<Event> = match &mut self.upload {
                None => self.receiver.next().await,
                Some(upload) => tokio::select! {
                    biased;
                    event = self.receiver.next() => event,
                    sent = upload => {
                        self.sender = Some(sent?);
                        self.upload = None;
                        continue;
                    }
                },
            };
            return match event {
                Ok(event) => Ok(event),
                Err(_) => Err(self.vitals.why_gone().await),
            };
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Bytes>, Fault> {
        match event {
            Event::Data(data) => {
                self.sent += data.len() as u64;
                limit::check_response(self.sent, self.vitals.revision.spec.response_max)?;
                Ok(Some(data))
            }
            Event::Ended(ended) => fault_of(&ended).map_or(Ok(None), Err),
        }
    }

    /// The rest of the output as a body.
    fn stream(mut self, first: Bytes) -> Body {
        let (sender, receiver) = mpsc::channel(4);
        chassis::task::spawn("command output", async move {
            let mut next = Ok(Some(first));
            loop {
                match next {
                    Ok(Some(data)) => {
                        if sender.send(Ok(data)).await.is_err() {
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
                next = self.next().await;
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
fn fault_of(ended: &Ended) -> Option<Fault> {
    let last = ended.stderr_tail.trim().lines().last().map(|line| format!(": {line}")).unwrap_or_default();
    let what = match &ended.how {
        How::Status(0) => return None,
        How::Status(status) => format!("the command ended with status {status}{last}"),
        How::Signal(signal) => format!("the command was ended by signal {signal}{last}"),
        How::ExecFailed(error) => format!("the command cannot be started: {error}"),
    };
    Some(Fault::new(Code::FunctionError, what))
}

/// The request as variables, named as OpenFaaS' classic watchdog names them.
fn environment(parts: &Parts) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    // `Proxy` would become HTTP_PROXY, which programs take for their own configuration ("httpoxy").
    // And `X_Forwarded_For` would become the variable of `X-Forwarded-For`, which is ours to say.
    for name in parts.headers.keys().filter(|name| name.as_str() != "proxy" && !name.as_str().contains('_')) {
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
