//! One request's walk through the gateway.

use crate::{
    edge::{Gate, cors},
    headers::{self, REQUEST_ID},
    problem,
    routes::{Ask, Match, Routes},
};
use http::{HeaderValue, Method, Request, Response, Uri, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Instant};
use types::{Code, Fault, InvocationId};
use wire::{Body, Call, Invoke, Matched, Shape};

/// Who is at the other end of a connection.
pub(crate) struct Peer {
    ip: IpAddr,
    /// The same as text, made once for all its requests.
    pub(crate) text: HeaderValue,
}

impl Peer {
    pub(crate) fn new(ip: IpAddr) -> Self {
        Self { ip, text: HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown")) }
    }
}

/// What the connections of one lane share.
pub(crate) struct Service {
    pub(crate) routes: Routes,
    pub(crate) invoke: Arc<dyn Invoke>,
}

impl Service {
    /// Answers every request: a fault is an answer too.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Option<&Peer>,
    ) -> Result<Response<Body>, Infallible> {
        let arrived = Instant::now();
        let id = headers::request_id(request.headers());
        let mut response = match self.walk(request, id, peer, arrived).await {
            Ok(response) => response,
            Err(fault) => {
                tracing::debug!(%id, %fault, "refused");
                problem::response(&fault)
            }
        };
        response.headers_mut().insert(REQUEST_ID, headers::id_value(id));
        Ok(response)
    }

    async fn walk(
        &self,
        request: Request<Incoming>,
        id: InvocationId,
        peer: Option<&Peer>,
        arrived: Instant,
    ) -> Result<Response<Body>, Fault> {
        // Host, path, method and headers to an alias.
        let mut found = self.route(&request)?;
        // Who may call, how often, from which pages: before any instance starts, and only where the function asks for it.
        match found.gate.take() {
            Some(gate) => self.guarded(&gate, request, &found, id, peer, arrived).await,
            None => self.pass(request, &found, id, peer, arrived).await,
        }
    }

    /// What the function asked for around its call.
    async fn guarded(
        &self,
        gate: &Gate,
        mut request: Request<Incoming>,
        found: &Match,
        id: InvocationId,
        peer: Option<&Peer>,
        arrived: Instant,
    ) -> Result<Response<Body>, Fault> {
        if cors::is_preflight(request.method(), request.headers())
            && let Some(response) = gate.preflight(request.headers())
        {
            return Ok(response);
        }
        let origin = gate.origin(request.headers());
        let mut response = match gate.admit(request.headers_mut(), peer.map(|peer| peer.ip), arrived) {
            Ok(()) => match self.pass(request, found, id, peer, arrived).await {
                Ok(response) => response,
                Err(fault) => problem::response(&fault),
            },
            Err(refused) => *refused,
        };
        gate.mark(origin, &mut response);
        Ok(response)
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        found: &Match,
        id: InvocationId,
        peer: Option<&Peer>,
        arrived: Instant,
    ) -> Result<Response<Body>, Fault> {
        // The request as the function sees it: its own path, no header that is the connection's, who called.
        let request = forward(request, found, id, peer)?;
        // To an instance and back.
        let call = Call { id, request, shape: Shape::Http, arrived, deadline: arrived, peer: peer.map(|peer| peer.ip) };
        let mut response = self.invoke.invoke(&found.target, call).await?;
        headers::remove_hop_by_hop(response.headers_mut());
        // A proxy answers in its own version, whatever the instance speaks (RFC 9110 §2.5).
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }

    fn route(&self, request: &Request<Incoming>) -> Result<Match, Fault> {
        let host = request.uri().host().or_else(|| request.headers().get(header::HOST)?.to_str().ok());
        let (path, method, headers) = (request.uri().path(), request.method(), request.headers());
        if cors::is_preflight(method, headers)
            && let Some(method) = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)
            && let Ok(method) = Method::from_bytes(method.as_bytes())
            && let Ok(found) = self.routes.find(Ask { host, path, method: &method, headers })
            && found.gate.as_ref().is_some_and(|gate| gate.has_cors())
        {
            // A preflight goes where the request will go.
            return Ok(found);
        }
        self.routes.find(Ask { host, path, method, headers })
    }
}

fn forward(
    request: Request<Incoming>,
    found: &Match,
    id: InvocationId,
    peer: Option<&Peer>,
) -> Result<Request<Body>, Fault> {
    let (mut parts, body) = request.into_parts();
    headers::remove_hop_by_hop(&mut parts.headers);
    headers::add_forwarded(&mut parts.headers, peer.map(|peer| &peer.text), &parts.uri.path()[..found.strip]);
    parts.headers.insert(REQUEST_ID, headers::id_value(id));
    headers::remove_ours(&mut parts.headers);
    if let Some(route) = &found.route {
        let matched = Matched(Arc::clone(route));
        headers::add_parameters(&mut parts.headers, &matched, parts.uri.path());
        parts.extensions.insert(matched);
    }
    parts.uri = own_path(&parts.uri, found.strip)?;
    let body = if hyper::body::Body::is_end_stream(&body) { Body::Empty } else { Body::Incoming(body) };
    Ok(Request::from_parts(parts, body))
}

/// Path and query without the route's own part; never empty.
fn own_path(uri: &Uri, strip: usize) -> Result<Uri, Fault> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let bad = |error: http::Error| Fault::new(Code::BadRequest, format!("the path cannot be read: {error}"));
    if strip == 0 {
        return match uri.scheme() {
            None => Ok(uri.clone()),
            Some(_) => Uri::builder().path_and_query(whole).build().map_err(bad),
        };
    }
    let rest = &whole[strip..];
    let own = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Uri::builder().path_and_query(own).build().map_err(bad)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_function_sees_its_own_path() {
        for (uri, strip, want) in [
            ("/hello", 6, "/"),
            ("/hello/", 6, "/"),
            ("/hello/a/b?x=1", 6, "/a/b?x=1"),
            ("/hello?x=1", 6, "/?x=1"),
            ("/a/b?x", 0, "/a/b?x"),
            ("http://h.example/a?x", 0, "/a?x"),
        ] {
            assert_eq!(own_path(&uri.parse().unwrap(), strip).unwrap(), want, "{uri}");
        }
    }
}
