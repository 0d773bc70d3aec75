//! What the dispatcher counts: calls by function and outcome, durations, waits, starts by phase.

use chassis::metrics::{Counter, Family, Histogram, latency_buckets};
use std::time::{Duration, Instant};
use types::{Code, Happening, RevisionId, record::Outcome};
use wire::{CallInfo, End};

type Labels = Vec<(&'static str, String)>;

#[derive(Clone)]
pub(crate) struct Metrics {
    calls: Family<Labels, Counter>,
    duration: Family<Labels, Histogram>,
    wait: Family<Labels, Histogram>,
    start: Family<Labels, Histogram>,
    rare: Rare,
}

/// What does not happen at every call: looked up when it does.
#[derive(Clone)]
struct Rare {
    refused: Family<Labels, Counter>,
    degraded: Family<Labels, Counter>,
    happened: Family<Labels, Counter>,
    again: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn register(metrics: &chassis::metrics::Metrics) -> Self {
        let histogram = || Histogram::new(latency_buckets());
        let family = || Family::<Labels, Histogram>::new_with_constructor(histogram as fn() -> Histogram);
        Self {
            calls: metrics.register("calls", "Calls by function and outcome", Family::default()),
            duration: metrics.register("call_duration_seconds", "First byte in to last byte out", family()),
            wait: metrics.register("call_wait_seconds", "Time that calls waited for a slot", family()),
            start: metrics.register("start_seconds", "Cold start by phase", family()),
            rare: Rare {
                refused: metrics.register("calls_refused", "Calls that got no slot, by reason", Family::default()),
                degraded: metrics.register(
                    "calls_degraded",
                    "Refused calls that were answered, by what",
                    Family::default(),
                ),
                happened: metrics.register("events", "What the dispatcher did by itself, by kind", Family::default()),
                again: metrics.register("calls_again", "Calls sent to a second instance, by why", Family::default()),
            },
        }
    }

    /// The handles of one function, so that a call looks nothing up.
    pub(crate) fn function(&self, revision: &RevisionId) -> Function {
        let label = vec![("function", revision.function.to_string())];
        let calls = OUTCOMES.map(|(_, outcome)| {
            let labels = [label.clone(), vec![("outcome", outcome.to_owned())]].concat();
            self.calls.get_or_create_owned(&labels)
        });
        Function {
            calls,
            duration: self.duration.get_or_create_owned(&label),
            wait: self.wait.get_or_create_owned(&label),
            start: self.start.clone(),
            rare: self.rare.clone(),
            label,
        }
    }
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Ok, "ok"),
    (Outcome::FunctionError, "function_error"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Crashed, "crashed"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::Rejected, "rejected"),
];

pub(crate) struct Function {
    calls: [Counter; 6],
    duration: Histogram,
    wait: Histogram,
    start: Family<Labels, Histogram>,
    rare: Rare,
    label: Labels,
}

impl Function {
    pub(crate) fn ended(&self, info: &CallInfo, end: End, now: Instant) {
        if let Some(index) = OUTCOMES.iter().position(|(outcome, _)| *outcome == end.outcome) {
            self.calls[index].inc();
        }
        self.duration.observe(now.saturating_duration_since(info.arrived).as_secs_f64());
        if !info.waited.is_zero() {
            self.wait.observe(info.waited.as_secs_f64());
        }
    }

    pub(crate) fn started(&self, phases: &[(&'static str, Duration)]) {
        for (phase, time) in phases {
            let labels = [self.label.clone(), vec![("phase", (*phase).to_owned())]].concat();
            self.start.get_or_create(&labels).observe(time.as_secs_f64());
        }
    }

    pub(crate) fn refused(&self, code: Code) {
        self.count(&self.rare.refused, "reason", code.as_str());
    }

    pub(crate) fn degraded(&self, by: &'static str) {
        self.count(&self.rare.degraded, "by", by);
    }

    pub(crate) fn happened(&self, what: Happening) {
        self.count(&self.rare.happened, "kind", what.as_str());
    }

    pub(crate) fn retried(&self) {
        self.count(&self.rare.again, "why", "retry");
    }

    pub(crate) fn hedged(&self) {
        self.count(&self.rare.again, "why", "hedge");
    }

    fn count(&self, family: &Family<Labels, Counter>, name: &'static str, value: &str) {
        let labels = [self.label.clone(), vec![(name, value.to_owned())]].concat();
        family.get_or_create(&labels).inc();
    }
}
