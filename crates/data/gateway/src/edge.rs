//! What a function asks of the gateway beside its calls: who may call, how often, from which web pages.
//!
//! A function without any of it has no [`Gate`] and pays nothing. With an alias split over two revisions a caller has to
//! pass the access of both, so that no revision is reached by a caller that it would refuse; the rest follows the one with
//! the most weight.

mod access;
pub(crate) mod cors;
mod rate;

use crate::problem;
use http::{HeaderMap, HeaderValue, Response, header};
use rate::{Limits, Over};
use std::{net::IpAddr, sync::Arc, time::Instant};
use types::{
    Code, Fault,
    edge::{Auth, Cors, Edge},
};
use wire::{Body, Target};

/// What stands before one alias.
pub(crate) struct Gate {
    access: Vec<access::Tokens>,
    cors: Option<Cors>,
    limits: Option<Arc<Limits>>,
}

impl Gate {
    /// `last` is the function's gate until now: its buckets stay where their limits do.
    pub(crate) fn of(target: &Target, last: Option<&Self>) -> Option<Arc<Self>> {
        let edge = |weighted: &wire::Weighted| weighted.revision.spec.edge.as_deref().cloned().unwrap_or_default();
        let main: Edge = target.revisions.iter().rev().max_by_key(|weighted| weighted.weight).map(edge)?;
        let all = target.revisions.iter().filter_map(|weighted| edge(weighted).access);
        let mut access: Vec<_> = all.filter(|a| a.auth == Auth::Token).map(|a| access::Tokens::new(&a)).collect();
        access.dedup();
        let limits = main.rate.map(|rate| {
            let kept = last.and_then(|gate| gate.limits.as_ref()).filter(|limits| limits.is_of(&rate));
            kept.map_or_else(|| Arc::new(Limits::new(&rate)), Arc::clone)
        });
        let gate = Self { access, cors: main.cors, limits };
        (!gate.access.is_empty() || gate.cors.is_some() || gate.limits.is_some()).then(|| Arc::new(gate))
    }

    pub(crate) fn has_cors(&self) -> bool {
        self.cors.is_some()
    }

    /// The answer to a browser's question; `None` where the function answers it by itself.
    pub(crate) fn preflight(&self, asked: &HeaderMap) -> Option<Response<Body>> {
        self.cors.as_ref().map(|cors| cors::preflight(cors, asked))
    }

    /// Lets the request in, without the credentials that it was let in for; or answers it.
    pub(crate) fn admit(
        &self,
        headers: &mut HeaderMap,
        peer: Option<IpAddr>,
        at: Instant,
    ) -> Result<(), Box<Response<Body>>> {
        // A caller's limits go before the credentials, so that guessing is limited; the function's after them, so that who
        // may not call takes nothing from those who may.
        if let Some(limits) = &self.limits {
            limits.take_caller(headers, peer, at).map_err(|over| Box::new(too_many(&over)))?;
        }
        if !self.access.is_empty() {
            access::check(&self.access, headers).map_err(|fault| {
                let mut response = problem::response(&fault);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                Box::new(response)
            })?;
            headers.remove(header::AUTHORIZATION);
        }
        match &self.limits {
            Some(limits) => limits.take(at).map_err(|over| Box::new(too_many(&over))),
            None => Ok(()),
        }
    }

    /// Who calls, where credentials tell that; what they are worth is [`Gate::admit`]'s.
    pub(crate) fn identity(&self, headers: &HeaderMap) -> Option<wire::Caller> {
        (!self.access.is_empty()).then(|| headers.get(header::AUTHORIZATION)).flatten().map(access::caller)
    }

    /// What answers to a request with these headers have to say about who may read them.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.cors.as_ref().and_then(|cors| cors::allowed(cors, headers))
    }

    pub(crate) fn mark(&self, origin: Option<HeaderValue>, response: &mut Response<Body>) {
        if let Some(cors) = &self.cors {
            cors::mark(cors, origin, response);
        }
    }
}

fn too_many(over: &Over) -> Response<Body> {
    let whom = match over.name {
        "function" => "",
        "address" => " by this address",
        _ => " by who sends this header",
    };
    let detail = format!("more than {} with bursts of {}{whom}", over.tempo, over.burst);
    let mut response = problem::response(&Fault::new(Code::RateLimited, detail));
    let seconds = over.wait.as_secs() + u64::from(over.wait.subsec_nanos() > 0);
    let policy = format!("\"{}\";q={};w={}", over.name, over.tempo.count, over.tempo.per.0 / 1000);
    // As in draft-ietf-httpapi-ratelimit-headers-10.
    for (name, value) in [
        ("retry-after", seconds.to_string()),
        ("ratelimit-policy", policy),
        ("ratelimit", format!("\"{}\";r=0;t={seconds}", over.name)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
