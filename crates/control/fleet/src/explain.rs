//! A decision in words: what `mayfly describe NAME --scaling` shows.

use crate::{
    decide::{Decision, Facts, Input, Policy, expected},
    growth::{Scope, Short},
    parts::Part,
    window::Sums,
};
use types::{
    RevisionId, Timestamp,
    scaling::{Scaling, ScalingInput, ScalingLimits, ScalingTraffic},
};

/// The last decision on a revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) facts: Facts,
    pub(crate) policy: Policy,
    /// Of the function's traffic, by which its limits are shared.
    pub(crate) part: Part,
    pub(crate) decision: Decision,
    /// After the delay, before the limits.
    pub(crate) held: u32,
    pub(crate) wanted: u32,
    pub(crate) delay: u64,
    pub(crate) draining: u32,
    /// What the growth budget does not let start now.
    pub(crate) short: Option<Short>,
    pub(crate) time: Timestamp,
}

pub(crate) fn explain(id: &RevisionId, verdict: &Verdict, growth: u32, failing: Option<String>) -> Scaling {
    let Verdict { facts, policy, decision, .. } = verdict;
    let mut inputs: Vec<_> = Input::ALL
        .into_iter()
        .zip(decision.inputs)
        .filter(|(input, count)| *count > 0 || *input == Input::Now)
        .map(|(input, instances)| ScalingInput {
            name: input.as_str().to_owned(),
            measured: measured(input, facts, policy),
            instances,
        })
        .collect();
    if verdict.held > decision.asked {
        let measured = format!("the most asked for within {} s", verdict.delay);
        inputs.push(ScalingInput { name: "held".to_owned(), measured, instances: verdict.held });
    }
    Scaling {
        revision: id.clone(),
        time: verdict.time,
        ready: facts.ready,
        starting: facts.starting,
        draining: verdict.draining,
        wanted: verdict.wanted,
        reason: reason(verdict),
        inputs,
        limits: ScalingLimits { min: policy.min, max: policy.max, slots: policy.slots, growth },
        traffic: traffic(facts),
        failing,
    }
}

fn reason(verdict: &Verdict) -> String {
    let Verdict { facts, policy, decision, held, wanted, .. } = verdict;
    let why = if *held > decision.asked {
        format!("{held} were asked for within the last {} s", verdict.delay)
    } else if *held == 0 {
        "nothing was asked for within the idle time".to_owned()
    } else {
        let unit = if *held == 1 { "instance" } else { "instances" };
        format!("{} asks for {held} {unit}: {}", decision.by.as_str(), measured(decision.by, facts, policy))
    };
    let part = match verdict.part {
        Part::Some(weight) => format!(" for {weight} % of the traffic"),
        Part::Whole | Part::None => String::new(),
    };
    let why = match wanted.cmp(held) {
        std::cmp::Ordering::Less => format!("{wanted}, as `max` allows no more{part}; {why}"),
        std::cmp::Ordering::Greater => format!("{wanted}, as `min` keeps them{part}; {why}"),
        std::cmp::Ordering::Equal => why,
    };
    match &verdict.short {
        Some(short) => format!("{why}; {}", waits(short)),
        None => why,
    }
}

/// What the growth budget holds back.
fn waits(short: &Short) -> String {
    let whose = match short.scope {
        Scope::Revision => "a revision",
        Scope::Host => "the whole host",
    };
    let (starts, seconds) = (short.growth.starts, short.growth.every.as_secs());
    format!("{} of them wait for the growth budget, {starts} starts in {seconds} s for {whose}", short.starts)
}

/// What an input saw.
fn measured(input: Input, facts: &Facts, policy: &Policy) -> String {
    let room = match policy.target {
        Some(target) => format!(", target {:.0} % of {} slots", target * 100.0, policy.slots),
        None => format!(", room as is worth its price, {} slots each", policy.slots),
    };
    match input {
        Input::Now => format!("{} calls in flight, {} waiting", facts.in_flight, facts.waiting),
        Input::Stable => format!("{:.2} calls at once over {:.0} s{room}", facts.stable.calls(), facts.stable.span),
        Input::Panic => format!("{:.2} calls at once over {:.0} s{room}", facts.panic.calls(), facts.panic.span),
        Input::Arrivals => {
            let (calls, _) = expected(facts);
            let (rate, span) = (facts.steady.rate(), facts.steady.span);
            let each = facts.duration.unwrap_or(0.0) * 1e3;
            format!(
                "{rate:.1} calls a second since {span:.0} s, of {each:.1} ms: {calls:.2} at once when a start is done{room}"
            )
        }
        Input::Cpu => {
            let used = facts.stable.cores().max(facts.panic.cores());
            format!("{used:.2} cores, target {:.2} each", policy.cpu.unwrap_or(0.0))
        }
        Input::Lag => format!("{} deferred calls wait, to be done in {:.0} s", facts.lag, policy.drain),
        Input::Schedule => "a time window is open".to_owned(),
        Input::Predicted => format!("{:.0} calls at once on the last days at this time", facts.predicted),
        Input::Used => "it was called within its idle time".to_owned(),
    }
}

fn traffic(facts: &Facts) -> ScalingTraffic {
    let micros = |seconds: f32| (f64::from(seconds) * 1e6) as u64;
    let stable: &Sums = &facts.stable;
    ScalingTraffic {
        calls: facts.in_flight + facts.waiting,
        waiting: facts.waiting,
        average: f64::from(stable.calls()),
        peak: stable.peak,
        arrivals: f64::from(stable.rate()),
        rejected: stable.rejected.into(),
        duration_us: facts.duration.map_or(0, micros),
        start_us: micros(facts.start),
        cpu: f64::from(stable.cores()),
        lag: facts.lag.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decide::decide, growth::Growth};
    use std::time::Duration;

    fn verdict(facts: Facts, held: u32, wanted: u32) -> Verdict {
        let policy = Policy { slots: 1, min: 0, max: 5, target: None, cpu: None, cores: 2, drain: 10.0 };
        let decision = decide(&facts, &policy);
        Verdict {
            facts,
            policy,
            part: Part::Whole,
            decision,
            held,
            wanted,
            delay: 30,
            draining: 0,
            short: None,
            time: Timestamp(0),
        }
    }

    #[test]
    fn the_reason_names_what_decided() {
        let busy = Facts { in_flight: 3, waiting: 4, ..Facts::default() };
        for (verdict, reason) in [
            (verdict(busy, 7, 7), "now asks for 7 instances: 3 calls in flight, 4 waiting"),
            (verdict(busy, 7, 5), "5, as `max` allows no more; now asks for 7"),
            (verdict(busy, 9, 9), "9 were asked for within the last 30 s"),
            (verdict(Facts::default(), 0, 0), "nothing was asked for within the idle time"),
            (verdict(Facts::default(), 0, 2), "2, as `min` keeps them; nothing"),
            (verdict(Facts { used_lately: true, ..Facts::default() }, 1, 1), "used asks for 1 instance: it was called"),
            (verdict(Facts { schedule: 2, ..Facts::default() }, 2, 2), "a time window is open"),
        ] {
            let scaling = explain(&"a@1".parse().unwrap(), &verdict, 1000, None);
            assert!(scaling.reason.contains(reason), "{}", scaling.reason);
            assert_eq!(scaling.inputs[0].name, "now");
        }
    }

    #[test]
    fn a_part_of_the_limits_is_told() {
        for (held, wanted, said) in [
            (9, 3, "3, as `max` allows no more for 30 % of the traffic; "),
            (0, 3, "3, as `min` keeps them for 30 % of the traffic; "),
        ] {
            let verdict = Verdict { part: Part::Some(30), ..verdict(Facts::default(), held, wanted) };
            let scaling = explain(&"a@1".parse().unwrap(), &verdict, 1000, None);
            assert!(scaling.reason.starts_with(said), "{}", scaling.reason);
        }
    }

    #[test]
    fn a_growth_budget_that_binds_is_told() {
        let growth = Growth { starts: 100, every: Duration::from_secs(10) };
        for (scope, said) in [
            (Scope::Revision, "; 2 of them wait for the growth budget, 100 starts in 10 s for a revision"),
            (Scope::Host, "; 2 of them wait for the growth budget, 100 starts in 10 s for the whole host"),
        ] {
            let facts = Facts { waiting: 3, ..Facts::default() };
            let short = Some(Short { starts: 2, scope, growth });
            let scaling = explain(&"a@1".parse().unwrap(), &Verdict { short, ..verdict(facts, 3, 3) }, 0, None);
            assert!(scaling.reason.starts_with("now asks for 3") && scaling.reason.ends_with(said), "{scaling:?}");
        }
    }
}
