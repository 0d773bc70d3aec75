//! One request's walk through the gateway.

use crate::{
    access::{Entry, Log},
    answer::{Answer, Grpc},
    caller::{self, Peer, Trusted},
    edge::{Asker, Context, Gate, Issuers, Refusal, Verified, cors},
    grpc,
    headers::{self, Names, REQUEST_ID},
    options::Options,
    problem,
    routes::{Ask, Match, Routes},
    target, trace, turn,
};
use http::{Method, Request, Response, Uri, Version, header, uri::PathAndQuery};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::time::{sleep_until, timeout_at};
use types::{Code, Fault, InvocationId};
use wire::{Body, BoxFuture, Call, Invoke, Matched, Shape};

/// Most headers of a request: what hyper's parser of HTTP/1.1 takes without a heap.
pub(crate) const HEADERS_MAX: usize = 100;

/// Whose request it is.
#[derive(Clone, Copy)]
struct Caller<'a> {
    id: InvocationId,
    /// What its head has, as it came.
    names: Names,
    peer: &'a Peer,
    arrived: Instant,
    /// Faults are told as gRPC tells them.
    grpc: bool,
    /// Whom the function's gate let in.
    verified: Option<&'a Verified>,
}

/// What the connections of one lane share.
pub(crate) struct Service {
    routes: Routes,
    invoke: Arc<dyn Invoke>,
    trusted: Trusted,
    limits: Limits,
    issuers: Arc<Issuers>,
    /// Of functions that have none of their own, where their tenant has a limit.
    open: Gate,
    log: Option<Log>,
}

/// What the services of all lanes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub invoke: Arc<dyn Invoke>,
    pub issuers: Arc<Issuers>,
    pub log: Option<Log>,
}

/// Of every request, whoever it is for.
#[derive(Debug, Clone, Copy)]
struct Limits {
    head: usize,
    url: usize,
    body: Option<u64>,
}

impl Service {
    pub(crate) fn new(options: &Options, routes: Routes, shared: Shared) -> Self {
        let Shared { invoke, issuers, log } = shared;
        let limits = Limits { head: options.head_max, url: options.url_max, body: options.body_max };
        Self { routes, invoke, trusted: options.trusted.clone(), limits, issuers, open: Gate::default(), log }
    }

    /// Answers every request: a fault is an answer too.
    pub(crate) async fn answer(&self, request: Box<Request<Body>>, peer: &Peer) -> Response<Answer> {
        let arrived = Instant::now();
        let names = Names::of(request.headers());
        let id = headers::request_id(request.headers(), names);
        let grpc = problem::is_grpc_call(&request);
        let mut entry = self.log.as_ref().map(|log| log.entry(&request, id, peer.secure, arrived));
        let limit = if grpc { grpc::timeout(request.headers()) } else { None };
        let caller = Caller { id, names, peer, arrived, grpc, verified: None };
        let walked = match limit {
            None => self.walk(request, caller, entry.as_deref_mut()).await,
            Some(limit) => self.walk_within(limit, request, caller, entry.as_deref_mut()).await,
        };
        let (mut response, fault) = match walked {
            Ok(response) => (response, None),
            Err(fault) => {
                tracing::debug!(%id, %fault, "refused");
                let response = problem::answer(&fault, grpc);
                (response, Some(fault))
            }
        };
        response.headers_mut().insert(REQUEST_ID, headers::id_value(id));
        if let Some(entry) = &mut entry {
            let is_empty = http_body::Body::is_end_stream(response.body());
            entry.head(response.status().as_u16(), response.headers(), fault.as_ref(), is_empty);
        }
        response.map(|body| {
            let mut answer = Answer::new(body);
            answer.entry = entry;
            answer.grpc = match limit {
                Some(limit) => Grpc::Until(Box::new((limit, Box::pin(sleep_until((arrived + limit).into()))))),
                None if grpc => Grpc::Yes,
                None => Grpc::No,
            };
            answer
        })
    }

    /// The walk, until the caller's own deadline. Boxed: few have one, and all others would be longer by it.
    fn walk_within<'a>(
        &'a self,
        limit: Duration,
        request: Box<Request<Body>>,
        caller: Caller<'a>,
        entry: Option<&'a mut Entry>,
    ) -> BoxFuture<'a, Result<Response<Body>, Fault>> {
        let until = (caller.arrived + limit).into();
        Box::pin(async move {
            let walked = timeout_at(until, self.walk(request, caller, entry)).await;
            walked.unwrap_or_else(|_| Err(grpc::overdue(limit)))
        })
    }

    async fn walk(
        &self,
        request: Box<Request<Body>>,
        caller: Caller<'_>,
        mut entry: Option<&mut Entry>,
    ) -> Result<Response<Body>, Fault> {
        // Nobody sends more than is sensible, and everybody says where it goes.
        self.limits.check(&request, caller.names)?;
        target::check(&request)?;
        // Host, path, method and headers to an alias.
        let found = self.route(&request)?;
        if let Some(entry) = &mut entry {
            entry.routed(found.target.function.as_str());
        }
        // Who may call, how often, from which pages: before any instance starts, and only where the function asks for it.
        match found.gate.as_deref().or_else(|| found.tenant.as_ref().map(|_| &self.open)) {
            // On the heap: what a gate needs is not in the state of calls without one.
            Some(gate) => Box::pin(self.guarded(gate, request, &found, caller, entry)).await,
            None => self.pass(request, &found, caller, entry).await,
        }
    }

    /// What the function asked for around its call.
    async fn guarded(
        &self,
        gate: &Gate,
        mut request: Box<Request<Body>>,
        found: &Match,
        caller: Caller<'_>,
        entry: Option<&mut Entry>,
    ) -> Result<Response<Body>, Fault> {
        if cors::is_preflight(request.method(), request.headers())
            && let Some(response) = gate.preflight(request.headers())
        {
            return Ok(response);
        }
        let wish = gate.wish(&request);
        let asker = Asker {
            peer: caller::client_of(request.headers(), caller.peer, &self.trusted),
            at: caller.arrived,
            tenant: found.tenant.as_deref(),
        };
        let context = Context {
            function: &found.target.function,
            now: SystemTime::now().into(),
            issuers: &self.issuers,
            key: &|hash| self.routes.key(hash),
        };
        let mut response = match gate.admit(request.headers_mut(), asker, &context).await {
            Ok(admitted) => {
                let caller = Caller { verified: Some(&admitted.verified), ..caller };
                let mut response = match self.pass(request, found, caller, entry).await {
                    Ok(response) => response,
                    Err(fault) => problem::answer(&fault, caller.grpc),
                };
                admitted.standing.tell(response.headers_mut());
                response
            }
            Err(refusal) => refused(*refusal, caller),
        };
        gate.finish(wish, &mut response);
        Ok(response)
    }

    async fn pass(
        &self,
        mut request: Box<Request<Body>>,
        found: &Match,
        caller: Caller<'_>,
        entry: Option<&mut Entry>,
    ) -> Result<Response<Body>, Fault> {
        // The request as the function sees it: its own path, no header that is the connection's, who called, its trace.
        let Caller { id, arrived, .. } = caller;
        let client = self.forward(&mut request, found, caller)?;
        if let Some(entry) = entry {
            entry.called_by(client, request.headers().get(trace::TRACEPARENT));
        }
        // To an instance and back.
        let call = Call { id, request, shape: Shape::Http, arrived, deadline: arrived, peer: Some(client) };
        let mut response = self.invoke.invoke(&found.target, call).await?;
        let status = response.status();
        headers::of_response(response.headers_mut(), status);
        // A proxy answers in its own version, whatever the instance speaks (RFC 9110 §2.5).
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }

    fn route(&self, request: &Request<Body>) -> Result<Match, Fault> {
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

    /// Makes the request what the function is to see, and says who called.
    fn forward(
        &self,
        request: &mut Request<Body>,
        found: &Match,
        Caller { id, names, peer, verified, .. }: Caller<'_>,
    ) -> Result<IpAddr, Fault> {
        let uri = std::mem::take(request.uri_mut());
        let upgrade = request.extensions().get::<OnUpgrade>().is_some();
        let joined = request.version() == Version::HTTP_2;
        let headers = request.headers_mut();
        // Grown once, not for one after the other.
        headers.reserve(headers::ADDED);
        headers::take_host(headers, &uri);
        if joined {
            headers::join_cookies(headers);
        }
        if names.hop {
            headers::of_request(headers, upgrade);
        }
        if names.underscore {
            caller::remove_lookalikes(headers);
        }
        let client = caller::forwarded(headers, names.who, peer, &self.trusted, &uri.path()[..found.strip]);
        trace::ensure(headers, names.trace, id);
        if names.ours {
            headers::remove_ours(headers);
        }
        headers.insert(REQUEST_ID, headers::id_value(id));
        if let Some(verified) = verified {
            headers::add_verified(headers, verified);
            request.extensions_mut().extend(verified.extensions());
        }
        if let Some(route) = &found.route {
            let matched = Matched(Arc::clone(route));
            headers::add_parameters(request.headers_mut(), &matched, uri.path());
            request.extensions_mut().insert(matched);
        }
        *request.uri_mut() = own_path(uri, found.strip)?;
        if let Some(max) = self.limits.body {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = body.bounded(max, |size| body_too_large(size, max))?;
        }
        Ok(client)
    }
}

/// A request as hyper has it. It stays where it is from here to the instance.
pub(crate) fn taken(request: Request<Incoming>) -> Box<Request<Body>> {
    let version = request.version();
    Box::new(request.map(|body| match http_body::Body::is_end_stream(&body) {
        true => Body::Empty,
        false if version == Version::HTTP_2 => Body::uploaded(body),
        false => Body::Incoming(body),
    }))
}

/// The answer of a gate that lets nobody through, as the caller's protocol tells it.
fn refused(refusal: Refusal, Caller { id, grpc, .. }: Caller<'_>) -> Response<Body> {
    tracing::debug!(%id, fault = %refusal.fault, "refused at the gate");
    let response = problem::answer(&refusal.fault, grpc);
    refusal.onto(response)
}

fn body_too_large(size: u64, max: u64) -> Fault {
    Fault::new(Code::RequestTooLarge, format!("the body has {size} bytes or more, the platform takes {max}"))
}

impl Limits {
    /// # Errors
    /// `uri_too_long`, `headers_too_large`.
    fn check<B>(&self, request: &Request<B>, names: Names) -> Result<(), Fault> {
        let url = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if url > self.url {
            let detail = format!("the URL has {url} bytes, {} are allowed", self.url);
            return Err(Fault::new(Code::UriTooLong, detail));
        }
        if request.headers().len() > HEADERS_MAX || url + names.size > self.head {
            return Err(turn::too_long(self.head));
        }
        Ok(())
    }
}

/// Path and query without the route's own part; never empty.
fn own_path(uri: Uri, strip: usize) -> Result<Uri, Fault> {
    if strip == 0 && uri.scheme().is_none() {
        return Ok(uri);
    }
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let bad = |error: http::Error| Fault::new(Code::BadRequest, format!("the path cannot be read: {error}"));
    let rest = &whole[strip..];
    let own = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Uri::builder().path_and_query(own).build().map_err(bad)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::edge::Wrong;

    #[test]
    fn limits_are_told_apart() {
        let limits = Limits { head: 1000, url: 100, body: None };
        for (url, value, count, want) in [
            (100, 10, 1, None),
            (101, 10, 1, Some(Code::UriTooLong)),
            (50, 800, 1, None),
            (50, 1000, 1, Some(Code::HeadersTooLarge)),
            (50, 10, 60, Some(Code::HeadersTooLarge)),
            (50, 0, HEADERS_MAX, None),
            (50, 0, HEADERS_MAX + 1, Some(Code::HeadersTooLarge)),
        ] {
            let mut request = Request::get(format!("/{}", "a".repeat(url - 1)));
            for n in 0..count {
                request = request.header(format!("x{n}"), "v".repeat(value));
            }
            let request = request.body(()).unwrap();
            let got = limits.check(&request, Names::of(request.headers())).map_err(|fault| fault.code).err();
            assert_eq!(got, want, "{url} {value} {count}");
        }
    }

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
            assert_eq!(own_path(uri.parse().unwrap(), strip).unwrap(), want, "{uri}");
        }
    }

    #[test]
    fn a_gate_tells_grpc_in_its_own_way() {
        let peer = Peer::new([127, 0, 0, 1].into(), false, &Trusted::default());
        let (id, names) = (InvocationId::random(), Names::default());
        let caller = Caller { id, names, peer: &peer, arrived: Instant::now(), grpc: true, verified: None };
        let told = refused(Wrong::Missing("no token").into(), caller);
        assert_eq!(told.status(), 200);
        assert_eq!(told.headers()["grpc-status"], "16");
        assert_eq!(told.headers()["grpc-message"], "access_denied: no token");
        assert_eq!(told.headers()["www-authenticate"], "Bearer");
        assert_eq!(told.headers()[header::CONTENT_TYPE], "application/grpc");
        let plain = refused(Wrong::Missing("no token").into(), Caller { grpc: false, ..caller });
        assert_eq!((plain.status().as_u16(), &plain.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    }
}
