//! Token buckets: of a function, of each of its callers, and of its tenant.
//!
//! A bucket is one number, the time at which it is full again (GCRA, ITU-T I.371), changed by compare-and-swap: lanes wait
//! for nobody. Callers' buckets stand in a map of 64 parts with a lock each, so that lanes meet only where they ask for the
//! same part at the same moment. [`standing`] is what answers say about all this.

mod standing;
mod tenants;

use super::{Asker, Verified};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
pub(crate) use standing::Standing;
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
pub(crate) use tenants::Tenants;
use types::edge::{By, Each, Rate, Tempo};

const PARTS: usize = 64;
/// Callers that one part remembers; who finds no place shares a bucket with the others that found none.
const PART_MAX: usize = 1024;

/// What a bucket holds and how fast it fills: nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    /// As answers call it.
    name: String,
    tempo: Tempo,
    burst: u32,
    /// Time in which one token comes.
    step: u64,
    depth: u64,
}

/// One call too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    name: String,
    tempo: Tempo,
    burst: u32,
    wait: Duration,
}

impl Over {
    /// The wait in whole seconds, none too few.
    pub(super) fn seconds(&self) -> u64 {
        seconds(self.wait)
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.name.split_once(':').map_or(self.name.as_str(), |(kind, _)| kind) {
            "function" => "",
            "tenant" => " of all functions of the tenant together",
            "address" => " by this address",
            "key" => " with this API key",
            "claim" => " by whom this token names",
            _ => " by who sends this header",
        };
        write!(f, "more than {} with bursts of {}{whom}", self.tempo, self.burst)
    }
}

impl Policy {
    fn new(name: impl Into<String>, tempo: Tempo, burst: u32) -> Self {
        let step = (tempo.per.0 * 1_000_000 / u64::from(tempo.count)).max(1);
        Self { name: name.into(), tempo, burst, step, depth: step.saturating_mul(u64::from(burst)) }
    }

    /// When the bucket that is full at `full` will be full again once a token is taken at `now`; or the wait for one.
    fn take(&self, full: u64, now: u64) -> Result<u64, u64> {
        let next = full.max(now).saturating_add(self.step);
        match next - now {
            ahead if ahead <= self.depth => Ok(next),
            ahead => Err(ahead - self.depth),
        }
    }

    /// Tokens that are left once `taken` from it.
    fn left(&self, taken: u64, now: u64) -> u64 {
        self.depth.saturating_sub(taken.saturating_sub(now)) / self.step
    }

    fn over(&self, wait: u64) -> Over {
        let wait = Duration::from_nanos(wait);
        Over { name: self.name.clone(), tempo: self.tempo, burst: self.burst, wait }
    }
}

/// A bucket that all share.
struct Bucket {
    policy: Policy,
    full: AtomicU64,
}

impl Bucket {
    fn take(&self, now: u64, standing: &mut Standing) -> Result<(), Over> {
        let taken = self.full.try_update(Relaxed, Relaxed, |full| self.policy.take(full, now).ok());
        let taken = match taken {
            // What it was before.
            Ok(full) => self.policy.take(full, now),
            Err(full) => Err(self.policy.take(full, now).err().unwrap_or(0)),
        };
        standing.note(&self.policy, taken, now);
        taken.map(drop).map_err(|wait| self.policy.over(wait))
    }
}

fn since(epoch: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

/// The limit of a tenant's functions together.
pub(crate) struct Tenant {
    epoch: Instant,
    bucket: Bucket,
    told: HeaderValue,
}

impl Tenant {
    pub(crate) fn new(tempo: Tempo) -> Self {
        let policy = Policy::new("tenant", tempo, tempo.usual_burst());
        let told = standing::policies([&policy]);
        Self { epoch: Instant::now(), bucket: Bucket { policy, full: AtomicU64::new(0) }, told }
    }

    fn is_of(&self, tempo: Tempo) -> bool {
        self.bucket.policy.tempo == tempo
    }

    pub(super) fn take(&self, at: Instant, standing: &mut Standing) -> Result<(), Over> {
        self.bucket.take(since(self.epoch, at), standing)
    }
}

/// The buckets of one function. They outlive a deploy that does not change its `[rate]`.
pub(crate) struct Limits {
    rate: Rate,
    epoch: Instant,
    all: Option<Bucket>,
    each: Vec<Callers>,
    /// All policies, as answers tell them.
    told: HeaderValue,
}

struct Callers {
    by: By,
    policy: Policy,
    hasher: RandomState,
    parts: Box<[Mutex<HashMap<u64, u64>>]>,
}

impl Callers {
    fn new(each: &Each) -> Self {
        let name = match &each.by {
            By::Ip => "address".to_owned(),
            by => String::from(by.clone()),
        };
        Self {
            by: each.by.clone(),
            policy: Policy::new(name, each.limit, each.burst()),
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Limits {
    pub(super) fn new(rate: &Rate) -> Self {
        let all = rate.all().map(|(tempo, burst)| Policy::new("function", tempo, burst));
        let each: Vec<_> = rate.each.iter().map(Callers::new).collect();
        let told = standing::policies(each.iter().map(|callers| &callers.policy).chain(&all));
        let all = all.map(|policy| Bucket { policy, full: AtomicU64::new(0) });
        Self { rate: rate.clone(), epoch: Instant::now(), all, each, told }
    }

    pub(super) fn is_of(&self, rate: &Rate) -> bool {
        self.rate == *rate
    }

    /// Takes a token of each kind of caller that the request is, whoever says so.
    pub(super) fn take_caller(
        &self,
        headers: &HeaderMap,
        asker: Asker<'_>,
        standing: &mut Standing,
    ) -> Result<(), Over> {
        let now = since(self.epoch, asker.at);
        self.each.iter().try_for_each(|callers| match &callers.by {
            By::Ip => callers.take(callers.hasher.hash_one(network(asker.peer)), now, standing),
            // Requests without the header have one bucket together: leaving it out is no way around the limit.
            By::Header(name) => {
                let value = headers.get(name).map(HeaderValue::as_bytes);
                callers.take(callers.hasher.hash_one(value), now, standing)
            }
            By::Key | By::Claim(_) => Ok(()),
        })
    }

    /// Takes a token of each kind of caller that the request was let in as. Those without the claim have one bucket together.
    pub(super) fn take_verified(&self, verified: &Verified, at: Instant, standing: &mut Standing) -> Result<(), Over> {
        let now = since(self.epoch, at);
        self.each.iter().try_for_each(|callers| match &callers.by {
            By::Ip | By::Header(_) => Ok(()),
            By::Key => {
                let id = verified.key.as_ref().map(|key| key.id.as_str());
                callers.take(callers.hasher.hash_one(id), now, standing)
            }
            By::Claim(name) => {
                let said = verified.token.as_ref().and_then(|token| token.authorizer.claims.get(name));
                callers.take(callers.hasher.hash_one(said), now, standing)
            }
        })
    }

    /// Takes a token of the function.
    pub(super) fn take(&self, at: Instant, standing: &mut Standing) -> Result<(), Over> {
        self.all.as_ref().map_or(Ok(()), |all| all.take(since(self.epoch, at), standing))
    }
}

impl Callers {
    fn take(&self, key: u64, now: u64, standing: &mut Standing) -> Result<(), Over> {
        // 0 is the bucket of those who found no place.
        let key = key.max(1);
        let Some(part) = self.parts.get((key >> 32) as usize % PARTS) else { return Ok(()) };
        let mut part = part.lock();
        if part.len() >= PART_MAX && !part.contains_key(&key) {
            // A full bucket says what a missing one says.
            part.retain(|_, full| *full > now);
        }
        let key = if part.len() < PART_MAX || part.contains_key(&key) { key } else { 0 };
        let full = part.entry(key).or_insert(0);
        let taken = self.policy.take(*full, now);
        if let Ok(next) = taken {
            *full = next;
        }
        drop(part);
        standing.note(&self.policy, taken, now);
        taken.map(drop).map_err(|wait| self.policy.over(wait))
    }
}

/// An IPv6 client has a whole /64 to call from (RFC 6177).
fn network(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_tempo() {
        let policy = Policy::new("x", "2/s".parse().unwrap(), 3);
        let (mut full, mut taken) = (0, Vec::new());
        // (time in ms, whether a token is there)
        for (at, want) in
            [(0, true), (0, true), (0, true), (0, false), (499, false), (500, true), (501, false), (9000, true)]
        {
            let now = 10 * SECOND + at * 1_000_000;
            let got = policy.take(full, now);
            if let Ok(next) = got {
                full = next;
            }
            taken.push((at, got.is_ok()));
            assert_eq!(got.is_ok(), want, "{taken:?}");
        }
        assert_eq!(Policy::new("x", "1/m".parse().unwrap(), 1).take(70 * SECOND, 10 * SECOND), Err(60 * SECOND));
    }

    #[test]
    fn callers_have_buckets_of_their_own_and_the_map_is_bounded() {
        let rate: Rate = serde_json::from_str(r#"{"each":[{"by":"ip","limit":"1/h","burst":1}]}"#).unwrap();
        let limits = Limits::new(&rate);
        let at = limits.epoch + Duration::from_secs(1);
        let asker = |peer, at| Asker { peer, at, tenant: None };
        let ask =
            |n: u32| limits.take_caller(&HeaderMap::new(), asker(IpAddr::V4(n.into()), at), &mut Standing::default());
        assert!(ask(1).is_ok() && ask(2).is_ok());
        let over = ask(1).unwrap_err();
        assert_eq!((over.name.as_str(), over.wait), ("address", Duration::from_secs(3600)));
        for n in 0..200_000 {
            let _ = ask(n);
        }
        assert!(limits.each[0].parts.iter().all(|part| part.lock().len() <= PART_MAX + 1));
        let v6 = |text: &str| {
            let asker = asker(text.parse().unwrap(), at + Duration::from_secs(7200));
            limits.take_caller(&HeaderMap::new(), asker, &mut Standing::default())
        };
        assert!(v6("2001:db8::1").is_ok() && v6("2001:db8::2").is_err(), "one network, one bucket");
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let rate: Rate = serde_json::from_str(r#"{"limit":"1/h","burst":1000}"#).unwrap();
        let limits = Limits::new(&rate);
        let at = limits.epoch + Duration::from_secs(1);
        let taken: usize = std::thread::scope(|scope| {
            let work = || (0..500).filter(|_| limits.take(at, &mut Standing::default()).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn keys_and_claims_have_buckets_of_their_own() {
        let rate = r#"{"each":[{"by":"key","limit":"1/h","burst":1},{"by":"claim:org","limit":"1/h","burst":2}]}"#;
        let limits = Limits::new(&serde_json::from_str(rate).unwrap());
        let at = limits.epoch + Duration::from_secs(1);
        let key = |id: &str| types::ApiKey {
            id: id.to_owned(),
            name: String::new(),
            functions: None,
            created: types::Timestamp(0),
            expires: None,
        };
        let ask = |id: &str| {
            let verified = Verified { key: Some(std::sync::Arc::new(key(id))), ..Verified::default() };
            limits.take_verified(&verified, at, &mut Standing::default()).map_err(|over| over.name)
        };
        assert_eq!([ask("a"), ask("a")], [Ok(()), Err("key".to_owned())]);
        // Neither has the claim: both are one caller by it.
        assert_eq!([ask("b"), ask("c")], [Ok(()), Err("claim:org".to_owned())]);
    }
}
