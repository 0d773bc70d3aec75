//! JSON Web Tokens (RFC 7519): whose signature, for whom, until when.
//!
//! [`keys`] reads the issuer's public keys and checks signatures by them; [`token`] judges a token, as a pure function of
//! keys, policy and time; [`cache`] remembers the good ones, because a signature costs 20 to 100 µs and a hash 1.

mod cache;
pub(super) mod keys;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
mod token;

use super::{
    access::Stop,
    issuer::{Issuer, Issuers},
    refusal::Wrong,
};
use cache::Cache;
pub(crate) use cache::Entry;
use keys::KeySet;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};
use token::{Bad, Policy};
use types::{Timestamp, edge};

/// What one `[access.jwt]` asks for, and what was learnt while it was asked.
pub(crate) struct Jwt {
    config: edge::Jwt,
    policy: Policy,
    source: Source,
    cache: Cache,
}

enum Source {
    Inline(KeySet),
    /// Known from the first call on: keys of functions that nobody calls are not fetched.
    Url(OnceLock<Arc<Issuer>>),
}

/// By configuration: what was learnt makes no difference.
impl PartialEq for Jwt {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Jwt {
    /// The one of `known` with this configuration; otherwise a new one that keeps the issuer of one with the same URL, so
    /// that a deploy while the issuer is down locks nobody out.
    pub(super) fn next<'a>(config: &edge::Jwt, known: impl Iterator<Item = &'a Arc<Self>>) -> Arc<Self> {
        let mut issuer = None;
        for one in known {
            if one.config == *config {
                return Arc::clone(one);
            }
            if let Source::Url(known) = &one.source
                && one.config.jwks_url == config.jwks_url
            {
                issuer = known.get().cloned().or(issuer);
            }
        }
        let source = match &config.jwks {
            // Control has checked that it is a set; one without a key that fits lets nobody in.
            Some(jwks) => Source::Inline(KeySet::read(jwks.as_bytes()).unwrap_or_default()),
            None => Source::Url(issuer.map_or_else(OnceLock::new, OnceLock::from)),
        };
        Arc::new(Self { policy: Policy::new(config), config: config.clone(), source, cache: Cache::default() })
    }

    /// What the token says, where it is good.
    pub(super) fn check(&self, token: &str, issuers: &Issuers, now: Timestamp) -> Result<Arc<Entry>, Stop> {
        let issuer = match &self.source {
            Source::Inline(_) => None,
            Source::Url(issuer) => {
                let url = self.config.jwks_url.as_deref().unwrap_or("");
                Some(issuer.get_or_init(|| issuers.issuer(url)))
            }
        };
        let hash: [u8; 32] = Sha256::digest(token).into();
        let generation = issuer.map_or(0, |issuer| issuer.generation());
        let now = now.0 / 1000;
        if let Some(entry) = self.cache.find(&hash, generation, now) {
            return Ok(entry);
        }
        let fetched = issuer.and_then(|issuer| issuer.keys());
        let keys = match (&self.source, &fetched, issuer) {
            (Source::Inline(keys), ..) => keys,
            (Source::Url(_), Some(keys), _) => keys,
            (Source::Url(_), None, Some(issuer)) => return Err(Stop::Ask(Arc::clone(issuer), generation)),
            (Source::Url(_), None, None) => return Err(unknown_key(false).into()),
        };
        match token::verify(token, keys, &self.policy, now) {
            Ok(good) => {
                let entry = Arc::new(Entry::new(good, generation));
                self.cache.keep(hash, &entry, now);
                Ok(entry)
            }
            Err(Bad::UnknownKey) => match issuer {
                Some(issuer) => Err(Stop::Ask(Arc::clone(issuer), generation)),
                None => Err(unknown_key(true).into()),
            },
            Err(Bad::Wrong(wrong)) => Err(wrong.into()),
        }
    }
}

/// What is told of a token whose key is not known, after the issuer was asked.
pub(super) fn unknown_key(issuer_answered: bool) -> Wrong {
    match issuer_answered {
        true => Wrong::Invalid("the token is signed by a key that its issuer does not publish".into()),
        // Where the issuer is asked may be nobody's business outside.
        false => Wrong::NoKeys("the keys of the token's issuer could not be fetched: the platform's log says why"),
    }
}
