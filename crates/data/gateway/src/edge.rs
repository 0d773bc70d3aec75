//! What a function asks of the gateway beside its calls: who may call, how often, from which web pages.
//!
//! A function without any of it has no [`Gate`] and pays nothing. With an alias split over two revisions a caller has to
//! pass the access of both, so that no revision is reached by a caller that it would refuse; the rest follows the one with
//! the most weight. [`access`] judges credentials with [`jwt`] and [`issuer`], [`rate`] counts, [`refusal`] is how either
//! says no; [`cors`] and [`compress`] work on the answer.

mod access;
pub(crate) mod compress;
pub(crate) mod cors;
mod issuer;
mod jwt;
mod rate;
mod refusal;

use access::{Access, Stop};
pub(crate) use access::{Context, Verified};
use compress::Coding;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
pub(crate) use issuer::Issuers;
#[cfg(test)]
pub(crate) use jwt::tests::Issuer;
use rate::Limits;
pub(crate) use rate::{Standing, Tenant, Tenants};
pub(crate) use refusal::Refusal;
#[cfg(test)]
pub(crate) use refusal::Wrong;
use std::{net::IpAddr, sync::Arc, time::Instant};
use types::edge::{Cors, Edge};
use wire::{Body, Target};

/// What stands before one alias.
#[derive(Default)]
pub(crate) struct Gate {
    access: Vec<Access>,
    cors: Option<Cors>,
    limits: Option<Arc<Limits>>,
    /// Answers of this size and more are compressed.
    compress: Option<u64>,
}

/// Who asks, from where and when.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub peer: IpAddr,
    pub at: Instant,
    /// Counts the calls of all functions of the tenant.
    pub tenant: Option<&'a Tenant>,
}

/// What a request says about its answer.
pub(crate) struct Wish {
    method: Method,
    /// As pages of other origins may read it.
    origin: Option<HeaderValue>,
    coding: Option<Coding>,
}

/// A request that was let in, and what its answer says about limits.
pub(crate) struct Admitted {
    pub verified: Verified,
    pub standing: Standing,
}

impl Gate {
    /// `last` is the function's gate until now: its buckets stay where their limits do, and so does what was learnt about
    /// issuers.
    pub(crate) fn of(target: &Target, last: Option<&Self>) -> Option<Arc<Self>> {
        let edge = |weighted: &wire::Weighted| weighted.revision.spec.edge.as_deref().cloned().unwrap_or_default();
        let main: Edge = target.revisions.iter().rev().max_by_key(|weighted| weighted.weight).map(edge)?;
        let all = target.revisions.iter().filter_map(|weighted| edge(weighted).access);
        let known = last.map_or(&[][..], |gate| &gate.access);
        let mut access: Vec<_> = all.filter_map(|one| Access::of(&one, known)).collect();
        access.dedup();
        let limits = main.rate.map(|rate| {
            let kept = last.and_then(|gate| gate.limits.as_ref()).filter(|limits| limits.is_of(&rate));
            kept.map_or_else(|| Arc::new(Limits::new(&rate)), Arc::clone)
        });
        let gate = Self { access, cors: main.cors, limits, compress: main.compress.map(|compress| compress.min.0) };
        let used = !gate.access.is_empty() || gate.cors.is_some() || gate.limits.is_some() || gate.compress.is_some();
        used.then(|| Arc::new(gate))
    }

    pub(crate) fn has_cors(&self) -> bool {
        self.cors.is_some()
    }

    /// The answer to a browser's question; `None` where the function answers it by itself.
    pub(crate) fn preflight(&self, asked: &HeaderMap) -> Option<Response<Body>> {
        self.cors.as_ref().map(|cors| cors::preflight(cors, asked))
    }

    /// Lets the request in, without the secrets that it was let in for; or refuses it.
    ///
    /// A caller's limits go before the credentials, so that guessing is limited; those by credentials and the function's
    /// after them, so that who may not call takes nothing from those who may.
    pub(crate) async fn admit(
        &self,
        headers: &mut HeaderMap,
        asker: Asker<'_>,
        context: &Context<'_>,
    ) -> Result<Admitted, Box<Refusal>> {
        let mut standing = Standing::of(self.limits.as_deref(), asker.tenant);
        if let Some(limits) = &self.limits {
            limits.take_caller(headers, asker, &mut standing).map_err(|over| refused(over, &standing))?;
        }
        let verified = match self.verify(headers, context).await {
            Ok(verified) => verified,
            Err(refusal) => return Err(Box::new(refusal.with(&standing))),
        };
        if let Some(limits) = &self.limits {
            limits.take_verified(&verified, asker.at, &mut standing).map_err(|over| refused(over, &standing))?;
            limits.take(asker.at, &mut standing).map_err(|over| refused(over, &standing))?;
        }
        if let Some(tenant) = asker.tenant {
            tenant.take(asker.at, &mut standing).map_err(|over| refused(over, &standing))?;
        }
        Ok(Admitted { verified, standing })
    }

    async fn verify(&self, headers: &mut HeaderMap, context: &Context<'_>) -> Result<Verified, Refusal> {
        if self.access.is_empty() {
            return Ok(Verified::default());
        }
        // Asked once for each issuer, and each may be asked for one revision's token.
        for _ in 0..self.access.len() {
            match access::check(&self.access, headers, context) {
                Ok(verified) => return Ok(verified),
                Err(Stop::Refused(refusal)) => return Err(*refusal),
                // Rare, and so not in the state that every call carries.
                Err(Stop::Ask(issuer, generation)) => Box::pin(issuer.refreshed(generation)).await,
            }
        }
        match access::check(&self.access, headers, context) {
            Ok(verified) => Ok(verified),
            Err(Stop::Refused(refusal)) => Err(*refusal),
            Err(Stop::Ask(issuer, _)) => Err(jwt::unknown_key(issuer.keys().is_some()).into()),
        }
    }

    /// What the answer will have to heed, read from the request before that is gone.
    pub(crate) fn wish<B>(&self, request: &Request<B>) -> Wish {
        Wish {
            method: request.method().clone(),
            origin: self.cors.as_ref().and_then(|cors| cors::allowed(cors, request.headers())),
            coding: self.compress.and_then(|_| compress::chosen(request.headers())),
        }
    }

    /// What goes out: marked for pages of other origins, and compressed.
    pub(crate) fn finish(&self, wish: Wish, response: &mut Response<Body>) {
        if let Some(cors) = &self.cors {
            cors::mark(cors, wish.origin, response);
        }
        if let Some(min) = self.compress {
            compress::apply(response, min, wish.coding, &wish.method);
        }
    }
}

fn refused(over: rate::Over, standing: &Standing) -> Box<Refusal> {
    Box::new(Refusal::from(over).with(standing))
}
