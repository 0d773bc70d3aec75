//! What the platform that is taken over tells its heir: how many instances its traffic takes, so that they are there
//! before the traffic is.

use crate::{Fleet, share};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc, time::Duration};
use types::{Revision, RevisionId, Timestamp};
use wire::Hold;

/// The heir does not serve before its instances are ready, or this has passed. Less than the old platform waits for it.
const READY_MAX: Duration = Duration::from_secs(20);
/// The heir keeps them for this long, until kept connections have come over.
const KEEP: Duration = Duration::from_secs(15);
/// A will that is older is about another take-over.
const AGE_MAX_MS: i64 = 60_000;
/// Instances that an heir starts before it serves; the others come as usual.
const INSTANCES_MAX: u32 = 1_000;

/// What is left to the heir.
#[derive(Debug, Serialize, Deserialize)]
struct Will {
    time: Timestamp,
    instances: Vec<(RevisionId, u32)>,
}

impl Will {
    /// What of it counts at `now`: as many as are allowed, the first ones.
    fn valid(self, now: Timestamp) -> Vec<(RevisionId, u32)> {
        let age = now.0.abs_diff(self.time.0);
        let mut left = if age <= AGE_MAX_MS.unsigned_abs() { INSTANCES_MAX } else { 0 };
        let mut cut = |(id, count): (RevisionId, u32)| {
            let count = count.min(left);
            left -= count;
            (id, count)
        };
        self.instances.into_iter().map(&mut cut).filter(|(_, count)| *count > 0).collect()
    }
}

impl Fleet {
    /// Writes down, for the heir, what those take that have traffic. What has none starts with its first call, as ever.
    pub async fn bequeath(&self) {
        let Some(file) = self.0.options.will.clone() else { return };
        let loads = self.0.directory.load();
        let wanted = |load: &wire::Load| {
            let calls = self.calls(&load.revision.id);
            (calls > 0.0).then(|| (load.revision.id.clone(), share::instances(calls, 100, &load.revision.spec)))
        };
        let will = Will { time: (self.0.options.wall)(), instances: loads.iter().filter_map(wanted).collect() };
        let write = move || {
            std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(&file, serde_json::to_vec(&will)?)
        };
        if let Err(error) = tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "the heir is not told how many instances it needs");
        }
    }

    /// Starts what the platform before had, and waits until it is ready, or [`READY_MAX`] has passed.
    pub async fn inherit(&self) {
        let Some(file) = self.0.options.will.clone() else { return };
        let read = move || {
            let bytes = std::fs::read(&file)?;
            std::fs::remove_file(&file)?;
            Ok::<Will, std::io::Error>(serde_json::from_slice(&bytes)?)
        };
        // None, or one that cannot be read: instances start with the calls, as after any start.
        let Ok(Ok(will)) = tokio::task::spawn_blocking(read).await else { return };
        let known = self.known(will.valid((self.0.options.wall)()));
        let (mut holds, mut starts) = (Vec::<Hold>::new(), tokio::task::JoinSet::new());
        for (revision, count) in known {
            holds.push(self.hold(&revision, count));
            for _ in 0..count {
                let start = self.start(&revision);
                starts.spawn(async move { start.await.is_ok() });
            }
        }
        let count = starts.len();
        if tokio::time::timeout(READY_MAX, starts.join_all()).await.is_err() {
            tracing::warn!(
                count,
                "not all instances of the platform before are ready: it is taken over with those that are"
            );
        }
        let fleet = self.clone();
        chassis::task::spawn("keep what was inherited", async move {
            tokio::select! {
                () = tokio::time::sleep(KEEP) => {}
                () = fleet.0.stopping.cancelled() => {}
            }
            drop(holds);
        });
    }

    fn known(&self, instances: Vec<(RevisionId, u32)>) -> Vec<(Arc<Revision>, u32)> {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        let find = |(id, count): (RevisionId, u32)| {
            let targets = snapshot.functions.get(&id.function)?.aliases.values();
            let mut revisions = targets.flat_map(|target| target.revisions.iter().map(|weighted| &weighted.revision));
            let revision = revisions.find(|revision| revision.id == id)?;
            Some((Arc::clone(revision), count.min(revision.spec.scale.max)))
        };
        instances.into_iter().filter_map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_is_of_this_moment_and_bounded() {
        let id = |name: &str| RevisionId { function: name.parse().unwrap(), number: 1 };
        let will = |time, counts: &[u32]| Will {
            time: Timestamp(time),
            instances: counts.iter().map(|count| (id("a"), *count)).collect(),
        };
        for (time, counts, want) in [
            (100_000, &[3, 0, 2][..], &[3, 2][..]),
            (100_000, &[900, 200, 5], &[900, 100]),
            (39_000, &[3], &[]),
            (161_000, &[3], &[]),
        ] {
            let valid = will(time, counts).valid(Timestamp(100_000));
            assert_eq!(valid.iter().map(|(_, count)| *count).collect::<Vec<_>>(), want, "{time} {counts:?}");
        }
        let there_and_back: Will = serde_json::from_slice(&serde_json::to_vec(&will(7, &[4])).unwrap()).unwrap();
        assert_eq!(there_and_back.instances, [(id("a"), 4)]);
    }
}
