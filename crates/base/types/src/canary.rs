//! `[canary]` of a manifest, and of a request: how an alias moves to a new revision by steps, and what sends it back.

use crate::{
    fault::{Code, Fault},
    record::Target,
    unit::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

const STEPS_MAX: usize = 20;
/// Calls are looked at once a second.
const LASTS_MIN: Millis = Millis::secs(1);
const LASTS_MAX: Millis = Millis::secs(24 * 60 * 60);
const CALLS_MAX: u32 = 1_000_000;
const LATENCY_MIN: u32 = 110;
const LATENCY_MAX: u32 = 100_000;

/// How the traffic moves: by steps, each judged against the old revision over the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// The new revision's share at each step, as `5%`, or `5%:2m` for a step that lasts another time than `every`. After
    /// the last one it has all.
    #[schema(value_type = Vec<String>)]
    pub steps: Vec<Step>,
    /// How long a step lasts.
    #[schema(value_type = String, example = "1m")]
    pub every: Millis,
    /// With fewer calls of either revision a step says nothing yet, and goes on.
    pub calls_min: u32,
    /// … for so long at most: then it is judged by what there is.
    #[schema(value_type = String, example = "10m")]
    pub wait: Millis,
    /// Back where the share of failed calls is larger than the old revision's by more than this, in percentage points.
    pub errors: u8,
    /// Back where successful calls take longer than this, in per cent of what they take the old revision.
    pub latency: u32,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            steps: [5, 25, 50].map(|weight| Step { weight, lasts: None }).to_vec(),
            every: Millis::secs(60),
            calls_min: 20,
            wait: Millis::secs(10 * 60),
            errors: 5,
            latency: 200,
        }
    }
}

/// One step: a share in per cent, and its own time where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Step {
    pub weight: u8,
    pub lasts: Option<Millis>,
}

/// A step in a document: `5` or `"5%:2m"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Weight(u8),
    Text(String),
}

impl TryFrom<Written> for Step {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Weight(weight) => Ok(Self { weight, lasts: None }),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (weight, lasts) = match text.trim().split_once(':') {
            Some((weight, lasts)) => (weight, Some(lasts.parse().map_err(|error| format!("{error}"))?)),
            None => (text.trim(), None),
        };
        let number = weight.strip_suffix('%').unwrap_or(weight).trim_end().parse();
        number.map(|weight| Self { weight, lasts }).map_err(|_| format!("`{weight}` is no share like 5%"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.weight)?;
        self.lasts.iter().try_for_each(|lasts| write!(f, ":{lasts}"))
    }
}

/// Steps as they are typed: `5%,25%:2m,50%`.
///
/// # Errors
/// What cannot be read, in words.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    text.split(',').map(str::parse).collect()
}

impl Canary {
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=STEPS_MAX).contains(&self.steps.len()) {
            return Err(("canary.steps", format!("{} steps: want 1 to {STEPS_MAX}", self.steps.len())));
        }
        if self.steps.iter().any(|step| !(1..=99).contains(&step.weight)) {
            return Err((
                "canary.steps",
                "a share is 1% to 99%; after the last step the new revision has all".to_owned(),
            ));
        }
        if let Some(pair) = self.steps.windows(2).find(|pair| pair[0].weight >= pair[1].weight) {
            return Err((
                "canary.steps",
                format!("{} after {}: each step has more than the one before", pair[1], pair[0]),
            ));
        }
        let own = self.steps.iter().filter_map(|step| step.lasts).map(|lasts| ("canary.steps", lasts));
        for (key, lasts) in own.chain([("canary.every", self.every)]) {
            if !(LASTS_MIN..=LASTS_MAX).contains(&lasts) {
                return Err((key, format!("{lasts} is outside {LASTS_MIN} to {LASTS_MAX}")));
            }
        }
        if self.wait > LASTS_MAX {
            return Err(("canary.wait", format!("{} is over {LASTS_MAX}", self.wait)));
        }
        if !(1..=CALLS_MAX).contains(&self.calls_min) {
            return Err(("canary.calls_min", format!("{} is outside 1 to {CALLS_MAX}", self.calls_min)));
        }
        if self.errors > 100 {
            return Err(("canary.errors", format!("{} is over 100", self.errors)));
        }
        if !(LATENCY_MIN..=LATENCY_MAX).contains(&self.latency) {
            return Err(("canary.latency", format!("{} is outside {LATENCY_MIN} to {LATENCY_MAX}", self.latency)));
        }
        Ok(())
    }

    /// The same for a request.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn asked(self) -> Result<Self, Fault> {
        self.check().map_err(|(key, detail)| Fault::new(Code::BadRequest, format!("{key}: {detail}")))?;
        Ok(self)
    }
}

/// How a deploy wants its traffic moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Way {
    /// As the manifest says: at once, unless it has `[canary]`.
    #[default]
    Manifest,
    AtOnce,
    /// These steps; everything else as the manifest's `[canary]` has it.
    Steps {
        steps: Vec<Step>,
        every: Option<Millis>,
    },
}

impl Way {
    /// From the words of a request: steps or `none`, and how long each lasts.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn read(canary: Option<&str>, every: Option<&str>) -> Result<Self, Fault> {
        let bad = |detail: String| Fault::new(Code::BadRequest, detail);
        match (canary, every) {
            (None, None) => Ok(Self::Manifest),
            (Some("none"), None) => Ok(Self::AtOnce),
            (None | Some("none"), Some(_)) => Err(bad("every: it goes with the steps in `canary`".to_owned())),
            (Some(text), every) => {
                let steps = steps(text).map_err(|why| bad(format!("canary: {why}")))?;
                let every = every.map(str::parse).transpose();
                let every = every.map_err(|why: crate::unit::Error| bad(format!("every: {why}")))?;
                let way = Self::Steps { steps, every };
                way.plan(None).map_or(Ok(()), |plan| plan.asked().map(|_| ()))?;
                Ok(way)
            }
        }
    }

    /// The plan, where it goes by steps.
    pub fn plan(&self, manifest: Option<&Canary>) -> Option<Canary> {
        match self {
            Self::Manifest => manifest.cloned(),
            Self::AtOnce => None,
            Self::Steps { steps, every } => {
                let base = manifest.cloned().unwrap_or_default();
                Some(Canary { steps: steps.clone(), every: every.unwrap_or(base.every), ..base })
            }
        }
    }
}

/// A canary under way: a part of the alias that it moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The old revision's number, and where a rollback leads.
    pub from: u32,
    /// The new one's.
    pub to: u32,
    /// Index of the step, from 0.
    pub step: u32,
    /// When the step began.
    #[schema(value_type = String)]
    pub since: Timestamp,
    pub plan: Canary,
}

impl Rollout {
    fn now(&self) -> Option<&Step> {
        self.plan.steps.get(self.step as usize)
    }

    /// The new revision's share at this step.
    pub fn weight(&self) -> u8 {
        self.now().map_or(100, |step| step.weight)
    }

    /// How long this step lasts.
    pub fn lasts(&self) -> Millis {
        self.now().and_then(|step| step.lasts).unwrap_or(self.plan.every)
    }

    /// The one after this step; `None` where the new revision has all then.
    pub fn next(&self, since: Timestamp) -> Option<Self> {
        let next = Self { step: self.step + 1, since, ..self.clone() };
        next.now().is_some().then_some(next)
    }

    /// Where the alias points at this step.
    pub fn targets(&self) -> Vec<Target> {
        let weight = self.weight();
        vec![Target { revision: self.from, weight: 100 - weight }, Target { revision: self.to, weight }]
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, of) = (self.step + 1, self.plan.steps.len());
        write!(f, "{} % for {} (step {step} of {of})", self.weight(), self.lasts())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_checked() {
        for (text, fault) in [
            ("", None),
            ("steps = ['5%', '25%:2m', 50]\nevery = '30s'", None),
            ("steps = []", Some("0 steps")),
            ("steps = [0, 5]", Some("1% to 99%")),
            ("steps = [5, 100]", Some("1% to 99%")),
            ("steps = ['50%', '25%:2m']", Some("25%:2m after 50%")),
            ("steps = ['5%:2ms']", Some("2ms is outside")),
            ("every = '0s'", Some("outside")),
            ("wait = '25h'", Some("over 1day")),
            ("calls_min = 0", Some("outside 1")),
            ("errors = 101", Some("over 100")),
            ("latency = 100", Some("outside 110")),
        ] {
            let found = toml::from_str::<Canary>(text).unwrap().check().err().map(|(_, detail)| detail);
            match (fault, found) {
                (None, None) => {}
                (Some(part), Some(detail)) if detail.contains(part) => {}
                (want, found) => panic!("{text}: {found:?}, want {want:?}"),
            }
        }
        for text in ["steps = ['x']", "steps = ['5%:']", "steps = [300]", "stepps = [5]"] {
            assert!(toml::from_str::<Canary>(text).is_err(), "{text}");
        }
        let plan: Canary = toml::from_str("steps = ['5%', '25%:2m']").unwrap();
        let written = serde_json::to_string(&plan).unwrap();
        assert!(written.contains(r#""steps":["5%","25%:2m"]"#), "{written}");
        assert_eq!(serde_json::from_str::<Canary>(&written).unwrap(), plan);
    }

    #[test]
    fn a_request_goes_before_the_manifest() {
        let manifest: Canary = toml::from_str("steps = [10]\nevery = '5s'\nerrors = 1").unwrap();
        let plan = |canary, every| Way::read(canary, every).unwrap().plan(Some(&manifest));
        assert_eq!(plan(None, None), Some(manifest.clone()));
        assert_eq!(plan(Some("none"), None), None);
        let five = steps("5,20").unwrap();
        assert_eq!(plan(Some("5%,20%"), None), Some(Canary { steps: five.clone(), ..manifest.clone() }));
        let quick = Canary { steps: five, every: Millis::secs(2), ..manifest.clone() };
        assert_eq!(plan(Some("5,20"), Some("2s")), Some(quick));
        assert_eq!(Way::default().plan(None), None);
        for (canary, every) in [
            (None, Some("2s")),
            (Some("none"), Some("2s")),
            (Some("x"), None),
            (Some("5"), Some("2")),
            (Some("50,5"), None),
        ] {
            assert_eq!(Way::read(canary, every).unwrap_err().code, Code::BadRequest, "{canary:?} {every:?}");
        }
    }

    #[test]
    fn steps_follow_each_other() {
        let plan = Canary { steps: steps("5,25:2m").unwrap(), ..Canary::default() };
        let first = Rollout { from: 1, to: 2, step: 0, since: Timestamp(0), plan };
        assert_eq!((first.weight(), first.lasts()), (5, Millis::secs(60)));
        assert_eq!(first.targets(), [Target { revision: 1, weight: 95 }, Target { revision: 2, weight: 5 }]);
        let second = first.next(Timestamp(9)).unwrap();
        assert_eq!((second.weight(), second.lasts(), second.since), (25, Millis::secs(120), Timestamp(9)));
        assert_eq!(second.to_string(), "25 % for 2m (step 2 of 2)");
        assert_eq!(second.next(Timestamp(9)), None);
    }
}
