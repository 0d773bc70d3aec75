//! Knative's autoscaler as it is documented: the baseline.
//!
//! Source: `pkg/autoscaler/scaling/autoscaler.go` and the configuration map `config-autoscaler` of knative/serving: a
//! tick of 2 s; average concurrency over 60 s and over 6 s, divided by 70 % of the slots; panic where the short average
//! asks for twice what is ready, and then nothing goes down for 60 s; at most 1,000 times up and half down at a tick;
//! zero after a window without a call and 30 s of grace; the activator wakes it from zero at once.

use chassis::{Shutdown, clock};
use fleet::window::{Sums, Windows};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use types::{InstanceId, Revision};
use wire::{Activity, Demand, Directory, Host, Load, Stop};

const TICK: Duration = Duration::from_secs(2);
const STABLE: usize = 60;
const PANIC: usize = 6;
const TARGET: f32 = 0.7;
const PANIC_THRESHOLD: f32 = 2.0;
const UP_MAX: f32 = 1000.0;
const DOWN_MAX: f32 = 2.0;
const GRACE: Duration = Duration::from_secs(30);

pub struct Knative {
    host: Arc<dyn Host>,
    directory: Arc<dyn Directory>,
    revision: Arc<Revision>,
    wake: Notify,
    starting: Mutex<u32>,
}

#[derive(Default)]
struct Memory {
    windows: Windows,
    before: Activity,
    panic_since: Option<Instant>,
    panic_pods: u32,
    zero_since: Option<Instant>,
}

impl Knative {
    pub fn new(host: Arc<dyn Host>, directory: Arc<dyn Directory>, revision: Arc<Revision>) -> Arc<Self> {
        Arc::new(Self { host, directory, revision, wake: Notify::new(), starting: Mutex::new(0) })
    }

    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let (mut memory, epoch) = (Memory::default(), clock::now());
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                // Metrics are scraped each second, decisions are made each other one.
                _ = seconds.tick() => {
                    let second = clock::now().duration_since(epoch).as_secs();
                    let load = self.load();
                    memory.see(&load, second);
                    if second.is_multiple_of(TICK.as_secs()) {
                        self.follow(&load, memory.desired(&load, self.slots()));
                    }
                }
                () = self.wake.notified() => {
                    let load = self.load();
                    if ready(&load) + *self.starting.lock() == 0 && load.waiting > 0 {
                        self.follow(&load, 1);
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
        let none = Load { revision, waiting: 0, peak: 0, activity: Activity::default(), instances: Vec::new() };
        self.directory.load_of(&self.revision.id).unwrap_or(none)
    }

    fn follow(self: &Arc<Self>, load: &Load, desired: u32) {
        let desired = desired.min(self.revision.spec.scale.max);
        let have = ready(load) + *self.starting.lock();
        for _ in have..desired {
            *self.starting.lock() += 1;
            let this = Arc::clone(self);
            tokio::spawn(async move {
                let started = this.host.start(Arc::clone(&this.revision)).await;
                if let Ok(started) = started {
                    this.directory.add(&this.revision, &started);
                }
                *this.starting.lock() -= 1;
            });
        }
        let mut idle: Vec<_> = load.instances.iter().filter(|one| !one.draining).collect();
        idle.sort_by_key(|one| (one.in_flight, one.idle_since));
        for one in idle.into_iter().take(ready(load).saturating_sub(desired) as usize) {
            let (this, id): (_, InstanceId) = (Arc::clone(self), one.id);
            tokio::spawn(async move {
                this.directory.drain(id).await;
                this.host.stop(id, Stop::Gently).await;
                this.directory.remove(id);
            });
        }
    }
}

fn ready(load: &Load) -> u32 {
    load.instances.iter().filter(|one| !one.draining).count() as u32
}

impl Memory {
    fn see(&mut self, load: &Load, second: u64) {
        let before = if load.activity == Activity::default() { load.activity } else { self.before };
        let area = load.activity.area.saturating_sub(before.area).as_secs_f32();
        if load.activity != Activity::default() {
            self.before = load.activity;
        }
        self.windows.add(second, &Sums { span: 1.0, area, ..Sums::default() });
    }

    fn desired(&mut self, load: &Load, slots: f32) -> u32 {
        let (ready, now) = (ready(load), clock::now());
        let floor = (ready.max(1)) as f32;
        let pods = |calls: f32| (calls / (slots * TARGET)).ceil();
        let limit = |want: f32| want.min((UP_MAX * floor).ceil()).max((floor / DOWN_MAX).floor()) as u32;
        let stable_calls = self.windows.sum(STABLE, 0).calls();
        let stable = if stable_calls <= f32::EPSILON { 0 } else { limit(pods(stable_calls)) };
        let panic = limit(pods(self.windows.sum(PANIC, 0).calls()));
        if panic as f32 / floor >= PANIC_THRESHOLD {
            self.panic_since = Some(now);
        } else if self.panic_since.is_some_and(|since| now.duration_since(since).as_secs() >= STABLE as u64) {
            (self.panic_since, self.panic_pods) = (None, 0);
        }
        if self.panic_since.is_some() {
            self.panic_pods = self.panic_pods.max(panic).max(ready);
            return self.panic_pods;
        }
        if stable > 0 {
            self.zero_since = None;
            return stable;
        }
        let since = *self.zero_since.get_or_insert(now);
        if now.duration_since(since) >= GRACE { 0 } else { ready.min(1) }
    }
}

impl Demand for Knative {
    fn nudge(&self, _: &Arc<Revision>) {
        self.wake.notify_one();
    }

    fn overdue(&self, _: &Arc<Revision>, _: InstanceId) {}
}
