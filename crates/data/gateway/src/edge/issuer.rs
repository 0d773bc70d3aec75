//! The issuers of tokens: their keys, fetched from where they publish them and kept fresh.
//!
//! Each has one task that looks at its URL, as long as a function asks for its tokens. The last good keys stay while its
//! server is down. A token with a key that is not known has the task look at once, but once in [`PACE`] at most: whoever
//! sends nonsense makes nobody fetch.

mod fetch;

use super::jwt::keys::KeySet;
use chassis::{
    metrics::{Counter, Metrics},
    task,
};
use fetch::Fetcher;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// Between two looks that unknown keys ask for.
const PACE: Duration = Duration::from_secs(10);
/// Between two looks where the answer does not say how long it is good for.
const FRESH: Duration = Duration::from_secs(600);
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a look that failed; doubled up to [`FRESH_MIN`] while they fail.
const AGAIN: Duration = Duration::from_secs(1);

/// All issuers that functions ask for, by URL.
pub(crate) struct Issuers {
    runtime: Handle,
    known: Mutex<HashMap<String, Weak<Issuer>>>,
    fetcher: Arc<Fetcher>,
    looks: Counter,
    failures: Counter,
}

/// One of them. Its task ends when nobody holds it any more.
pub(crate) struct Issuer {
    url: String,
    state: watch::Sender<State>,
    /// Of its keys: another number says that they are others.
    generation: AtomicU64,
    wake: Arc<Notify>,
    pace: Mutex<Pace>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Looks that ended.
    looks: u64,
}

impl Issuers {
    /// Fetches on the runtime that it is made on.
    pub(crate) fn new(metrics: &Metrics) -> impl FnOnce(Handle) -> Arc<Self> + use<> {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let looks = counter("jwks_fetches", "times that an issuer's keys were fetched");
        let failures = counter("jwks_fetch_failures", "times that an issuer's keys could not be fetched");
        move |runtime| Arc::new(Self { runtime, known: Mutex::default(), fetcher: Arc::default(), looks, failures })
    }

    pub(super) fn issuer(&self, url: &str) -> Arc<Issuer> {
        let mut known = self.known.lock();
        if let Some(issuer) = known.get(url).and_then(Weak::upgrade) {
            return issuer;
        }
        known.retain(|_, issuer| issuer.strong_count() > 0);
        let issuer = Arc::new(Issuer {
            url: url.to_owned(),
            state: watch::Sender::default(),
            generation: AtomicU64::new(0),
            wake: Arc::default(),
            pace: Mutex::default(),
        });
        known.insert(url.to_owned(), Arc::downgrade(&issuer));
        let look =
            Look { fetcher: Arc::clone(&self.fetcher), looks: self.looks.clone(), failures: self.failures.clone() };
        task::spawn_on(&self.runtime, "issuer's keys", look.run(Arc::downgrade(&issuer)));
        issuer
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Issuer {
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.state.borrow().keys.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Waits for a look that may bring a key that is not known: the first one, the one under way, or a new one where its
    /// turn has come. Where the keys are others already than those of `generation`, which lacked it, there is nothing to wait for.
    pub(crate) async fn refreshed(&self, generation: u64) {
        let mut seen = self.state.subscribe();
        let before = seen.borrow_and_update().looks;
        if self.generation() != generation {
            return;
        }
        if before > 0 {
            match self.pace.lock().ask(before, Instant::now()) {
                Asked::Look => self.wake.notify_one(),
                Asked::Wait => {}
                Asked::Refused => return,
            }
        }
        // The task always ends its look; this only bounds a task that could not.
        let _ = timeout(fetch::LONGEST * 2, seen.wait_for(|state| state.looks > before)).await;
    }

    /// `None` where the look failed: the last keys stay.
    fn learn(&self, fetched: Option<KeySet>) {
        self.state.send_modify(|state| {
            state.looks += 1;
            if let Some(keys) = fetched
                && state.keys.as_deref() != Some(&keys)
            {
                state.keys = Some(Arc::new(keys));
                self.generation.fetch_add(1, Relaxed);
            }
        });
    }
}

/// When unknown keys may have the issuer asked.
#[derive(Debug, Default)]
struct Pace {
    next: Option<Instant>,
    /// The look that was asked for is the one after this many.
    after: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Look,
    /// Somebody else asked, and the look is under way.
    Wait,
    Refused,
}

impl Pace {
    fn ask(&mut self, looks: u64, now: Instant) -> Asked {
        if self.after == Some(looks) {
            return Asked::Wait;
        }
        if self.next.is_some_and(|next| now < next) {
            return Asked::Refused;
        }
        *self = Self { next: Some(now + PACE), after: Some(looks) };
        Asked::Look
    }
}

/// When to look again: after what the answer said, or the sooner the fewer times in a row it failed.
fn next(fetched: Result<Option<Duration>, u32>) -> Duration {
    match fetched {
        Ok(fresh) => fresh.unwrap_or(FRESH).clamp(FRESH_MIN, FRESH_MAX),
        Err(failures) => (AGAIN * (1 << failures.saturating_sub(1).min(6))).min(FRESH_MIN),
    }
}

/// What an issuer's task works with.
struct Look {
    fetcher: Arc<Fetcher>,
    looks: Counter,
    failures: Counter,
}

impl Look {
    async fn run(self, issuer: Weak<Issuer>) {
        let mut failures = 0;
        loop {
            let Some(held) = issuer.upgrade() else { return };
            let (fetched, fresh) = match self.fetcher.get(&held.url).await {
                Ok((body, fresh)) => (KeySet::read(&body).map_err(|why| format!("{}: {why}", held.url)), fresh),
                Err(failure) => (Err(failure), None),
            };
            self.looks.inc();
            let wait = match &fetched {
                Ok(_) => {
                    failures = 0;
                    next(Ok(fresh))
                }
                Err(failure) => {
                    tracing::warn!(%failure, "an issuer's keys cannot be fetched; the last ones stay");
                    self.failures.inc();
                    failures += 1;
                    next(Err(failures))
                }
            };
            held.learn(fetched.ok());
            let wake = Arc::clone(&held.wake);
            drop(held);
            tokio::select! {
                () = sleep(wait) => {}
                () = wake.notified() => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_has_the_issuer_asked_once_in_a_while() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for (looks, after_ms, want) in [
            (1, 0, Asked::Look),
            (1, 1, Asked::Wait),
            (2, 50, Asked::Refused),
            (2, 9_999, Asked::Refused),
            (2, 10_000, Asked::Look),
            (2, 10_001, Asked::Wait),
            (3, 10_100, Asked::Refused),
        ] {
            assert_eq!(pace.ask(looks, start + Duration::from_millis(after_ms)), want, "{after_ms}");
        }
    }

    #[test]
    fn the_next_look_follows_the_answer_and_its_failures() {
        let seconds = Duration::from_secs;
        for (fetched, want) in [
            (Ok(None), 600),
            (Ok(Some(seconds(0))), 60),
            (Ok(Some(seconds(3600))), 3600),
            (Ok(Some(seconds(10_000_000))), 86_400),
            (Err(1), 1),
            (Err(2), 2),
            (Err(6), 32),
            (Err(7), 60),
            (Err(1000), 60),
        ] {
            assert_eq!(next(fetched), seconds(want), "{fetched:?}");
        }
    }
}
