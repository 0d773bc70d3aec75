//! The CPU that each revision used since the last look, from what its instances used since their start.

use crate::Fleet;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use types::{InstanceId, RevisionId};
use wire::Load;

/// What each instance had used at the last look. Those that are gone are forgotten with the next.
pub(crate) type Meters = HashMap<InstanceId, Duration>;

impl Fleet {
    /// Core seconds by revision. Only those that scale by CPU are asked about: the answer costs a look at `/proc`.
    pub(crate) fn cpu(&self, loads: &[Load]) -> HashMap<RevisionId, f32> {
        let asked: HashSet<&RevisionId> =
            loads.iter().filter(|load| by_cpu(load)).map(|load| &load.revision.id).collect();
        if asked.is_empty() {
            return HashMap::new();
        }
        growth(&mut self.0.meters.lock(), self.0.host.cpu(&|id| asked.contains(id)))
    }
}

fn by_cpu(load: &Load) -> bool {
    let spec = &load.revision.spec;
    let target = spec.scale.cpu_target(spec.runtime, spec.contract, spec.concurrency);
    target.is_some() && !load.instances.is_empty()
}

/// What was used since the last look; an instance seen for the first time has its start behind it, which is not demand.
fn growth(meters: &mut Meters, used: Vec<(RevisionId, InstanceId, Duration)>) -> HashMap<RevisionId, f32> {
    let mut sums = HashMap::new();
    let mut now = Meters::with_capacity(used.len());
    for (revision, id, total) in used {
        let before = meters.get(&id).copied().unwrap_or(total);
        *sums.entry(revision).or_default() += total.saturating_sub(before).as_secs_f32();
        now.insert(id, total);
    }
    *meters = now;
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_growth_of_each_instance() {
        let (a, b): (RevisionId, RevisionId) = ("a@1".parse().unwrap(), "b@1".parse().unwrap());
        let ids = [(); 3].map(|()| InstanceId::random());
        let ms = Duration::from_millis;
        let mut meters = Meters::new();
        let used = vec![(a.clone(), ids[0], ms(5000)), (a.clone(), ids[1], ms(100))];
        assert_eq!(growth(&mut meters, used).get(&a), Some(&0.0));
        let used = vec![(a.clone(), ids[0], ms(5500)), (a.clone(), ids[1], ms(350)), (b.clone(), ids[2], ms(9))];
        let sums = growth(&mut meters, used);
        assert_eq!((sums.get(&a), sums.get(&b)), (Some(&0.75), Some(&0.0)));
        growth(&mut meters, Vec::new());
        assert!(meters.is_empty(), "those that are gone are forgotten");
    }
}
