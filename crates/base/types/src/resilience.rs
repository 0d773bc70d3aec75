//! `[resilience]` of a manifest: what happens when there is too much to do, or when calls fail.

use crate::{
    fault::{Code, Fault},
    id::FunctionName,
    unit::{Bytes, Millis},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const QUEUE_MAX: u32 = 100_000;
const WAIT_MAX: Millis = Millis::secs(15 * 60);
const PERIOD_MIN: Millis = Millis(100);
const PERIOD_MAX: Millis = Millis::secs(15 * 60);
const STALE_MAX: Millis = Millis::secs(24 * 60 * 60);
const CALLS_MAX: u32 = 1_000_000;
const PROBES_MAX: u32 = 1000;
/// A static answer is a part of the configuration, which every server holds.
const ANSWER_MAX: Bytes = Bytes::kib(64);

/// What a function does under too much load, and when it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resilience {
    /// Most calls that wait for one revision; 0 lets none wait. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max: Option<u32>,
    /// Longest wait for a slot. A call that would wait longer is refused at once. Default: 3.5 usual starts or 10 s,
    /// whichever is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub wait: Option<Millis>,
    /// Learns how many calls at once an instance stands before it gets slower, and gives it no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adaptive: bool,
    /// Replaces an instance that is much worse than its siblings.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub eject: bool,
    /// Most calls that are offered to a second instance, in per cent of all. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degrade: Option<Degrade>,
}

fn yes() -> bool {
    true
}

impl Default for Resilience {
    fn default() -> Self {
        Self { queue_max: None, wait: None, adaptive: false, eject: true, retries: None, circuit: None, degrade: None }
    }
}

/// When calls are refused because those before failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Circuit {
    /// Opens where this share of the window's calls failed, in per cent.
    pub failures: u8,
    /// … and there were at least so many.
    pub calls_min: u32,
    #[schema(value_type = String, example = "10s")]
    pub window: Millis,
    /// How long it stays open; doubled, eightfold at most, with each probe that fails.
    #[schema(value_type = String, example = "5s")]
    pub open: Millis,
    /// Calls that must succeed, once it is half open, before it closes.
    pub probes: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { failures: 50, calls_min: 20, window: Millis::secs(10), open: Millis::secs(5), probes: 3 }
    }
}

/// What a caller gets where the function cannot be called: the first of these that can answer. Without one, the fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Degrade {
    /// The last answer to the same `GET`, if it is no older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1m")]
    pub stale: Option<Millis>,
    /// What this function's `live` answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fallback: Option<FunctionName>,
    /// Always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// A static answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default = "Answer::default_status")]
    pub status: u16,
    /// Its `Content-Type`.
    #[serde(default = "Answer::default_type", rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub body: String,
}

impl Answer {
    const fn default_status() -> u16 {
        200
    }
    fn default_type() -> String {
        "text/plain; charset=utf-8".to_owned()
    }
}

impl Resilience {
    /// # Errors
    /// `manifest_invalid` with the key.
    pub fn check(&self, own: &FunctionName) -> Result<(), Fault> {
        if let Some(max) = self.queue_max.filter(|max| *max > QUEUE_MAX) {
            return invalid("queue_max", format!("{max} is over {QUEUE_MAX}"));
        }
        if let Some(wait) = self.wait.filter(|wait| wait.0 == 0 || *wait > WAIT_MAX) {
            return invalid("wait", format!("{wait} is outside 1ms to {WAIT_MAX}"));
        }
        if let Some(retries) = self.retries.filter(|retries| *retries > 100) {
            return invalid("retries", format!("{retries} is over 100 per cent"));
        }
        if let Some(circuit) = &self.circuit
            && let Err((key, why)) = circuit.check()
        {
            return invalid(key, why);
        }
        self.degrade.iter().try_for_each(|degrade| degrade.check(own))
    }
}

impl Circuit {
    /// # Errors
    /// The key, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=100).contains(&self.failures) {
            return Err(("circuit.failures", format!("{} is outside 1 to 100 per cent", self.failures)));
        }
        for (key, value, max) in
            [("circuit.calls_min", self.calls_min, CALLS_MAX), ("circuit.probes", self.probes, PROBES_MAX)]
        {
            if !(1..=max).contains(&value) {
                return Err((key, format!("{value} is outside 1 to {max}")));
            }
        }
        for (key, value) in [("circuit.window", self.window), ("circuit.open", self.open)] {
            if !(PERIOD_MIN..=PERIOD_MAX).contains(&value) {
                return Err((key, format!("{value} is outside {PERIOD_MIN} to {PERIOD_MAX}")));
            }
        }
        Ok(())
    }
}

impl Degrade {
    fn check(&self, own: &FunctionName) -> Result<(), Fault> {
        if let Some(stale) = self.stale.filter(|stale| stale.0 == 0 || *stale > STALE_MAX) {
            return invalid("degrade.stale", format!("{stale} is outside 1ms to {STALE_MAX}"));
        }
        if self.fallback.as_ref() == Some(own) {
            return invalid("degrade.fallback", format!("`{own}` cannot stand in for itself"));
        }
        let Some(answer) = &self.answer else { return Ok(()) };
        if !(200..=599).contains(&answer.status) {
            return invalid("degrade.answer.status", format!("{} is outside 200 to 599", answer.status));
        }
        if answer.kind.is_empty() || !answer.kind.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return invalid("degrade.answer.type", format!("`{}` is no content type", answer.kind));
        }
        match answer.body.len() as u64 > ANSWER_MAX.0 {
            true => invalid("degrade.answer.body", format!("{} bytes are over {ANSWER_MAX}", answer.body.len())),
            false => Ok(()),
        }
    }
}

fn invalid(key: &str, detail: String) -> Result<(), Fault> {
    Err(Fault::new(Code::ManifestInvalid, format!("resilience.{key}: {detail}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Resilience, String> {
        let resilience: Resilience = toml::from_str(text).map_err(|error| error.to_string())?;
        resilience.check(&"hello".parse().unwrap()).map_err(|fault| fault.detail.into_owned())?;
        Ok(resilience)
    }

    #[test]
    fn resilience_is_checked() {
        for (text, part) in [
            ("queue_max = 100001", "queue_max"),
            ("wait = '0s'", "wait"),
            ("retries = 101", "retries"),
            ("[circuit]\nfailures = 0", "circuit.failures"),
            ("[circuit]\nprobes = 0", "circuit.probes"),
            ("[circuit]\ncalls_min = 0", "circuit.calls_min"),
            ("[circuit]\nopen = '1ms'", "circuit.open"),
            ("[degrade]\nstale = '25h'", "degrade.stale"),
            ("[degrade]\nfallback = 'hello'", "itself"),
            ("[degrade]\nanswer = { status = 42 }", "answer.status"),
            ("[degrade]\nanswer = { type = '' }", "answer.type"),
            ("[degrade]\nfalback = 'x'", "falback"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        assert_eq!(checked("").unwrap(), Resilience::default());
        let all = checked("queue_max = 0\nadaptive = true\n[circuit]\n[degrade]\nanswer = { body = 'later' }").unwrap();
        assert_eq!(all.circuit, Some(Circuit::default()));
        assert_eq!(all.degrade.clone().unwrap().answer.unwrap().status, 200);
        let text = toml::to_string(&all).unwrap();
        assert_eq!(checked(&text).unwrap(), all);
        assert_eq!(serde_json::to_string(&Resilience::default()).unwrap(), "{}");
    }
}
