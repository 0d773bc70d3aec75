//! Knative's autoscaler as it is documented: the baseline.
//!
//! Sources, all in knative/serving (Apache-2.0), read at commit 98e5ef90aa: `config/core/configmaps/autoscaler.yaml` (the
//! defaults below), `pkg/autoscaler/scaling/autoscaler.go` ([`Memory::desired`]), `pkg/autoscaler/scaling/multiscaler.go`
//! (the tick, the poke at zero), `pkg/autoscaler/aggregation/bucketing.go` ([`Buckets`]),
//! `pkg/activator/handler/concurrency_reporter.go` (what is reported each second, and that the first call from zero counts
//! as one), `pkg/reconciler/autoscaling/kpa/scaler.go` ([`Memory::zero`]).
//!
//! Where Kubernetes would do worse than this, the baseline is given the better: a pod is there for calls the moment it is
//! ready, the report of a second is complete, the pods that go at scale-down are idle ones, and calls wait in one queue
//! (the activator's, which is in the path with these loads: `target-burst-capacity` is more than they ever have free).

use chassis::{Shutdown, clock};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use types::{InstanceId, Revision};
use wire::{Activity, Demand, Directory, Host, Load, Started, Stop};

/// `tickInterval`, in seconds.
const TICK: u64 = 2;
/// `stable-window` and the `panic-window-percentage` of it, in seconds.
const STABLE: usize = 60;
const PANIC: usize = 6;
/// `container-concurrency-target-percentage`.
const TARGET: f32 = 0.7;
/// `panic-threshold-percentage`.
const PANIC_THRESHOLD: f32 = 2.0;
/// `max-scale-up-rate` and `max-scale-down-rate`.
const UP_MAX: f32 = 1000.0;
const DOWN_MAX: f32 = 2.0;
/// `target-burst-capacity`.
const BURST: f32 = 211.0;
/// `scale-to-zero-grace-period`, in seconds: "this period might actually be 0, if activator has been in the request path
/// sufficiently long". `scale-down-delay` and `scale-to-zero-pod-retention-period` are 0.
const GRACE: u64 = 30;

pub struct Knative {
    host: Arc<dyn Host>,
    directory: Arc<dyn Directory>,
    revision: Arc<Revision>,
    wake: Notify,
    pods: Mutex<Pods>,
}

/// Pods that are not ready yet, and how many of them are not wanted any more.
#[derive(Default)]
struct Pods {
    starting: u32,
    surplus: u32,
}

impl Knative {
    pub fn new(host: Arc<dyn Host>, directory: Arc<dyn Directory>, revision: Arc<Revision>) -> Arc<Self> {
        Arc::new(Self { host, directory, revision, wake: Notify::new(), pods: Mutex::default() })
    }

    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let (mut memory, epoch) = (Memory::new(), clock::now());
        let second = |now: Instant| now.duration_since(epoch).as_secs();
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                // Reports come each second, decisions are made each other one.
                _ = seconds.tick() => {
                    let (load, second) = (self.load(), second(clock::now()));
                    memory.report(&load, second);
                    if second.is_multiple_of(TICK) {
                        self.follow(&load, memory.desired(ready(&load), self.slots(), second));
                    }
                }
                () = self.wake.notified() => {
                    let (load, second) = (self.load(), second(clock::now()));
                    // The activator's first report of a function at zero pokes the autoscaler.
                    if load.waiting > 0 && memory.scale == 0 {
                        memory.poke(second);
                        self.follow(&load, memory.desired(ready(&load), self.slots(), second));
                    }
                }
            }
        }
    }

    fn slots(&self) -> f32 {
        self.revision.spec.concurrency as f32
    }

    fn load(&self) -> Load {
        let revision = Arc::clone(&self.revision);
        let none =
            Load { revision, waiting: 0, deferred: 0, peak: 0, activity: Activity::default(), instances: Vec::new() };
        self.directory.load_of(&self.revision.id).unwrap_or(none)
    }

    /// The deployment has `desired` replicas: what is missing starts; of what is too much, the unready go first.
    fn follow(self: &Arc<Self>, load: &Load, desired: u32) {
        let (desired, ready) = (desired.min(self.revision.spec.scale.max), ready(load));
        let starts = {
            let mut pods = self.pods.lock();
            let starts = desired.saturating_sub(ready + pods.starting);
            pods.starting += starts;
            pods.surplus = (ready + pods.starting).saturating_sub(desired).min(pods.starting);
            starts
        };
        for _ in 0..starts {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(started) = this.host.start(Arc::clone(&this.revision)).await {
                    this.started(&started).await;
                }
            });
        }
        let mut idle: Vec<_> = load.instances.iter().filter(|one| !one.draining).collect();
        idle.sort_by_key(|one| (one.in_flight, one.idle_since));
        for one in idle.into_iter().take(ready.saturating_sub(desired) as usize) {
            let (this, id): (_, InstanceId) = (Arc::clone(self), one.id);
            tokio::spawn(async move {
                this.directory.drain(id).await;
                this.host.stop(id, Stop::Gently).await;
                this.directory.remove(id);
            });
        }
    }

    async fn started(&self, started: &Started) {
        let is_surplus = {
            let mut pods = self.pods.lock();
            pods.starting -= 1;
            let is_surplus = pods.surplus > 0;
            pods.surplus = pods.surplus.saturating_sub(1);
            is_surplus
        };
        if is_surplus {
            self.host.stop(started.id, Stop::Gently).await;
        } else {
            self.directory.add(&self.revision, started);
        }
    }
}

fn ready(load: &Load) -> u32 {
    load.instances.iter().filter(|one| !one.draining).count() as u32
}

/// One value for each second of a window, and the average over those that there are.
struct Buckets {
    values: Vec<f32>,
    /// First and last second written to; the first begins anew after a window without a word.
    first: u64,
    last: Option<u64>,
}

impl Buckets {
    fn new(window: usize) -> Self {
        Self { values: vec![0.0; window], first: 0, last: None }
    }

    fn window(&self) -> u64 {
        self.values.len() as u64
    }

    fn record(&mut self, now: u64, value: f32) {
        let window = self.window();
        match self.last {
            Some(last) if now.saturating_sub(last) < window => {
                (last + 1..=now).for_each(|second| self.values[(second % window) as usize] = 0.0);
            }
            Some(_) | None => {
                self.first = now;
                self.values.fill(0.0);
            }
        }
        self.values[(now % window) as usize] += value;
        self.last = Some(now);
    }

    fn average(&self, now: u64) -> f32 {
        let (window, Some(last)) = (self.window(), self.last) else { return 0.0 };
        let silent = now.saturating_sub(last);
        if silent >= window {
            return 0.0;
        }
        let begin = self.first.max((now + 1).saturating_sub(window));
        let sum: f32 = (begin..=last).map(|second| self.values[(second % window) as usize]).sum();
        sum / (last - self.first + 1).min(window - silent) as f32
    }
}

struct Memory {
    stable: Buckets,
    panic: Buckets,
    before: Duration,
    /// The last decision.
    scale: u32,
    panic_since: Option<u64>,
    panic_pods: u32,
    /// The revision has been active, and the activator in its path, since then.
    active_since: Option<u64>,
    proxy_since: Option<u64>,
}

impl Memory {
    fn new() -> Self {
        let (stable, panic) = (Buckets::new(STABLE), Buckets::new(PANIC));
        let (active_since, proxy_since) = (None, Some(0));
        Self {
            stable,
            panic,
            before: Duration::ZERO,
            scale: 0,
            panic_since: None,
            panic_pods: 0,
            active_since,
            proxy_since,
        }
    }

    /// The average concurrency of the last second. Nobody reports a function without pods and calls.
    fn report(&mut self, load: &Load, second: u64) {
        let area = load.activity.area;
        let calls = area.saturating_sub(self.before).as_secs_f32();
        self.before = self.before.max(area);
        if calls > 0.0 || !load.instances.is_empty() {
            self.record(second, calls);
        }
    }

    /// The first call from zero is reported at once, as a concurrency of one; the second's own report has the rest.
    fn poke(&mut self, second: u64) {
        self.record(second, 1.0);
        self.before += Duration::from_secs(1);
        self.active_since = Some(second);
    }

    fn record(&mut self, second: u64, calls: f32) {
        self.stable.record(second, calls);
        self.panic.record(second, calls);
    }

    fn desired(&mut self, ready: u32, slots: f32, now: u64) -> u32 {
        let floor = ready.max(1) as f32;
        let (stable_calls, panic_calls) = (self.stable.average(now), self.panic.average(now));
        let pods = |calls: f32| (calls / (slots * TARGET)).ceil();
        let limit = |want: f32| want.max((floor / DOWN_MAX).floor()).min((UP_MAX * floor).ceil()) as u32;
        let (stable, panic) = (limit(pods(stable_calls)), limit(pods(panic_calls)));
        if pods(panic_calls) / floor >= PANIC_THRESHOLD {
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| since + STABLE as u64 <= now) {
            (self.panic_since, self.panic_pods) = (None, 0);
        }
        let mut desired = stable;
        if self.panic_since.is_some() {
            self.panic_pods = self.panic_pods.max(stable).max(panic);
            desired = self.panic_pods;
        }
        // Excess burst capacity: below zero, the activator is in the path.
        let excess = (ready as f32 * slots - BURST - panic_calls).floor();
        self.proxy_since = if excess < 0.0 { self.proxy_since.or(Some(now)) } else { None };
        self.scale = if desired == 0 { self.zero(now) } else { desired };
        self.scale
    }

    /// The last pod goes once the revision was active for the stable window, and the activator in its path for the grace.
    fn zero(&self, now: u64) -> u32 {
        let is_active = self.active_since.is_some_and(|since| now < since + STABLE as u64);
        let is_proxied = self.proxy_since.is_some_and(|since| since + GRACE <= now);
        u32::from(is_active || (self.active_since.is_some() && !is_proxied))
    }
}

impl Demand for Knative {
    fn nudge(&self, _: &Arc<Revision>) {
        self.wake.notify_one();
    }

    fn overdue(&self, _: &Arc<Revision>, _: InstanceId) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_over_the_seconds_that_there_are() {
        let mut buckets = Buckets::new(6);
        buckets.record(10, 4.0);
        buckets.record(11, 2.0);
        assert_eq!(buckets.average(11), 3.0, "a window that has just begun");
        assert_eq!(buckets.average(13), 3.0, "nothing new: what there is");
        buckets.record(13, 0.0);
        assert_eq!(buckets.average(13), 1.5, "a second left out is a zero");
        assert_eq!(buckets.average(19), 0.0, "a window without a word");
        buckets.record(30, 5.0);
        assert_eq!(buckets.average(30), 5.0, "begins anew");
    }

    /// A steady concurrency from second 0 on, with as many pods as were desired.
    fn steady(memory: &mut Memory, calls: f32, seconds: std::ops::Range<u64>, mut ready: u32) -> Vec<u32> {
        let mut scales = Vec::new();
        for second in seconds {
            memory.record(second, calls);
            if second.is_multiple_of(TICK) {
                ready = memory.desired(ready, 1.0, second);
                scales.push(ready);
            }
        }
        scales
    }

    #[test]
    fn it_panics_at_twice_what_is_ready_and_lets_go_a_window_later() {
        let mut memory = Memory::new();
        memory.poke(0);
        assert_eq!(memory.desired(0, 1.0, 0), 2, "one call at a target of 0.7, and in panic");
        assert!(memory.panic_since.is_some());
        let scales = steady(&mut memory, 7.0, 1..30, 2);
        assert_eq!(scales.last(), Some(&10));
        let scales = steady(&mut memory, 1.3, 30..40, 10);
        assert_eq!(scales.last(), Some(&10), "nothing goes down in panic");
        let scales = steady(&mut memory, 1.3, 40..160, 10);
        assert_eq!(scales.last(), Some(&2));
        assert!(scales.windows(2).all(|pair| pair[1] >= pair[0] / 2), "half at most in a tick: {scales:?}");
        let scales = steady(&mut memory, 0.0, 160..224, 2);
        assert_eq!((scales[28], scales.last()), (1, Some(&0)), "{scales:?}");
    }
}
