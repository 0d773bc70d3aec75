//! The documents of the REST API v1: what `control` serves and the CLI reads, typed once.
//!
//! | method and path under `/v1` | body → answer |
//! |---|---|
//! | `GET /functions` | → [`FunctionList`] |
//! | `GET /functions/{name}` | → [`FunctionDetail`] with `ETag` |
//! | `DELETE /functions/{name}` | → 204; `If-Match` honoured |
//! | `POST /functions/{name}/deployments?canary=5,25:2m&every=1m&tenant=acme` | tar.zst → 202 [`Deployment`]; `canary=none` moves at once |
//! | `GET /functions/{name}/deployments?limit=20` | → [`DeploymentList`], newest first |
//! | `GET /deployments/{id}` | → [`Deployment`] |
//! | `GET /deployments/{id}/log?follow=true` | → NDJSON of [`BuildLine`] |
//! | `GET /functions/{name}/revisions[/{number}]` | → [`RevisionList`], [`Revision`] |
//! | `GET /functions/{name}/aliases` | → [`AliasList`] |
//! | `GET, PUT, DELETE /functions/{name}/aliases/{alias}` | [`AliasUpdate`] → [`Alias`]; `ETag`, `If-Match` |
//! | `POST /functions/{name}/rollback` | [`Rollback`] or nothing → [`Alias`] |
//! | `GET, PUT /functions/{name}/limit` | [`Limit`] → [`Limit`] |
//! | `GET /functions/{name}/events` | → [`EventList`], newest first |
//! | `GET /routes` | → [`RouteList`] |
//! | `PUT, DELETE /routes` | one [`Route`] → [`Route`], 204 |
//! | `GET, POST /keys` | [`KeyRequest`](crate::key::KeyRequest) → [`KeyList`](crate::key::KeyList), 201 [`KeyCreated`](crate::key::KeyCreated) |
//! | `DELETE /keys/{id}` | → 204 |
//! | `GET /tenants` | → [`TenantList`](crate::tenant::TenantList) |
//! | `GET, PUT, DELETE /tenants/{name}` | [`TenantLimits`](crate::tenant::TenantLimits) → [`Tenant`](crate::tenant::Tenant); `ETag`, `If-Match` |
//! | `POST /functions/{name}/invocations?alias=live` | raw JSON → the function's answer; `async=true` is refused |
//! | `GET /functions/{name}/invocations?limit=50` | → [`InvocationList`], newest first |
//! | `GET /functions/{name}/logs?follow=true&tail=100` | → NDJSON of [`LogLine`]; also `revision=3`, `invocation=ID` |
//! | `GET /functions/{name}/instances` | → [`InstanceList`] |
//! | `GET /functions/{name}/scaling` | → [`ScalingList`](crate::scaling::ScalingList) |
//! | `GET /info` | → [`Info`] |
//! | `GET /openapi.json` | → the description of all this |

use crate::{
    canary::Canary,
    event::Event,
    id::{AliasName, DeploymentId, FunctionName, InstanceId, RevisionId, TenantName},
    record::{Alias, Deployment, Invocation, LogLine, Revision, Route, Target},
    spec::{Contract, Runtime},
    unit::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Content type of an uploaded folder.
pub const ARCHIVE_TYPE: &str = "application/x-tar+zstd";
/// Header that says whether the function itself failed: `FunctionError`, `TimedOut`, … (the fault's code).
pub const FUNCTION_ERROR_HEADER: &str = "mayfly-function-error";
/// Header with the call's id, in and out.
pub const REQUEST_ID_HEADER: &str = "mayfly-request-id";
/// Header with the revision that answered.
pub const REVISION_HEADER: &str = "mayfly-revision";

/// Header of an answer that stands in for the function's own: `stale`, `fallback` or `static`.
pub const DEGRADED_HEADER: &str = "mayfly-degraded";

/// A function in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionSummary {
    #[schema(value_type = String, example = "hello")]
    pub name: FunctionName,
    #[serde(default)]
    #[schema(value_type = String, example = "acme")]
    pub tenant: TenantName,
    pub runtime: Runtime,
    pub contract: Contract,
    /// What `live` points to.
    pub live: Vec<Target>,
    pub url: String,
    /// Ready instances of all its revisions.
    pub instances: u32,
    #[schema(value_type = String)]
    pub updated: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    pub functions: Vec<FunctionSummary>,
}

/// Everything about a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionDetail {
    #[schema(value_type = String, example = "hello")]
    pub name: FunctionName,
    #[serde(default)]
    #[schema(value_type = String, example = "acme")]
    pub tenant: TenantName,
    #[schema(value_type = String)]
    pub created: Timestamp,
    pub url: String,
    pub aliases: Vec<Alias>,
    pub routes: Vec<Route>,
    /// Newest first.
    pub revisions: Vec<Revision>,
    pub instances: Vec<InstanceView>,
    /// What the platform did by itself, newest first.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What calls of both revisions did so far in the step of each alias's canary, in words.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub canaries: BTreeMap<AliasName, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionList {
    /// Newest first.
    pub revisions: Vec<Revision>,
}

/// The new targets of an alias: one or two, weights adding up to 100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasUpdate {
    pub targets: Vec<Target>,
    /// Moves to the one target by steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// How far to roll `live` back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision to go back to; `None` is the one before.
    #[serde(default)]
    pub to: Option<u32>,
}

/// Most calls at once of a function, in flight and waiting: that many are guaranteed, too. 0 stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// `null` is no limit of its own.
    pub calls: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Newest first.
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    pub aliases: Vec<Alias>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteList {
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationList {
    /// Newest first.
    pub invocations: Vec<Invocation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentList {
    /// Newest first.
    pub deployments: Vec<Deployment>,
}

/// A line of a deployment's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildLine {
    #[schema(value_type = String)]
    pub time: Timestamp,
    /// The tool's own output, or a step of the platform where `step` is true.
    pub text: String,
    #[serde(default)]
    pub step: bool,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    Starting,
    Ready,
    Draining,
    Stopped,
}

/// A running copy of a revision, as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    #[schema(value_type = String)]
    pub id: InstanceId,
    #[schema(value_type = String, example = "hello@3")]
    pub revision: RevisionId,
    pub state: InstanceState,
    #[schema(value_type = String)]
    pub started: Timestamp,
    /// The process that holds it; `None` for WebAssembly.
    pub pid: Option<u32>,
    /// What its processes hold in memory now (anonymous and shared pages).
    pub memory_bytes: u64,
    /// Cold start by phase, µs.
    pub start_us: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceList {
    pub instances: Vec<InstanceView>,
}

/// What this platform is and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    pub version: String,
    pub gateway_url: String,
    pub runtimes: Vec<RuntimeInfo>,
    /// How instances are held apart in this installation, in words.
    pub isolation: String,
    /// Most calls at once of the functions of tenant `default`; `null` is no limit.
    #[serde(default)]
    pub calls_max: Option<u32>,
    /// What functions without a limit of their own have of them.
    #[serde(default)]
    pub calls_unreserved: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeInfo {
    pub runtime: Runtime,
    pub available: bool,
    /// The program and its version, or what is missing.
    pub detail: String,
}

/// Answer to an upload: where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentRef {
    #[schema(value_type = String)]
    pub id: DeploymentId,
}

/// A line of a log answer is a [`LogLine`]; this names the type in the description.
pub type LogDocument = LogLine;
