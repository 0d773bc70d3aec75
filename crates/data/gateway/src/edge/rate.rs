//! Token buckets: of a function, and of each of its callers.
//!
//! A bucket is one number, the time at which it is full again (GCRA, ITU-T I.371), changed by compare-and-swap: lanes wait
//! for nobody. Callers' buckets stand in a map of 64 parts with a lock each, so that lanes meet only where they ask for the
//! same part at the same moment.

use http::HeaderMap;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use types::edge::{By, Each, Rate, Tempo};

const PARTS: usize = 64;
/// Callers that one part remembers; who finds no place shares a bucket with the others that found none.
const PART_MAX: usize = 1024;

/// What a bucket holds and how fast it fills: nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Policy {
    tempo: Tempo,
    burst: u32,
    /// Time in which one token comes.
    step: u64,
    depth: u64,
}

/// One call too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    pub name: &'static str,
    pub tempo: Tempo,
    pub burst: u32,
    pub wait: Duration,
}

impl Policy {
    fn new(tempo: Tempo, burst: u32) -> Self {
        let step = (tempo.per.0 * 1_000_000 / u64::from(tempo.count)).max(1);
        Self { tempo, burst, step, depth: step.saturating_mul(u64::from(burst)) }
    }

    /// When the bucket that is full at `full` will be full again once a token is taken at `now`; or the wait for one.
    fn take(self, full: u64, now: u64) -> Result<u64, u64> {
        let next = full.max(now).saturating_add(self.step);
        match next - now {
            ahead if ahead <= self.depth => Ok(next),
            ahead => Err(ahead - self.depth),
        }
    }

    fn over(self, name: &'static str, wait: u64) -> Over {
        Over { name, tempo: self.tempo, burst: self.burst, wait: Duration::from_nanos(wait) }
    }
}

/// The buckets of one function. They outlive a deploy that does not change its `[rate]`.
pub(super) struct Limits {
    rate: Rate,
    epoch: Instant,
    all: Option<(Policy, AtomicU64)>,
    each: Vec<Callers>,
}

struct Callers {
    by: By,
    policy: Policy,
    hasher: RandomState,
    parts: Box<[Mutex<HashMap<u64, u64>>]>,
}

impl Limits {
    pub(super) fn new(rate: &Rate) -> Self {
        let callers = |each: &Each| Callers {
            by: each.by.clone(),
            policy: Policy::new(each.limit, each.burst()),
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
        };
        Self {
            rate: rate.clone(),
            epoch: Instant::now(),
            all: rate.all().map(|(tempo, burst)| (Policy::new(tempo, burst), AtomicU64::new(0))),
            each: rate.each.iter().map(callers).collect(),
        }
    }

    pub(super) fn is_of(&self, rate: &Rate) -> bool {
        self.rate == *rate
    }

    fn now(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes a token of each kind of caller that the request is.
    pub(super) fn take_caller(&self, headers: &HeaderMap, peer: Option<IpAddr>, at: Instant) -> Result<(), Over> {
        self.each.iter().try_for_each(|callers| callers.take(headers, peer, self.now(at)))
    }

    /// Takes a token of the function.
    pub(super) fn take(&self, at: Instant) -> Result<(), Over> {
        let now = self.now(at);
        match &self.all {
            Some((policy, full)) => {
                let taken = full.try_update(Relaxed, Relaxed, |full| policy.take(full, now).ok());
                taken.map(drop).map_err(|full| policy.over("function", policy.take(full, now).err().unwrap_or(0)))
            }
            None => Ok(()),
        }
    }
}

impl Callers {
    /// Requests without the header have one bucket together: leaving it out is no way around the limit.
    fn take(&self, headers: &HeaderMap, peer: Option<IpAddr>, now: u64) -> Result<(), Over> {
        let (name, key) = match &self.by {
            By::Ip => ("address", self.hasher.hash_one(peer.map(network))),
            By::Header(name) => ("header", self.hasher.hash_one(headers.get(name).map(|value| value.as_bytes()))),
        };
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
        *full = self.policy.take(*full, now).map_err(|wait| self.policy.over(name, wait))?;
        Ok(())
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
        let policy = Policy::new("2/s".parse().unwrap(), 3);
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
        assert_eq!(Policy::new("1/m".parse().unwrap(), 1).take(70 * SECOND, 10 * SECOND), Err(60 * SECOND));
    }

    #[test]
    fn callers_have_buckets_of_their_own_and_the_map_is_bounded() {
        let rate: Rate = serde_json::from_str(r#"{"each":[{"by":"ip","limit":"1/h","burst":1}]}"#).unwrap();
        let limits = Limits::new(&rate);
        let at = limits.epoch + Duration::from_secs(1);
        let ask = |n: u32| limits.take_caller(&HeaderMap::new(), Some(IpAddr::V4(n.into())), at);
        assert!(ask(1).is_ok() && ask(2).is_ok());
        let over = ask(1).unwrap_err();
        assert_eq!((over.name, over.wait), ("address", Duration::from_secs(3600)));
        for n in 0..200_000 {
            let _ = ask(n);
        }
        assert!(limits.each[0].parts.iter().all(|part| part.lock().len() <= PART_MAX + 1));
        let v6 = |text: &str| {
            limits.take_caller(&HeaderMap::new(), Some(text.parse().unwrap()), at + Duration::from_secs(7200))
        };
        assert!(v6("2001:db8::1").is_ok() && v6("2001:db8::2").is_err(), "one network, one bucket");
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let rate: Rate = serde_json::from_str(r#"{"limit":"1/h","burst":1000}"#).unwrap();
        let limits = Limits::new(&rate);
        let at = limits.epoch + Duration::from_secs(1);
        let taken: usize = std::thread::scope(|scope| {
            let work = || (0..500).filter(|_| limits.take(at).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
