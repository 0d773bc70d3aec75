//! Which revision a call goes to: by weight, at random or by what the caller sticks by; and which instance it asks for.

use crate::policy;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;
use types::{Fault, InstanceId, Revision, traffic::Sticky};
use wire::{Target, Weighted};

/// The cookie that keeps a caller with its instance.
const COOKIE: &str = "mayfly-affinity";

/// One of the target's revisions by weight.
pub(crate) fn revision<'a>(target: &'a Target, headers: &HeaderMap) -> Result<&'a Arc<Revision>, Fault> {
    match &*target.revisions {
        [only] => Ok(&only.revision),
        several => {
            let ball = sticky_ball(target, headers).unwrap_or_else(|| fastrand::u8(..100));
            by_weight(several, ball)
                .ok_or_else(|| Fault::internal(format!("alias {} of {} points nowhere", target.alias, target.function)))
        }
    }
}

/// The newest revision has the lowest balls, so who has it keeps it while its weight grows.
fn by_weight(revisions: &[Weighted], ball: u8) -> Option<&Arc<Revision>> {
    let newest = revisions.iter().max_by_key(|weighted| weighted.revision.id.number)?;
    if ball < newest.weight {
        return Some(&newest.revision);
    }
    let mut ball = ball - newest.weight;
    let others = || revisions.iter().filter(|weighted| weighted.revision.id != newest.revision.id);
    for weighted in others() {
        if ball < weighted.weight {
            return Some(&weighted.revision);
        }
        ball -= weighted.weight;
    }
    others().next_back().map(|last| &last.revision)
}

/// 0 to 99, the same for the same caller: of what the first revision that has something to stick by names.
fn sticky_ball(target: &Target, headers: &HeaderMap) -> Option<u8> {
    let by = target.revisions.iter().find_map(|weighted| policy::sticky(&weighted.revision.spec))?;
    let value = match by {
        Sticky::Header(name) => headers.get(name)?.as_bytes(),
        Sticky::Cookie(name) => cookie(headers, name)?.as_bytes(),
    };
    // Salted, so that not the same callers get the new revision of every function.
    let hash = mix(fnv(fnv(FNV_OFFSET, target.function.as_str().as_bytes()), value));
    Some((hash % 100) as u8)
}

/// True where the caller's own value draws its revision.
pub(crate) fn sticks(target: &Target, headers: &HeaderMap) -> bool {
    sticky_ball(target, headers).is_some()
}

/// The same on every host and in every version (FNV-1a), which the standard library's hashes are not.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads what differs in few bits (the finalizer of splitmix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A good hash of whatever tells callers apart.
pub(crate) fn caller(bytes: &[u8]) -> u64 {
    mix(fnv(FNV_OFFSET, bytes))
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The instance that the caller had before.
pub(crate) fn near(headers: &HeaderMap) -> Option<InstanceId> {
    cookie(headers, COOKIE)?.parse().ok()
}

/// Tells the caller which instance it has now.
pub(crate) fn stay(headers: &mut HeaderMap, instance: InstanceId) {
    if let Ok(value) = HeaderValue::try_from(format!("{COOKIE}={instance}; Path=/; HttpOnly; SameSite=Lax")) {
        headers.append(HeaderName::from_static("set-cookie"), value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::{revision_of, target};

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn weights_are_kept() {
        let (old, new) = (revision_of(1, ""), revision_of(2, ""));
        let target = target(&[(&old, 75), (&new, 25)]);
        let total = 100_000;
        let none = HeaderMap::new();
        let hits = (0..total).filter(|_| revision(&target, &none).unwrap().id.number == 2).count();
        // Three standard deviations of a binomial distribution: sqrt(n p q) = 137.
        assert!(hits.abs_diff(25_000) < 3 * 137, "{hits}");
    }

    #[test]
    fn a_sticky_caller_keeps_its_revision_while_the_new_one_grows() {
        let sticky = "[traffic]\nsticky = { header = 'x-user' }";
        let (old, new) = (revision_of(1, sticky), revision_of(2, sticky));
        let users: Vec<HeaderMap> = (0..10_000).map(|n| with("x-user", &format!("user-{n}"))).collect();
        let mut before = vec![1; users.len()];
        for weight in [5, 25, 50, 99] {
            let target = target(&[(&old, 100 - weight), (&new, weight)]);
            let now: Vec<u32> = users.iter().map(|user| revision(&target, user).unwrap().id.number).collect();
            assert_eq!(now, users.iter().map(|user| revision(&target, user).unwrap().id.number).collect::<Vec<_>>());
            assert!(before.iter().zip(&now).all(|(before, now)| now >= before), "someone went back at {weight} %");
            let share = now.iter().filter(|number| **number == 2).count();
            let want = users.len() * usize::from(weight) / 100;
            assert!(share.abs_diff(want) < 150, "{share} of 10,000 at {weight} %");
            before = now;
        }
    }

    #[test]
    fn cookies_stick_too_and_who_has_none_is_spread() {
        let sticky = "[traffic]\nsticky = { cookie = 'session' }";
        let target = target(&[(&revision_of(1, sticky), 50), (&revision_of(2, sticky), 50)]);
        let headers = with("cookie", "a=b; session=42; c=d");
        let first = revision(&target, &headers).unwrap().id.number;
        assert!((0..100).all(|_| revision(&target, &headers).unwrap().id.number == first));
        let none = with("cookie", "a=b");
        let numbers: std::collections::HashSet<u32> =
            (0..100).map(|_| revision(&target, &none).unwrap().id.number).collect();
        assert_eq!(numbers.len(), 2);
    }

    #[test]
    fn the_affinity_cookie_is_read_as_it_was_written() {
        let (mut answer, id) = (HeaderMap::new(), InstanceId::random());
        stay(&mut answer, id);
        let sent = answer["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(near(&with("cookie", &format!("x=1; {sent}"))), Some(id));
        assert_eq!(near(&with("cookie", "mayfly-affinity=garbage")), None);
        assert_eq!(near(&HeaderMap::new()), None);
    }
}
