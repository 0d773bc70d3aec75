//! Canaries in numbers: where each stands while it is under way, and how the looks at it ended.
//!
//! Where it stands goes with the canary. The verdicts stay, so that the last one of a canary is seen by who asks every
//! minute; at most so many functions are known, and a new one takes the place of the one that began longest ago and has
//! none under way.

use super::{Key, judge::Verdict};
use chassis::metrics::{Counter, Family, Gauge};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use types::{Alias, AliasName, FunctionName, canary::Rollout};

/// Functions that are told of; each has up to four verdicts.
const FUNCTIONS_MAX: usize = 1000;
/// Canaries that are told of: a function may have several aliases.
const CANARIES_MAX: usize = 1000;

type Labels = Vec<(&'static str, String)>;

/// Registered once for the process; clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    weight: Family<Labels, Gauge>,
    step: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    verdicts: Family<Labels, Counter>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    under_way: BTreeSet<Key>,
    functions: VecDeque<FunctionName>,
}

impl Metrics {
    pub fn register(metrics: &chassis::metrics::Metrics) -> Self {
        Self {
            weight: metrics.register(
                "canary_weight",
                "Per cent of the traffic that a canary's new revision has",
                Family::default(),
            ),
            step: metrics.register("canary_step", "Step that a canary is in, from 1", Family::default()),
            waiting: metrics.register(
                "canary_waiting",
                "1 where a canary's step is over and waits for more calls",
                Family::default(),
            ),
            verdicts: metrics.register(
                "canary_verdicts",
                "Looks at canaries by verdict: stay, on, errors, slower",
                Family::default(),
            ),
            known: Arc::default(),
        }
    }

    /// One look at a canary. `waits` where its step is over and has too few calls.
    pub(super) fn looked(&self, alias: &Alias, rollout: &Rollout, verdict: Verdict, waits: bool) {
        let mut known = self.known.lock();
        if !self.admit(&mut known, &alias.function) {
            return;
        }
        let verdict = [("function", alias.function.to_string()), ("verdict", verdict.as_str().to_owned())];
        self.verdicts.get_or_create(&verdict.to_vec()).inc();
        let key = (alias.function.clone(), alias.name.clone());
        if known.under_way.len() >= CANARIES_MAX && !known.under_way.contains(&key) {
            return;
        }
        let labels = labels(&key);
        let new = alias.targets.iter().find(|target| target.revision == rollout.to);
        self.weight.get_or_create(&labels).set(new.map_or(0, |target| i64::from(target.weight)));
        self.step.get_or_create(&labels).set(i64::from(rollout.step) + 1);
        self.waiting.get_or_create(&labels).set(i64::from(waits));
        known.under_way.insert(key);
    }

    /// Forgets where canaries stand that are not there any more.
    pub(super) fn keep(&self, is_there: impl Fn(&FunctionName, &AliasName) -> bool) {
        self.known.lock().under_way.retain(|key| {
            let stays = is_there(&key.0, &key.1);
            if !stays {
                let labels = labels(key);
                for gauges in [&self.weight, &self.step, &self.waiting] {
                    gauges.remove(&labels);
                }
            }
            stays
        });
    }

    /// Whether there is room for the function, made if need be.
    fn admit(&self, known: &mut Known, function: &FunctionName) -> bool {
        if known.functions.contains(function) {
            return true;
        }
        if known.functions.len() >= FUNCTIONS_MAX {
            let idle = |name: &FunctionName| !known.under_way.iter().any(|(function, _)| function == name);
            let Some(place) = known.functions.iter().position(idle) else { return false };
            if let Some(left) = known.functions.remove(place) {
                for verdict in Verdict::WORDS {
                    self.verdicts.remove(&vec![("function", left.to_string()), ("verdict", verdict.to_owned())]);
                }
            }
        }
        known.functions.push_back(function.clone());
        true
    }
}

fn labels((function, alias): &Key) -> Labels {
    vec![("function", function.to_string()), ("alias", alias.to_string())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::judge::Reason, *};
    use types::{Canary, record::Target};

    fn canary(function: &str, step: u32) -> (Alias, Rollout) {
        let now = "2026-01-01T00:00:00Z";
        let rollout = serde_json::json!({"from": 1, "to": 2, "step": step, "since": now, "plan": Canary::default()});
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        let target = |revision, weight| Target { revision, weight };
        let new = rollout.plan.steps[step as usize].weight;
        let alias = serde_json::json!({
            "function": function, "name": "live", "changed": now, "canary": rollout,
            "targets": [target(1, 100 - new), target(2, new)],
        });
        (serde_json::from_value(alias).unwrap(), rollout)
    }

    #[test]
    fn where_it_stands_goes_with_it_and_its_verdicts_stay() {
        let registry = chassis::metrics::Metrics::default();
        let metrics = Metrics::register(&registry);
        let (alias, rollout) = canary("shop", 1);
        metrics.looked(&alias, &rollout, Verdict::Stay, false);
        metrics.looked(&alias, &rollout, Verdict::Stay, true);
        metrics.looked(&alias, &rollout, Verdict::Back(Reason::Errors), false);
        metrics.looked(&alias, &rollout, Verdict::Stay, true);
        let has = |line: &str| registry.render().lines().any(|found| found == line);
        let stands = [
            "mayfly_canary_weight{function=\"shop\",alias=\"live\"} 25",
            "mayfly_canary_step{function=\"shop\",alias=\"live\"} 2",
            "mayfly_canary_waiting{function=\"shop\",alias=\"live\"} 1",
        ];
        for line in stands {
            assert!(has(line), "{line}: {}", registry.render());
        }
        metrics.keep(|_, _| true);
        assert!(has(stands[0]));
        metrics.keep(|_, _| false);
        assert!(!registry.render().contains("alias=\"live\""), "{}", registry.render());
        assert!(has("mayfly_canary_verdicts_total{function=\"shop\",verdict=\"stay\"} 3"), "{}", registry.render());
        assert!(has("mayfly_canary_verdicts_total{function=\"shop\",verdict=\"errors\"} 1"), "{}", registry.render());
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let registry = chassis::metrics::Metrics::default();
        let metrics = Metrics::register(&registry);
        let look = |n: usize| {
            let (alias, rollout) = canary(&format!("f{n}"), 0);
            metrics.looked(&alias, &rollout, Verdict::Stay, false);
        };
        (0..=FUNCTIONS_MAX).for_each(look);
        let told = |what: &str| registry.render().lines().filter(|line| line.starts_with(what)).count();
        // All are under way: the last one finds no place.
        assert_eq!((told("mayfly_canary_weight{"), told("mayfly_canary_verdicts_total{")), (1000, 1000));
        assert!(!registry.render().contains("\"f1000\""));
        // The first that ended leaves its place.
        metrics.keep(|name, _| !["f3", "f7"].contains(&name.as_str()));
        look(FUNCTIONS_MAX);
        let text = registry.render();
        assert!(text.contains("\"f1000\"") && !text.contains("\"f3\"") && text.contains("\"f7\""));
        assert_eq!((told("mayfly_canary_weight{"), told("mayfly_canary_verdicts_total{")), (999, 1000));
    }
}
