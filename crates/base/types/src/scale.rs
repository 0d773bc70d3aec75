//! `[scale]`: how many instances there may be, and what is asked of them before there are more.

use crate::{
    cron::Cron,
    spec::{Contract, Runtime},
    unit::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Seconds that demand is remembered by the second: no window is longer.
pub const WINDOW_MAX: Millis = Millis::secs(60);
/// Below this, a window holds too few calls to say anything.
pub const WINDOW_MIN: Millis = Millis::secs(6);
const DOWN_DELAY_MAX: Millis = Millis::secs(3600);
const DURATION_MAX: Millis = Millis::secs(7 * 24 * 3600);
const SCHEDULE_MAX: usize = 16;
/// Per cent of one core: 64 cores for one instance.
const CPU_MAX: u32 = 6400;
/// Where a runtime executes one thing at a time, a core that is nearly full is a full instance.
const CPU_OF_ONE_THREAD: u32 = 80;

/// How many instances there may be. What is left out stays out of the spec, so that a revision keeps its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Kept running without traffic.
    #[serde(default)]
    pub min: u32,
    /// Never exceeded.
    #[serde(default = "Scale::default_max")]
    pub max: u32,
    /// An instance without a call for this long is stopped (down to `min`).
    #[serde(default = "Scale::default_idle")]
    #[schema(value_type = String, example = "5m")]
    pub idle: Millis,
    /// Per cent of the slots that are to be busy on average, 1 to 100. Left out, the room kept free follows from how
    /// much the traffic varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// Per cent of one core that an instance is to use on average; 0 does not look at CPU. Left out: 80 for shared
    /// instances of `nodejs` and `python`, which execute on one core, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Demand is averaged over this time, 6s to 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1m")]
    pub window: Option<Millis>,
    /// Instances become fewer once this long nothing has asked for as many, up to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30s")]
    pub down_delay: Option<Millis>,
    /// Times with a minimum of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<TimeWindow>,
    /// Starts ahead what the same time of the last days asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub predict: bool,
}

/// From each time of `cron` on for `duration`, there are at least `min` instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeWindow {
    #[schema(example = "0 8 * * MON-FRI")]
    pub cron: String,
    #[schema(value_type = String, example = "10h")]
    pub duration: Millis,
    pub min: u32,
    #[serde(default = "TimeWindow::default_timezone")]
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
}

impl Scale {
    const fn default_max() -> u32 {
        50
    }
    const fn default_idle() -> Millis {
        Millis::secs(300)
    }

    /// What is wrong with it, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.max == 0 || self.min > self.max {
            let detail = format!("min {} and max {}: want 0 <= min <= max and max >= 1", self.min, self.max);
            return Err(("scale", detail));
        }
        match self.target {
            Some(target) if !(1..=100).contains(&target) => {
                return Err(("scale.target", format!("{target} is outside 1 to 100 (per cent of the slots)")));
            }
            Some(_) | None => {}
        }
        match self.cpu {
            Some(cpu) if cpu > CPU_MAX => {
                return Err(("scale.cpu", format!("{cpu} is outside 0 to {CPU_MAX} (per cent of one core)")));
            }
            Some(_) | None => {}
        }
        if let Some(window) = self.window
            && !(WINDOW_MIN..=WINDOW_MAX).contains(&window)
        {
            return Err(("scale.window", format!("{window} is outside {WINDOW_MIN} to {WINDOW_MAX}")));
        }
        if let Some(delay) = self.down_delay
            && delay > DOWN_DELAY_MAX
        {
            return Err(("scale.down_delay", format!("{delay} is longer than {DOWN_DELAY_MAX}")));
        }
        if self.schedule.len() > SCHEDULE_MAX {
            return Err(("scale.schedule", format!("{} entries, {SCHEDULE_MAX} at most", self.schedule.len())));
        }
        self.schedule.iter().try_for_each(|window| window.check(self.max))
    }

    /// Per cent of one core; `None` does not look at CPU. Exclusive instances are full with one call anyway.
    pub fn cpu_target(&self, runtime: Runtime, contract: Contract, concurrency: u32) -> Option<u32> {
        let process = match contract {
            Contract::Handler | Contract::Http | Contract::Command => true,
            // Not a process of its own: its CPU is not told apart.
            Contract::Component => false,
        };
        let one_thread = match runtime {
            Runtime::Nodejs | Runtime::Python => concurrency > 1 && contract != Contract::Command,
            Runtime::Java | Runtime::Go | Runtime::Rust | Runtime::Binary | Runtime::Wasm => false,
        };
        let target = self.cpu.unwrap_or(if one_thread { CPU_OF_ONE_THREAD } else { 0 });
        (process && target > 0).then_some(target)
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            min: 0,
            max: Self::default_max(),
            idle: Self::default_idle(),
            target: None,
            cpu: None,
            window: None,
            down_delay: None,
            schedule: Vec::new(),
            predict: false,
        }
    }
}

impl TimeWindow {
    fn default_timezone() -> String {
        "UTC".to_owned()
    }

    fn check(&self, max: u32) -> Result<(), (&'static str, String)> {
        self.cron().map_err(|e| ("scale.schedule", e.to_string()))?;
        if self.duration.0 == 0 || self.duration > DURATION_MAX {
            return Err(("scale.schedule.duration", format!("{} is outside 1ms to 7 days", self.duration)));
        }
        if self.min == 0 || self.min > max {
            return Err(("scale.schedule.min", format!("{} is outside 1 to max, which is {max}", self.min)));
        }
        Ok(())
    }

    /// # Errors
    /// Where the pattern or the zone's name is none; a checked manifest has none such.
    pub fn cron(&self) -> Result<Cron, crate::cron::Error> {
        Cron::parse(&self.cron, &self.timezone)
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifest, fault::Code};

    fn manifest(scale: &str) -> Result<Manifest, crate::Fault> {
        Manifest::parse(&format!("name = 'a'\nruntime = 'nodejs'\n[scale]\n{scale}"))
    }

    #[test]
    fn everything_can_be_written() {
        let text = "target = 70\ncpu = 90\nwindow = '30s'\ndown_delay = '1m'\npredict = true\n\
            schedule = [{ cron = '0 8 * * MON-FRI', duration = '10h', min = 5, timezone = 'Europe/Berlin' }, \
            { cron = '0 0 * * *', duration = '5m', min = 1 }]";
        let scale = manifest(text).unwrap().spec().scale;
        assert_eq!((scale.target, scale.cpu, scale.predict), (Some(70), Some(90), true));
        assert_eq!((scale.window, scale.down_delay), (Some(Millis::secs(30)), Some(Millis::secs(60))));
        assert_eq!((scale.schedule[0].min, scale.schedule[1].timezone.as_str()), (5, "UTC"));
        let json = serde_json::to_string(&scale).unwrap();
        assert_eq!(serde_json::from_str::<Scale>(&json).unwrap(), scale);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("target = 0", "scale.target: 0 is outside"),
            ("target = 101", "scale.target: 101 is outside"),
            ("target = 0.7", "invalid type"),
            ("cpu = 6401", "scale.cpu: 6401 is outside"),
            ("window = '5s'", "scale.window: 5s is outside"),
            ("window = '2m'", "scale.window: 2m is outside"),
            ("down_delay = '2h'", "scale.down_delay: 2h is longer"),
            ("schedule = [{ cron = 'noon', duration = '1h', min = 1 }]", "no cron pattern"),
            ("schedule = [{ cron = '0 8 * * *', duration = '1h', min = 1, timezone = 'Mars' }]", "no time zone"),
            ("schedule = [{ cron = '0 8 * * *', duration = '0s', min = 1 }]", "scale.schedule.duration"),
            ("schedule = [{ cron = '0 8 * * *', duration = '1h', min = 0 }]", "scale.schedule.min"),
            ("max = 3\nschedule = [{ cron = '0 8 * * *', duration = '1h', min = 4 }]", "1 to max, which is 3"),
            ("schedule = [{ cron = '0 8 * * *', duration = '1h' }]", "min"),
        ] {
            let fault = manifest(text).unwrap_err();
            assert_eq!(fault.code, Code::ManifestInvalid, "{text}: {fault}");
            assert!(fault.detail.contains(part), "{text}: {fault}");
        }
    }

    /// A revision's identity is computed from its spec: what nobody wrote must not change it.
    #[test]
    fn a_scale_without_new_keys_is_written_as_before() {
        let json = serde_json::to_string(&Scale::default()).unwrap();
        assert_eq!(json, r#"{"min":0,"max":50,"idle":"5m"}"#);
        assert_eq!(serde_json::from_str::<Scale>(&json).unwrap(), Scale::default());
    }

    #[test]
    fn cpu_is_looked_at_where_one_core_is_all_there_is() {
        let default = Scale::default();
        for (scale, runtime, contract, concurrency, want) in [
            (&default, Runtime::Nodejs, Contract::Http, 80, Some(80)),
            (&default, Runtime::Nodejs, Contract::Handler, 1, None),
            (&default, Runtime::Go, Contract::Http, 80, None),
            (&default, Runtime::Python, Contract::Command, 16, None),
            (&default, Runtime::Wasm, Contract::Component, 1000, None),
            (&Scale { cpu: Some(0), ..Scale::default() }, Runtime::Nodejs, Contract::Http, 80, None),
            (&Scale { cpu: Some(300), ..Scale::default() }, Runtime::Go, Contract::Http, 80, Some(300)),
        ] {
            assert_eq!(scale.cpu_target(runtime, contract, concurrency), want, "{runtime} {contract} {concurrency}");
        }
    }
}
