//! What the dispatcher counts: calls by function and outcome, durations, waits, starts by phase.

use chassis::metrics::{Counter, Family, Histogram, latency_buckets};
use std::time::Duration;
use types::{RevisionId, record::Outcome};
use wire::{CallInfo, End};

type Labels = Vec<(&'static str, String)>;

#[derive(Clone)]
pub(crate) struct Metrics {
    calls: Family<Labels, Counter>,
    duration: Family<Labels, Histogram>,
    wait: Family<Labels, Histogram>,
    start: Family<Labels, Histogram>,
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
    label: Labels,
}

impl Function {
    pub(crate) fn ended(&self, info: &CallInfo, end: End) {
        if let Some(index) = OUTCOMES.iter().position(|(outcome, _)| *outcome == end.outcome) {
            self.calls[index].inc();
        }
        self.duration.observe(chassis::clock::now().saturating_duration_since(info.arrived).as_secs_f64());
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
}
