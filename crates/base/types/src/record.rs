//! What the platform remembers: functions, revisions, aliases, routes, deployments, invocations, log lines.

use crate::{
    canary::{Canary, Rollout},
    fault::Fault,
    id::{AliasName, DeploymentId, Digest, FunctionName, InstanceId, InvocationId, RevisionId, TenantName},
    spec::Spec,
    unit::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A function: a name over revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    #[schema(value_type = String, example = "hello")]
    pub name: FunctionName,
    /// Whose it is, for good.
    #[serde(default, skip_serializing_if = "TenantName::is_default")]
    #[schema(value_type = String, example = "acme")]
    pub tenant: TenantName,
    #[schema(value_type = String)]
    pub created: Timestamp,
    /// When it, its aliases or its routes last changed.
    #[schema(value_type = String)]
    pub updated: Timestamp,
}

/// An immutable, numbered, content-addressed version of a function's code and configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    #[schema(value_type = String, example = "hello@3")]
    pub id: RevisionId,
    /// What was uploaded, and the configuration with it: two revisions of a function never share it.
    #[schema(value_type = String)]
    pub content: Digest,
    /// What runs: the packed tree after the build.
    #[schema(value_type = String)]
    pub artifact: Digest,
    pub spec: Spec,
    #[schema(value_type = String)]
    pub created: Timestamp,
}

/// One target of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    pub revision: u32,
    /// Share of the traffic in per cent; the weights of an alias add up to 100.
    pub weight: u8,
}

/// A name over one or two revisions of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    #[schema(value_type = String, example = "hello")]
    pub function: FunctionName,
    #[schema(value_type = String, example = "live")]
    pub name: AliasName,
    pub targets: Vec<Target>,
    /// The revisions that it pointed to before, newest last: what `rollback` walks back.
    #[serde(default)]
    pub history: Vec<u32>,
    #[schema(value_type = String)]
    pub changed: Timestamp,
    /// It moves by steps; any other move ends that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Rollout>,
}

/// Maps host and path to an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// `None` is every host, `*.example.com` every one below that name.
    #[serde(default)]
    pub host: Option<String>,
    /// `/thumbs` is this path alone, `/thumbs/*` all below it and itself; `{id}` is any one segment.
    #[schema(example = "/thumbs/*")]
    pub path: String,
    /// Empty is every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The request has each of these headers with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[schema(value_type = String, example = "hello")]
    pub function: FunctionName,
    #[schema(value_type = String, example = "live")]
    pub alias: AliasName,
    /// From the function's manifest: replaced by its next deploy.
    #[serde(default)]
    pub from_manifest: bool,
}

/// Where an attempt to publish stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Building,
    Packing,
    Probing,
    Live,
    Failed,
}

impl Stage {
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Live | Self::Failed)
    }
}

/// One attempt to publish a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    #[schema(value_type = String)]
    pub id: DeploymentId,
    #[schema(value_type = String, example = "hello")]
    pub function: FunctionName,
    pub stage: Stage,
    #[schema(value_type = Option<String>)]
    pub revision: Option<RevisionId>,
    /// True where a revision with the same content was live already, so that nothing changed.
    #[serde(default)]
    pub unchanged: bool,
    /// The steps by which its traffic moves, where it does not move at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Why it failed.
    pub fault: Option<Fault>,
    #[schema(value_type = String)]
    pub started: Timestamp,
    #[schema(value_type = Option<String>)]
    pub ended: Option<Timestamp>,
    /// Time by phase: `unpack`, `build`, `pack`, `start`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub phases: BTreeMap<String, Millis>,
    /// Where it answers once it is live.
    pub url: Option<String>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// The code threw or answered garbage: the function's fault.
    FunctionError,
    TimedOut,
    /// The instance died or hung up in the middle.
    Crashed,
    /// The caller went away.
    Cancelled,
    /// Refused before it reached user code.
    Rejected,
}

/// One call, as remembered for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invocation {
    #[schema(value_type = String)]
    pub id: InvocationId,
    #[schema(value_type = String, example = "hello@3")]
    pub revision: RevisionId,
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    #[schema(value_type = String)]
    pub started: Timestamp,
    /// From the first byte in to the last byte out, µs.
    pub duration_us: u64,
    /// Spent waiting for a slot, µs.
    pub waited_us: u64,
    /// It waited for an instance that was started for it.
    pub cold: bool,
    pub outcome: Outcome,
    /// HTTP status answered; 0 where the call had none.
    pub status: u16,
    /// The fault's code where it failed.
    pub code: Option<String>,
}

/// Which pipe a line came out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
    /// Written by the platform about the instance: started, stopped, killed, and why.
    Platform,
}

/// One line of a function's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    #[schema(value_type = String)]
    pub time: Timestamp,
    #[schema(value_type = String, example = "hello@3")]
    pub revision: RevisionId,
    #[schema(value_type = String)]
    pub instance: InstanceId,
    /// The call that was running; `None` between calls and where several run at once.
    #[schema(value_type = Option<String>)]
    pub invocation: Option<InvocationId>,
    pub stream: Stream,
    pub text: String,
}
