//! Tokens that were found good, by their SHA-256: until they expire, or their issuer changes its keys.

use super::token::Good;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use wire::Authorizer;

const PARTS: usize = 16;
/// Tokens of one part. What they say has 0.5 to 8 KB: 2 to 32 MiB for the busiest function.
const PART_MAX: usize = 256;

/// A good token, with what the call gets of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub authorizer: Arc<Authorizer>,
    /// All claims as base64url of JSON.
    pub header: Option<HeaderValue>,
    pub caller: u64,
    until: u64,
    generation: u64,
}

impl Entry {
    pub(super) fn new(good: Good, generation: u64) -> Self {
        let claims = &good.authorizer.claims;
        let mut hasher = DefaultHasher::new();
        for name in ["iss", "sub"] {
            claims.get(name).and_then(|value| value.as_str()).hash(&mut hasher);
        }
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let header = HeaderValue::try_from(URL_SAFE_NO_PAD.encode(json)).ok();
        Self { caller: hasher.finish(), header, until: good.until, generation, authorizer: Arc::new(good.authorizer) }
    }
}

type Part = Mutex<HashMap<[u8; 32], Arc<Entry>>>;

pub(super) struct Cache(Box<[Part]>);

impl Default for Cache {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl Cache {
    fn part(&self, hash: &[u8; 32]) -> &Part {
        &self.0[usize::from(hash[0]) % PARTS]
    }

    /// `generation` is that of the issuer's keys: what others of its keys signed is judged anew.
    pub(super) fn find(&self, hash: &[u8; 32], generation: u64, now: u64) -> Option<Arc<Entry>> {
        let entry = self.part(hash).lock().get(hash).cloned()?;
        (entry.generation == generation && now < entry.until).then_some(entry)
    }

    pub(super) fn keep(&self, hash: [u8; 32], entry: &Arc<Entry>, now: u64) {
        let mut part = self.part(&hash).lock();
        if part.len() >= PART_MAX {
            part.retain(|_, kept| kept.generation == entry.generation && now < kept.until);
        }
        // Still full: all are good, and judging some of them again costs less than choosing whom to forget.
        if part.len() >= PART_MAX {
            part.clear();
        }
        part.insert(hash, Arc::clone(entry));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(until: u64, generation: u64) -> Arc<Entry> {
        let authorizer = Authorizer { claims: Default::default(), scopes: Vec::new() };
        Arc::new(Entry::new(Good { authorizer, until }, generation))
    }

    #[test]
    fn a_token_is_forgotten_when_it_expires_or_the_keys_change() {
        let cache = Cache::default();
        cache.keep([1; 32], &entry(100, 7), 50);
        for (generation, now, found) in [(7, 50, true), (7, 99, true), (7, 100, false), (8, 50, false)] {
            assert_eq!(cache.find(&[1; 32], generation, now).is_some(), found, "{generation} {now}");
        }
        assert!(cache.find(&[2; 32], 7, 50).is_none());
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let cache = Cache::default();
        for n in 0_u32..20_000 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            cache.keep(hash, &entry(100, 0), 50);
        }
        assert!(cache.0.iter().all(|part| part.lock().len() <= PART_MAX));
    }
}
