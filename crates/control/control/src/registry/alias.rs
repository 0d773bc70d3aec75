//! Moving an alias: at once, by weight, or back.

use super::{Precondition, Registry, Stored, canary, encode, key, read::no_function};
use store::{Txn, Version};
use types::{Alias, AliasName, Canary, Code, Fault, FunctionName, RevisionId, Timestamp, record::Target};

/// The alias that deploys move and that cannot be deleted.
pub(crate) const LIVE: &str = "live";
/// How far back an alias can be rolled.
const HISTORY_MAX: usize = 20;
/// Bounds what one function adds to the picture that every server holds.
const ALIASES_MAX: usize = 100;

/// Where an alias is to point, and how it gets there.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub targets: Vec<Target>,
    pub step: Step,
    /// By steps to the one target.
    pub canary: Option<Canary>,
}

/// How a move is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Forward,
    /// Forgets this revision and what came after it in the history.
    Back(u32),
}

/// The alias with its traffic on `targets`.
pub(super) fn moved(alias: &Alias, targets: Vec<Target>, step: Step, now: Timestamp) -> Alias {
    let mut history = alias.history.clone();
    let back = match step {
        Step::Back(number) => history.iter().rposition(|past| *past == number),
        Step::Forward => None,
    };
    match back {
        Some(position) => history.truncate(position),
        None => {
            let main = alias.targets.iter().max_by_key(|target| target.weight).map(|target| target.revision);
            // While a split is shifted from one revision to the next, the old one is remembered once.
            history.extend(main.filter(|main| history.last() != Some(main)));
            history.drain(..history.len().saturating_sub(HISTORY_MAX));
        }
    }
    Alias { targets, history, changed: now, canary: None, ..alias.clone() }
}

/// Where a rollback leads: the newest revision in the history that still exists and does not have all traffic already.
pub(super) fn previous(alias: &Alias, exists: impl Fn(u32) -> bool) -> Option<u32> {
    let alone = |number: u32| matches!(alias.targets.as_slice(), [only] if only.revision == number);
    alias.history.iter().rev().copied().find(|number| !alone(*number) && exists(*number))
}

/// # Errors
/// `bad_request` unless there are one or two different revisions whose weights add up to 100.
fn check_targets(targets: &[Target]) -> Result<(), Fault> {
    let bad = |detail: String| Err(Fault::new(Code::BadRequest, detail));
    match targets {
        [one] if one.weight == 100 => Ok(()),
        [one] => bad(format!("targets: the only revision has weight {}: want 100", one.weight)),
        [a, b] if a.revision == b.revision => bad(format!("targets: revision {} stands there twice", a.revision)),
        [a, b] if a.weight == 0 || b.weight == 0 || u16::from(a.weight) + u16::from(b.weight) != 100 => {
            bad(format!("targets: the weights {} and {} do not add up to 100, each at least 1", a.weight, b.weight))
        }
        [_, _] => Ok(()),
        _ => bad(format!("targets: {} revisions: want one or two", targets.len())),
    }
}

/// # Errors
/// `bad_request`.
fn check_canary(targets: &[Target], canary: Option<&Canary>) -> Result<(), Fault> {
    match canary {
        Some(_) if targets.len() != 1 => {
            Err(Fault::new(Code::BadRequest, "canary: name the one revision that all traffic moves to"))
        }
        Some(canary) => canary.clone().asked().map(|_| ()),
        None => Ok(()),
    }
}

fn called(name: &FunctionName, alias: &AliasName) -> String {
    format!("alias `{alias}` of `{name}`")
}

impl Registry {
    /// Refuses early what [`Registry::move_alias`] would refuse, before anything is started for it.
    ///
    /// # Errors
    /// `bad_request`, `function_not_found`, `precondition_failed`.
    pub(crate) fn check_move(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        to: &Move,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        check_targets(&to.targets)?;
        check_canary(&to.targets, to.canary.as_ref())?;
        self.function(name)?;
        let found: Option<Stored<Alias>> = self.get(&key::alias(name, alias))?;
        precondition.check(&called(name, alias), found.map(|stored| stored.version))
    }

    /// Points an alias at the targets; makes it where it is missing. The caller has made sure that they start.
    ///
    /// # Errors
    /// `function_not_found`, `revision_not_found`, `bad_request`, `precondition_failed`, `storage_full`.
    pub(crate) async fn move_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        Move { targets, step, canary: plan }: &Move,
        precondition: Precondition,
    ) -> Result<Stored<Alias>, Fault> {
        check_targets(targets)?;
        check_canary(targets, plan.as_ref())?;
        let now = Timestamp::from(std::time::SystemTime::now());
        let by_steps = plan.as_ref().zip(targets.first().map(|target| target.revision));
        let plan = || {
            let mut owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let path = key::alias(name, alias);
            let before: Option<Stored<Alias>> = self.get(&path)?;
            let version = before.as_ref().map(|stored| stored.version);
            precondition.check(&called(name, alias), version)?;
            if version.is_none() && self.aliases(name)?.len() >= ALIASES_MAX {
                return Err(Fault::new(
                    Code::BadRequest,
                    format!("`{name}` has {ALIASES_MAX} aliases, the most there may be"),
                ));
            }
            let mut txn = Txn::new().version(key::function(name), owner.version).unchanged(&path, version);
            for target in targets {
                let id = RevisionId { function: name.clone(), number: target.revision };
                self.revision(&id)?;
                txn = txn.exists(key::revision(&id));
            }
            let begun = |alias: &Alias| by_steps.and_then(|(plan, to)| canary::begun(alias, to, plan, now));
            let after = match &before {
                // A repeated request changes nothing, so that its ETag stays.
                Some(stored) if stored.value.targets == *targets && stored.value.canary.is_none() => {
                    return Ok((txn, stored.clone()));
                }
                Some(stored) if by_steps.is_some_and(|(plan, to)| canary::is_under_way(&stored.value, to, plan)) => {
                    return Ok((txn, stored.clone()));
                }
                Some(stored) => {
                    begun(&stored.value).unwrap_or_else(|| moved(&stored.value, targets.clone(), *step, now))
                }
                None => Alias {
                    function: name.clone(),
                    name: alias.clone(),
                    targets: targets.clone(),
                    history: Vec::new(),
                    changed: now,
                    canary: None,
                },
            };
            if let Some(event) = canary::told(before.as_ref().map(|stored| &stored.value), &after) {
                txn = self.note_event(txn, &event)?;
            }
            owner.value.function.updated = now;
            txn = txn.put(path, encode(&after)?).put(key::function(name), encode(&owner.value)?);
            Ok((txn, Stored { value: after, version: Version::default() }))
        };
        let (version, mut stored) = self.change(plan).await?;
        if stored.version == Version::default() {
            stored.version = version;
        }
        Ok(stored)
    }

    /// Where a rollback of the alias leads, and the version of the alias that says so.
    ///
    /// # Errors
    /// `function_not_found`, `alias_not_found`, `revision_not_found` where nothing came before.
    pub(crate) fn before(&self, name: &FunctionName, alias: &AliasName) -> Result<(u32, Version), Fault> {
        let stored = self.alias(name, alias)?;
        let exists = |number| self.revision(&RevisionId { function: name.clone(), number }).is_ok();
        let number = previous(&stored.value, exists).ok_or_else(|| {
            let detail = format!("{} has no earlier revision to go back to", called(name, alias));
            Fault::new(Code::RevisionNotFound, detail)
        })?;
        Ok((number, stored.version))
    }

    /// # Errors
    /// `function_not_found`, `alias_not_found`, `precondition_failed`; `bad_request` for `live` and for an alias that
    /// a route points to.
    pub(crate) async fn delete_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        precondition: Precondition,
    ) -> Result<(), Fault> {
        let bad = |detail: String| Fault::new(Code::BadRequest, detail);
        if alias.as_str() == LIVE {
            return Err(bad(format!("`{LIVE}` cannot be deleted: delete the function instead")));
        }
        let now = Timestamp::from(std::time::SystemTime::now());
        let plan = || {
            let mut owner = self.owner(name)?.ok_or_else(|| no_function(name))?;
            let stored = self.alias(name, alias)?;
            precondition.check(&called(name, alias), Some(stored.version))?;
            if let Some(route) = self.routes_of(name)?.into_iter().find(|route| route.alias == *alias) {
                return Err(bad(format!(
                    "the route `{}` points to alias `{alias}`: delete the route first",
                    route.path
                )));
            }
            owner.value.function.updated = now;
            let path = key::alias(name, alias);
            let txn = Txn::new()
                .version(key::function(name), owner.version)
                .version(&path, stored.version)
                .delete(path)
                .put(key::function(name), encode(&owner.value)?);
            Ok((txn, ()))
        };
        self.change(plan).await.map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn alias(targets: &[(u32, u8)], history: &[u32]) -> Alias {
        Alias {
            function: "hello".parse().unwrap(),
            name: AliasName::live(),
            targets: list(targets),
            history: history.to_vec(),
            changed: Timestamp(0),
            canary: None,
        }
    }
    fn list(targets: &[(u32, u8)]) -> Vec<Target> {
        targets.iter().map(|(revision, weight)| Target { revision: *revision, weight: *weight }).collect()
    }

    #[test]
    fn a_move_remembers_where_the_traffic_was() {
        for (from, history, to, step, after) in [
            (&[(1, 100)][..], &[][..], &[(2, 100)][..], Step::Forward, &[1][..]),
            (&[(2, 100)], &[1], &[(2, 90), (3, 10)], Step::Forward, &[1, 2]),
            (&[(2, 90), (3, 10)], &[1, 2], &[(2, 50), (3, 50)], Step::Forward, &[1, 2]),
            (&[(2, 40), (3, 60)], &[1, 2], &[(3, 100)], Step::Forward, &[1, 2, 3]),
            (&[(3, 100)], &[1, 2], &[(2, 100)], Step::Back(2), &[1]),
            (&[(4, 100)], &[1, 2, 3], &[(1, 100)], Step::Back(1), &[]),
            (&[(4, 100)], &[1, 2], &[(3, 100)], Step::Back(3), &[1, 2, 4]),
        ] {
            let moved = moved(&alias(from, history), list(to), step, Timestamp(9));
            assert_eq!((moved.history.as_slice(), moved.targets), (after, list(to)), "{from:?} to {to:?}");
        }
        let long: Vec<u32> = (1..=HISTORY_MAX as u32).collect();
        let moved = moved(&alias(&[(99, 100)], &long), list(&[(100, 100)]), Step::Forward, Timestamp(9));
        assert_eq!(
            (moved.history.len(), moved.history.first(), moved.history.last()),
            (HISTORY_MAX, Some(&2), Some(&99))
        );
    }

    #[test]
    fn a_rollback_skips_what_is_gone_and_what_is_there() {
        for (targets, history, gone, found) in [
            (&[(3, 100)][..], &[1, 2][..], &[][..], Some(2)),
            (&[(3, 100)], &[1, 2], &[2], Some(1)),
            (&[(2, 100)], &[1, 2], &[], Some(1)),
            (&[(2, 90), (3, 10)], &[1, 2], &[], Some(2)),
            (&[(2, 100)], &[2], &[], None),
            (&[(1, 100)], &[], &[], None),
        ] {
            assert_eq!(previous(&alias(targets, history), |n| !gone.contains(&n)), found, "{targets:?} {history:?}");
        }
    }

    #[test]
    fn weights_add_up_to_a_hundred() {
        for (targets, ok) in [
            (&[(1, 100)][..], true),
            (&[(1, 90), (2, 10)], true),
            (&[], false),
            (&[(1, 99)], false),
            (&[(1, 100), (2, 0)], false),
            (&[(1, 50), (1, 50)], false),
            (&[(1, 200), (2, 156)], false),
            (&[(1, 40), (2, 40), (3, 20)], false),
        ] {
            assert_eq!(check_targets(&list(targets)).is_ok(), ok, "{targets:?}");
        }
    }
}
