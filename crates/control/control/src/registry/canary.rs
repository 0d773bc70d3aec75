//! An alias on its way to a new revision by steps. Where it stands is a part of the alias's own record, so that a step is
//! whole or absent, and whoever moves the alias otherwise ends the canary with the same write.

use super::{Registry, Stored, alias, encode, key, read::decode};
use std::collections::BTreeMap;
use store::{
    Txn,
    record::{Change, Kind, Watch, WatchError},
};
use types::{Alias, Canary, Event, Fault, Happening, RevisionId, Timestamp, canary::Rollout, record::Target};

/// Where a canary goes from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// To the next step, or to all traffic after the last one.
    On,
    /// To the old revision.
    Back,
}

/// The alias at the first step to `to`; `None` where that has the traffic already, so that there is nothing to compare it
/// with.
pub(super) fn begun(alias: &Alias, to: u32, plan: &Canary, now: Timestamp) -> Option<Alias> {
    let main = alias.targets.iter().max_by_key(|target| target.weight).map(|target| target.revision);
    // A canary that is under way was not promoted: what came before it is what is trusted.
    let from = alias.canary.as_ref().map(|rollout| rollout.from).or(main).filter(|from| *from != to)?;
    let rollout = Rollout { from, to, step: 0, since: now, plan: plan.clone() };
    let trusted = Alias { targets: vec![Target { revision: from, weight: 100 }], ..alias.clone() };
    let begun = alias::moved(&trusted, rollout.targets(), alias::Step::Forward, now);
    Some(Alias { canary: Some(rollout), ..begun })
}

/// True where the alias is on this way already.
pub(super) fn is_under_way(alias: &Alias, to: u32, plan: &Canary) -> bool {
    alias.canary.as_ref().is_some_and(|rollout| rollout.to == to && rollout.plan == *plan)
}

/// The alias after a turn, and what happened; `None` where no canary is under way.
fn turned(alias: &Alias, turn: Turn, why: &str, now: Timestamp) -> Option<(Alias, Event)> {
    let rollout = alias.canary.as_ref()?;
    let name = &alias.name;
    let only = |revision| vec![Target { revision, weight: 100 }];
    let (after, what, text) = match (turn, rollout.next(now)) {
        (Turn::On, Some(next)) => {
            let text = format!("`{name}`: {next}; {why}");
            let after = Alias { targets: next.targets(), changed: now, canary: Some(next), ..alias.clone() };
            (after, Happening::CanaryStep, text)
        }
        (Turn::On, None) => {
            let after = Alias { targets: only(rollout.to), changed: now, canary: None, ..alias.clone() };
            (after, Happening::CanaryDone, format!("`{name}` is all on it; {why}"))
        }
        (Turn::Back, _) => {
            let after = alias::moved(alias, only(rollout.from), alias::Step::Back(rollout.from), now);
            (after, Happening::RolledBack, format!("`{name}` is back on revision {}: {why}", rollout.from))
        }
    };
    Some((after, about(alias, rollout.to, what, text, now)))
}

pub(super) fn about(alias: &Alias, number: u32, what: Happening, text: String, time: Timestamp) -> Event {
    let revision = RevisionId { function: alias.function.clone(), number };
    Event { time, revision, instance: None, what, text }
}

/// What a move from `before` to `after` means to canaries: one begins, or one is ended by hand.
pub(super) fn told(before: Option<&Alias>, after: &Alias) -> Option<Event> {
    let name = &after.name;
    if let Some(rollout) = &after.canary {
        let text = format!("`{name}`: {rollout}; revision {} has the rest", rollout.from);
        return Some(about(after, rollout.to, Happening::CanaryStep, text, after.changed));
    }
    let rollout = before?.canary.as_ref()?;
    let shares: Vec<String> =
        after.targets.iter().map(|target| format!("{} % on revision {}", target.weight, target.revision)).collect();
    let text = format!("`{name}` was moved by hand at {} %: {}", rollout.weight(), shares.join(", "));
    Some(about(after, rollout.to, Happening::CanaryEnded, text, after.changed))
}

impl Registry {
    /// Moves a canary on or back, if its alias still is as it was `seen`; gives what happened.
    ///
    /// # Errors
    /// `storage_full`, `internal`.
    pub(crate) async fn turn(&self, seen: &Stored<Alias>, turn: Turn, why: &str) -> Result<Option<Event>, Fault> {
        let now = Timestamp::from(std::time::SystemTime::now());
        let (name, path) = (&seen.value.function, key::alias(&seen.value.function, &seen.value.name));
        let plan = || {
            let current: Option<Stored<Alias>> = self.get(&path)?;
            let (Some(mut owner), true) = (self.owner(name)?, current.is_some_and(|now| now.version == seen.version))
            else {
                return Ok((Txn::new(), None));
            };
            let Some((after, event)) = turned(&seen.value, turn, why, now) else { return Ok((Txn::new(), None)) };
            owner.value.function.updated = now;
            let txn = Txn::new()
                .version(key::function(name), owner.version)
                .version(&path, seen.version)
                .put(&path, encode(&after)?)
                .put(key::function(name), encode(&owner.value)?);
            Ok((self.note_event(txn, &event)?, Some(event)))
        };
        Ok(self.change(plan).await?.1)
    }

    /// The canaries under way, as they change.
    pub(crate) fn canaries(&self) -> Canaries {
        let (entries, watch) = self.records.list_and_watch(key::ALIASES);
        let mut canaries = Canaries { registry: self.clone(), watch, under_way: BTreeMap::new() };
        canaries.take(entries);
        canaries
    }
}

/// Follows the aliases: most have no canary, and are not looked at.
pub(crate) struct Canaries {
    registry: Registry,
    watch: Watch,
    under_way: BTreeMap<String, Stored<Alias>>,
}

impl Canaries {
    /// Those under way now.
    pub(crate) fn now(&mut self) -> Vec<Stored<Alias>> {
        loop {
            match self.watch.try_next() {
                Ok(Some(change)) => self.changed(change),
                Ok(None) | Err(WatchError::Closed) => break,
                // More has changed than is remembered.
                Err(WatchError::Lagged { .. } | WatchError::Compacted { .. }) => *self = self.registry.canaries(),
            }
        }
        self.under_way.values().cloned().collect()
    }

    fn changed(&mut self, change: Change) {
        match change.kind {
            Kind::Put(entry) => {
                self.under_way.remove(&*entry.key);
                self.take(vec![entry]);
            }
            Kind::Delete { key } => drop(self.under_way.remove(&*key)),
        }
    }

    fn take(&mut self, entries: Vec<store::Entry>) {
        const FIELD: &[u8] = b"\"canary\":{";
        let has = |entry: &store::Entry| entry.value.windows(FIELD.len()).any(|part| part == FIELD);
        for entry in entries.into_iter().filter(has) {
            match decode::<Alias>(&entry) {
                Ok(stored) if stored.value.canary.is_some() => {
                    self.under_way.insert(entry.key.to_string(), stored);
                }
                Ok(_) => {}
                Err(fault) => tracing::error!(%fault, "a canary stands still"),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn alias(targets: &[(u32, u8)], history: &[u32]) -> Alias {
        let target = |(revision, weight): &(u32, u8)| Target { revision: *revision, weight: *weight };
        Alias {
            function: "hello".parse().unwrap(),
            name: types::AliasName::live(),
            targets: targets.iter().map(target).collect(),
            history: history.to_vec(),
            changed: Timestamp(0),
            canary: None,
        }
    }
    fn shares(alias: &Alias) -> Vec<(u32, u8)> {
        alias.targets.iter().map(|target| (target.revision, target.weight)).collect()
    }

    #[test]
    fn a_canary_walks_its_steps_to_the_end_or_back() {
        let now = Timestamp(9);
        let plan = Canary { steps: types::canary::steps("5,50").unwrap(), ..Canary::default() };
        let first = begun(&alias(&[(2, 100)], &[1]), 3, &plan, now).unwrap();
        assert_eq!((shares(&first), first.history.as_slice()), (vec![(2, 95), (3, 5)], &[1, 2][..]));
        assert!(is_under_way(&first, 3, &plan) && !is_under_way(&first, 4, &plan));
        let on = |alias: &Alias| turned(alias, Turn::On, "why", now).unwrap();
        let (second, event) = on(&first);
        assert_eq!((shares(&second), event.what), (vec![(2, 50), (3, 50)], Happening::CanaryStep));
        let (done, event) = on(&second);
        assert_eq!((shares(&done), event.what, done.canary.is_some()), (vec![(3, 100)], Happening::CanaryDone, false));
        assert_eq!(alias::previous(&done, |_| true), Some(2), "a rollback by hand leads to the old one");
        assert!(turned(&done, Turn::On, "", now).is_none());
        for step in [&first, &second] {
            let (back, event) = turned(step, Turn::Back, "why", now).unwrap();
            assert_eq!((shares(&back), event.what), (vec![(2, 100)], Happening::RolledBack));
            assert_eq!((back.history.as_slice(), back.canary), (&[1][..], None), "as if it had never been");
            assert_eq!(event.revision.number, 3);
        }
    }

    #[test]
    fn what_is_trusted_is_compared_with() {
        let (now, plan) = (Timestamp(9), Canary::default());
        assert!(begun(&alias(&[(2, 100)], &[]), 2, &plan, now).is_none(), "it has the traffic already");
        assert!(begun(&alias(&[(2, 90), (3, 10)], &[]), 2, &plan, now).is_none());
        let split = begun(&alias(&[(2, 90), (3, 10)], &[1]), 4, &plan, now).unwrap();
        assert_eq!((shares(&split), split.history.as_slice()), (vec![(2, 95), (4, 5)], &[1, 2][..]));
        // A second one in the middle of the first, which has most of the traffic by then.
        let mut first = begun(&alias(&[(2, 100)], &[1]), 3, &plan, now).unwrap();
        first.targets = vec![Target { revision: 2, weight: 40 }, Target { revision: 3, weight: 60 }];
        let second = begun(&first, 4, &plan, now).unwrap();
        assert_eq!((shares(&second), second.history.as_slice()), (vec![(2, 95), (4, 5)], &[1, 2][..]));
        let by_hand = alias::moved(&first, vec![Target { revision: 2, weight: 100 }], alias::Step::Back(2), now);
        let event = told(Some(&first), &by_hand).unwrap();
        assert_eq!((event.what, event.revision.number), (Happening::CanaryEnded, 3));
        assert!(event.text.contains("100 % on revision 2"), "{}", event.text);
        assert!(told(Some(&by_hand), &by_hand).is_none());
    }
}
