//! One outbound call that was admitted, to the head of its answer.

use crate::{
    Error, Outbound,
    body::Answer,
    dial::{Sender, Target},
    outbound::Running,
};
use http::{Request, Response, Uri};
use http_body::Body as _;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use types::{Code, Fault};
use wire::Body;

/// What the code itself wants; the binding's own bounds hold where they are shorter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub idle: Option<Duration>,
}

/// The right to make one call. Dropped unsent, it says nothing about the dependency.
pub struct Ticket {
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) running: Running,
    pub(crate) target: Target,
    pub(crate) key: String,
    pub(crate) began: Instant,
}

impl Ticket {
    /// Sends the request and waits for the head of the answer, whose body streams.
    ///
    /// # Errors
    /// What failed; the dependency's circuit has heard of it.
    pub async fn send(self, request: Request<Body>, wish: Timeouts) -> Result<Response<Body>, Error> {
        let (outbound, key, began) = (Arc::clone(&self.outbound), self.key.clone(), self.began);
        let rule = Arc::clone(&self.running.0);
        let answer = self.exchange(request, wish).await;
        let (failed, outcome) = match &answer {
            Ok(response) => (Some(response.status().is_server_error()), "answered"),
            Err(error) => (error.failed(), error.outcome()),
        };
        if let Some(failed) = failed {
            outbound.ended(&rule, &key, failed, began);
        }
        outbound.count(outcome);
        answer
    }

    async fn exchange(self, request: Request<Body>, wish: Timeouts) -> Result<Response<Body>, Error> {
        let http = &self.running.0.http;
        let shorter =
            |wish: Option<Duration>, bound: types::Millis| wish.map_or(bound.duration(), |w| w.min(bound.duration()));
        let first_byte = shorter(wish.first_byte, http.first_byte_timeout);
        let connect = shorter(wish.connect, http.connect_timeout);
        let idle = shorter(wish.idle, http.idle_timeout);
        let mut request = origin(request)?;
        if let Some(max) = http.request_max {
            let over = |_| Fault::new(Code::RequestTooLarge, format!("the outbound request's body is over {max}"));
            let (parts, body) = request.into_parts();
            let body = body.bounded(max.0, over).map_err(|_| Error::RequestTooLarge(max.0))?;
            request = Request::from_parts(parts, body);
        }
        while let Some(mut sender) = self.running.0.take(&self.key) {
            match attempt(&mut sender, request, first_byte).await {
                Ok(response) => return self.answer(response, sender, idle),
                // It had closed before a byte was sent: a new one gets the same request.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(error),
            }
        }
        let dialed = timeout(connect, self.outbound.shared.dialer.dial(&self.target, http.private)).await;
        let mut sender = dialed.map_err(|_| Error::ConnectTimeout(connect))??;
        let response = attempt(&mut sender, request, first_byte).await.map_err(|(error, _)| error)?;
        self.answer(response, sender, idle)
    }

    fn answer(
        self,
        response: Response<hyper::body::Incoming>,
        sender: Sender,
        idle: Duration,
    ) -> Result<Response<Body>, Error> {
        let max = self.running.0.http.response_max.map(|max| max.0);
        if let Some(max) = max.filter(|max| response.body().size_hint().lower() > *max) {
            return Err(Error::ResponseTooLarge(max));
        }
        Ok(response.map(|body| Answer::new(body, sender, self.running, self.key, idle, max).into_body()))
    }
}

/// The answer's head, or what failed, with the request where no byte of it was sent.
// It comes back as it went in: boxing it would be for the rare case.
#[allow(clippy::result_large_err)]
async fn attempt(
    sender: &mut Sender,
    request: Request<Body>,
    limit: Duration,
) -> Result<Response<hyper::body::Incoming>, (Error, Option<Request<Body>>)> {
    match timeout(limit, sender.try_send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut error)) => {
            let unsent = error.take_message();
            Err((Error::Broken(error.into_error()), unsent))
        }
        Err(_) => Err((Error::FirstByteTimeout(limit), None)),
    }
}

/// As a server that is no proxy wants it: the path alone, and who is meant in `Host` (RFC 9112 §3.2.1).
fn origin(mut request: Request<Body>) -> Result<Request<Body>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Invalid(error.to_string());
    if let Some(authority) = request.uri().authority() {
        let host = http::HeaderValue::from_str(authority.as_str()).map_err(|error| wrong(&error))?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = path.parse().map_err(|error| wrong(&error))?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_11;
    Ok(request)
}
