//! What follows from a decision: instances are started, drained and ended, each in a task of its own.

use crate::{Fleet, track::Track, turns::Purpose};
use chassis::{clock, task};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use types::{Code, Fault, InstanceId, Revision, RevisionId};
use wire::{Ensured, Hold, Load, Share, Started, Stop};

/// Longest drain of an instance on top of its revision's longest call.
const DRAIN_SLACK: Duration = Duration::from_secs(5);

/// The phases of a start.
type Begun = Result<Vec<(&'static str, Duration)>, Fault>;

fn stopping() -> Fault {
    Fault::new(Code::ShuttingDown, "the platform is stopping")
}

impl Fleet {
    /// Starts one instance in the background.
    pub(crate) fn start(&self, revision: &Arc<Revision>) -> oneshot::Receiver<Begun> {
        self.start_for(revision, Purpose::Scale)
    }

    /// In a task of its own: who drops the result does not tear the start in half. Its fault is told to whoever waits.
    fn start_for(&self, revision: &Arc<Revision>, purpose: Purpose) -> oneshot::Receiver<Begun> {
        self.track(revision, |track| track.starting += 1);
        let place = self.0.starts.place(&revision.id, purpose);
        let (fleet, revision) = (self.clone(), Arc::clone(revision));
        let (begun, end) = oneshot::channel();
        task::spawn("start an instance", async move {
            // `None`: `Fleet::give_up` has taken it off what is starting.
            if let Some(place) = place.await {
                let started = fleet.start_now(&revision).await;
                drop(place);
                let _ = begun.send(started);
            }
        });
        end
    }

    /// Gives up to `count` starts up that still wait for their turn.
    pub(crate) fn give_up(&self, revision: &RevisionId, track: &mut Track, count: u32) {
        track.starting -= self.0.starts.give_up(revision, count);
    }

    /// Starts one instance that was counted as starting, and has its place.
    async fn start_now(&self, revision: &Arc<Revision>) -> Begun {
        let mut started = match self.0.stopping.is_cancelled() {
            true => Err(stopping()),
            false => self.0.host.start(Arc::clone(revision)).await,
        };
        if let Ok(late) = &started
            && self.0.stopping.is_cancelled()
        {
            self.0.host.stop(late.id, Stop::Gently).await;
            started = Err(stopping());
        }
        if let Ok(started) = &started {
            // In the directory before it stops counting as starting: no look may see neither.
            self.0.directory.add(revision, started);
        }
        self.track(revision, |track| {
            track.starting -= 1;
            match &started {
                Ok(started) => track.started(started.phases.iter().map(|(_, time)| *time).sum()),
                Err(fault) => track.failed(fault, clock::now()),
            }
        });
        self.0.news.notify_waiters();
        match started {
            Ok(started) => {
                tracing::info!(revision = %revision.id, instance = %started.id, "started");
                let phases = started.phases.clone();
                self.follow(revision, started);
                Ok(phases)
            }
            Err(fault) => {
                tracing::info!(revision = %revision.id, %fault, "an instance did not start");
                self.0.directory.fail(&revision.id, &fault);
                Err(fault)
            }
        }
    }

    /// Forgets the instance as soon as it is gone.
    fn follow(&self, revision: &Arc<Revision>, started: Started) {
        let (fleet, revision) = (self.clone(), Arc::clone(revision));
        task::spawn("follow an instance", async move {
            let (id, mut exit) = (started.id, started.exit);
            // An error is the end of the agent, and so of the instance.
            let _ = exit.wait_for(Option::is_some).await;
            fleet.0.directory.remove(id);
            fleet.nudge_now(&revision);
        });
    }

    /// A ready instance of the revision, the probe before an alias moves, and then as many as its share of the calls takes.
    pub(crate) async fn ensure_share(&self, revision: &Arc<Revision>, share: &Share) -> Result<Ensured, Fault> {
        let wanted = self.for_share(revision, share);
        let hold = self.hold(revision, wanted);
        let phases = match self.ready(&revision.id) {
            0 => self.start_for(revision, Purpose::Probe).await.map_err(Fault::internal)??,
            _ => Vec::new(),
        };
        // The others are started by a look, which sees what is held.
        self.nudge_now(revision);
        let ready = self.until_ready(revision, wanted, self.0.options.settle).await;
        Ok(Ensured { phases, ready, wanted, hold })
    }

    /// Keeps so many instances, and has those that are missing started.
    pub(crate) fn hold(&self, revision: &Arc<Revision>, instances: u32) -> Hold {
        self.track(revision, |track| track.hold(instances));
        let (fleet, revision) = (self.clone(), Arc::clone(revision));
        Hold::new(move || fleet.track(&revision, |track| track.let_go(instances, clock::now())))
    }

    /// Drains and ends `count` instances, the least useful first.
    pub(crate) fn retire(&self, load: &Load, count: usize) {
        for id in least_useful(load, count) {
            let (fleet, revision) = (self.clone(), Arc::clone(&load.revision));
            task::spawn("retire an instance", async move { fleet.drain_and_stop(&revision, id, Stop::Gently).await });
        }
    }

    async fn drain_and_stop(&self, revision: &Revision, id: InstanceId, how: Stop) {
        let limit = revision.spec.call_max().duration() + DRAIN_SLACK;
        if tokio::time::timeout(limit, self.0.directory.drain(id)).await.is_err() {
            tracing::warn!(instance = %id, "its calls did not end in time");
        }
        self.0.host.stop(id, how).await;
        self.0.directory.remove(id);
    }

    /// A call overran on it or it broke: an exclusive instance is killed at once, a shared one when its other calls ended.
    pub(crate) async fn end_overdue(&self, revision: &Arc<Revision>, id: InstanceId) {
        tracing::info!(revision = %revision.id, instance = %id, "an instance overran or broke: it is replaced");
        if revision.spec.concurrency > 1 {
            self.drain_and_stop(revision, id, Stop::Overdue).await;
        } else {
            self.0.host.stop(id, Stop::Overdue).await;
            self.0.directory.remove(id);
        }
        self.nudge_now(revision);
    }

    /// Ends every instance at once, each within its grace.
    pub(crate) async fn stop_all(&self) {
        let instances = self.0.host.instances();
        let stops = instances.into_iter().map(|instance| {
            let fleet = self.clone();
            tokio::spawn(async move { fleet.0.host.stop(instance.id, Stop::Gently).await })
        });
        for stop in stops.collect::<Vec<_>>() {
            let _ = stop.await;
        }
    }

    pub(crate) fn track(&self, revision: &Revision, change: impl FnOnce(&mut Track)) {
        let mut tracks = self.0.tracks.lock();
        let new = || Track::new(self.0.options.growth, &revision.spec.scale, clock::now());
        change(tracks.entry(revision.id.clone()).or_insert_with(new));
    }
}

/// The instances that are missed least: the longest idle first, then, of shared ones, those with the fewest calls, which
/// they end first. An exclusive one at work is never among them.
fn least_useful(load: &Load, count: usize) -> Vec<InstanceId> {
    let is_shared = load.revision.spec.concurrency > 1;
    let candidates = load.instances.iter().filter(|one| !one.draining && (is_shared || one.in_flight == 0));
    let mut candidates: Vec<_> = candidates.collect();
    candidates.sort_by_key(|one| (one.in_flight, one.idle_since));
    candidates.into_iter().take(count).map(|one| one.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use wire::{Activity, InstanceLoad};

    fn load(extra: &str, instances: &[(InstanceId, u32, u64, bool)]) -> Load {
        let revision = wire::sample::revision("a", extra).unwrap();
        let now = Instant::now() + Duration::from_secs(1000);
        let instances = instances.iter().map(|(id, in_flight, idle, draining)| InstanceLoad {
            id: *id,
            in_flight: *in_flight,
            idle_since: (*in_flight == 0).then(|| now - Duration::from_secs(*idle)),
            draining: *draining,
        });
        let instances = instances.collect();
        Load { revision, waiting: 0, deferred: 0, peak: 0, activity: Activity::default(), instances }
    }

    #[test]
    fn the_least_useful_goes_first() {
        let [a, b, c, d, e] = [(); 5].map(|()| InstanceId::random());
        let instances = [(a, 3, 0, false), (b, 0, 5, false), (c, 0, 50, false), (d, 1, 0, false), (e, 0, 99, true)];
        let shared = load("concurrency=10", &instances);
        assert_eq!(least_useful(&shared, 1), [c]);
        assert_eq!(least_useful(&shared, 9), [c, b, d, a], "what drains already is not among them");
        assert_eq!(least_useful(&load("", &instances), 9), [c, b], "an exclusive one at work stays");
    }
}
