//! The answer of `GET /functions/{name}/scaling`: why a function has as many instances as it has.

use crate::{id::RevisionId, unit::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The last decision on each of a function's revisions that is called or runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingList {
    pub revisions: Vec<Scaling>,
}

/// A decision, with all that it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Scaling {
    #[schema(value_type = String, example = "hello@3")]
    pub revision: RevisionId,
    #[schema(value_type = String)]
    pub time: Timestamp,
    pub ready: u32,
    pub starting: u32,
    pub draining: u32,
    /// Instances that there are to be.
    pub wanted: u32,
    /// One sentence.
    pub reason: String,
    /// What was asked, and how many instances each of it takes alone; the largest decides.
    pub inputs: Vec<ScalingInput>,
    pub limits: ScalingLimits,
    /// Of the last minute.
    pub traffic: ScalingTraffic,
    /// Why nothing is started now, where the last start failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingInput {
    /// `now`, `stable`, `panic`, `arrivals`, `cpu`, `lag`, `schedule`, `predicted`, `used`, `held`.
    pub name: String,
    /// What was measured, in words.
    pub measured: String,
    pub instances: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalingLimits {
    pub min: u32,
    pub max: u32,
    /// Slots of one instance.
    pub slots: u32,
    /// Instances that may be started now before the growth budget is used up.
    pub growth: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScalingTraffic {
    /// Calls in flight and waiting now.
    pub calls: u32,
    pub waiting: u32,
    /// Calls at once, on average and at most.
    pub average: f64,
    pub peak: u32,
    /// Calls each second.
    pub arrivals: f64,
    pub rejected: u64,
    /// Mean time in a slot, µs.
    pub duration_us: u64,
    /// Usual cold start, µs.
    pub start_us: u64,
    /// Cores used.
    pub cpu: f64,
    pub lag: u64,
}
