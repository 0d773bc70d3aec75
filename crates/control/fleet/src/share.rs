//! How many instances a revision has to have before calls move to it: those that it will need for its share of them.

use crate::{Fleet, decide::for_calls, judge::busy, window};
use std::time::Duration;
use types::{Revision, RevisionId, Spec};
use wire::Share;

/// Instances for `percent` of `calls` at once, between the revision's part of the minimum ([`crate::parts`]) and the maximum;
/// one at least, which is the probe.
pub(crate) fn instances(calls: f32, percent: u8, spec: &Spec) -> u32 {
    let part = f32::from(percent) / 100.0;
    let calls = calls * part;
    let min = (spec.scale.min as f32 * part).round() as u32;
    let target = spec.scale.target.map(|target| target as f32 / 100.0);
    let wanted = for_calls(calls, target, spec.concurrency);
    wanted.max(min).min(spec.scale.max).max(1)
}

impl Fleet {
    /// Instances that `revision` needs for its share of what the alias's revisions have to do now.
    pub(crate) fn for_share(&self, revision: &Revision, share: &Share) -> u32 {
        let snapshot = std::sync::Arc::clone(&self.0.snapshots.borrow());
        let function = snapshot.functions.get(&revision.id.function);
        let target = function.and_then(|function| function.aliases.get(&share.alias));
        let old = target.into_iter().flat_map(|target| target.revisions.iter());
        let calls: f32 = old.map(|weighted| self.calls(&weighted.revision.id)).sum();
        instances(calls, share.percent, &revision.spec)
    }

    /// Calls at once: those that are there now, or as many as the window had on average.
    pub(crate) fn calls(&self, id: &RevisionId) -> f32 {
        let now = self.0.directory.load_of(id).map_or(0, |load| busy(&load));
        let tracks = self.0.tracks.lock();
        let lately = tracks.get(id).map_or(0.0, |track| track.windows.sum(window::SECONDS, 0).calls());
        (now as f32).max(lately)
    }

    /// Waits until so many instances are ready, no longer than `limit` and not where they fail to start; says how many are.
    pub(crate) async fn until_ready(&self, revision: &Revision, wanted: u32, limit: Duration) -> u32 {
        let all = async {
            loop {
                let news = self.0.news.notified();
                tokio::pin!(news);
                // From now on, so that no news between the look and the wait is missed.
                news.as_mut().enable();
                let failing =
                    || self.0.tracks.lock().get(&revision.id).and_then(|track| track.failing(chassis::clock::now()));
                if self.ready(&revision.id) >= wanted || failing().is_some() || self.0.stopping.is_cancelled() {
                    return;
                }
                news.await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        self.ready(&revision.id)
    }

    pub(crate) fn ready(&self, id: &RevisionId) -> u32 {
        let load = self.0.directory.load_of(id);
        load.map_or(0, |load| load.instances.iter().filter(|instance| !instance.draining).count() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_instances() {
        for (calls, percent, manifest, want) in [
            (0.0, 100, "", 1),
            (0.01, 100, "", 1),
            (0.0, 100, "[scale]\nmin=3", 3),
            (0.0, 30, "[scale]\nmin=10", 3),
            (0.0, 1, "[scale]\nmin=10", 1),
            (5.0, 100, "[scale]\ntarget=100", 5),
            (50.0, 10, "[scale]\ntarget=100", 5),
            (5.0, 100, "[scale]\ntarget=50", 10),
            (50.0, 100, "[scale]\ntarget=100\nmax=20", 20),
            (50.0, 100, "concurrency=100\n[scale]\ntarget=100", 1),
            (50.0, 100, "concurrency=20\n[scale]\ntarget=100", 3),
        ] {
            let revision = wire::sample::revision("a", manifest).unwrap();
            assert_eq!(instances(calls, percent, &revision.spec), want, "{percent} % of {calls} calls, {manifest}");
        }
        let exclusive = wire::sample::revision("a", "").unwrap();
        let with_room = instances(30.0, 100, &exclusive.spec);
        assert!((30..60).contains(&with_room), "{with_room}: where the traffic says, there is some room");
    }
}
