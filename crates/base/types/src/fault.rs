//! How anything fails: a stable code, whose fault it is, whether to try again, and a sentence that says what to do.
//!
//! Each code has a page `docs/errors/<code>.md`; a test holds that. Faults cross planes as values and reach
//! users as problem documents (RFC 9457).

use crate::RevisionId;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, num::NonZeroU8, time::Duration};
use utoipa::ToSchema;

/// Nobody is told to wait longer, in seconds: what is known now is seldom true for so long.
const AFTER_MAX: u64 = 60;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// Who sent the request.
    Caller,
    /// Who wrote or configured the function.
    Function,
    /// Who runs the platform.
    Platform,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $status:literal $blame:ident $retry:literal $hint:literal,)*) => {
        /// What went wrong, by its stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, as in `docs/errors/<name>.md`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// The HTTP status that tells it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* }
            }
            /// True where no byte can have reached user code, so the same request may be sent again.
            pub const fn retry(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
            /// What to do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }
        }
    };
}

codes! {
    // The caller's.
    BadRequest "bad_request" 400 Caller false "Correct the request; the detail names the part.",
    Unauthorized "unauthorized" 401 Caller false "Send `Authorization: Bearer TOKEN`; the first token is in the data directory's file `token`.",
    AccessDenied "access_denied" 401 Caller false "The function asks for credentials: send a good token as `Authorization: Bearer TOKEN`, or a key as `x-api-key`.",
    Forbidden "forbidden" 403 Caller false "Your credentials are good, but not for this: ask whoever deploys the function for the scope, the claim or the key.",
    IssuerUnavailable "issuer_unavailable" 503 Function true "The keys of the token's issuer cannot be fetched: check `jwks_url` in [access.jwt], and that its server answers.",
    RateLimited "rate_limited" 429 Caller true "You call more often than the function's `[rate]` allows: try again after `Retry-After`.",
    RouteNotFound "route_not_found" 404 Caller false "No route matches this host and path; `mayfly list` shows the URLs.",
    FunctionNotFound "function_not_found" 404 Caller false "No function has this name; `mayfly list` shows them.",
    RevisionNotFound "revision_not_found" 404 Caller false "The function has no such revision; `mayfly describe NAME` shows them.",
    AliasNotFound "alias_not_found" 404 Caller false "The function has no such alias; `mayfly describe NAME` shows them.",
    TenantNotFound "tenant_not_found" 404 Caller false "No tenant has this name; `mayfly tenant list` shows them.",
    TenantInUse "tenant_in_use" 409 Caller false "The tenant owns functions: delete them first.",
    TenantMismatch "tenant_mismatch" 409 Caller false "The function belongs to another tenant, for good: leave `tenant` out, or deploy it under another name.",
    KeyNotFound "key_not_found" 404 Caller false "No API key has this id; `mayfly key list` shows them.",
    DeploymentNotFound "deployment_not_found" 404 Caller false "No deployment has this id.",
    MethodNotAllowed "method_not_allowed" 405 Caller false "The route takes other methods; the `Allow` header names them.",
    PreconditionFailed "precondition_failed" 412 Caller false "It changed since you read it: read it again and repeat the change with the new ETag.",
    RequestTooLarge "request_too_large" 413 Caller false "The body is over the function's `request_max`.",
    UriTooLong "uri_too_long" 414 Caller false "Send a shorter URL; long values belong into the body.",
    DeadlineExceeded "deadline_exceeded" 504 Caller false "The time that the request itself gives (`grpc-timeout`) is over: give it more, or make the function faster.",
    HeadersTooLarge "headers_too_large" 431 Caller false "Send fewer or shorter headers.",
    AsyncUnavailable "async_unavailable" 501 Platform false "Asynchronous invocation is not part of this version; invoke it synchronously.",

    // Whoever deploys.
    ManifestInvalid "manifest_invalid" 422 Function false "Correct mayfly.toml; the detail names the line and the key.",
    NameInvalid "name_invalid" 422 Function false "Use 1 to 63 of a-z, 0-9 and '-', beginning with a letter.",
    RouteConflict "route_conflict" 409 Function false "Another function has this route: choose another host or path, or delete the other one.",
    RuntimeUnavailable "runtime_unavailable" 422 Function false "Install the runtime on the host (the detail says what was looked for), or choose another.",
    ArchiveInvalid "archive_invalid" 422 Function false "Send a tar archive compressed with zstd, as `mayfly deploy` makes it.",
    ArchiveUnsafe "archive_unsafe" 422 Function false "Remove the entry that the detail names: paths and links must stay inside the folder.",
    ArchiveTooLarge "archive_too_large" 413 Function false "Leave files out with .mayflyignore, or split the function: 250 MiB unpacked is the limit.",
    BuildFailed "build_failed" 422 Function false "The build tool's own output says why: `mayfly deploy` shows it, and so does the deployment's log.",
    StartFailed "start_failed" 502 Function false "The code ended before it was ready; its last lines are in `mayfly logs NAME`.",
    RolledBack "rolled_back" 409 Function false "The new revision did worse than the old one, which has all traffic again: `mayfly describe NAME` says why.",
    StartTimeout "start_timeout" 504 Function false "The code did not become ready in `start_timeout`: listen on $PORT or $MAYFLY_SOCKET sooner, or raise it.",

    // The function's, while it runs.
    FunctionError "function_error" 502 Function false "The code threw; the error and its trace are in `mayfly logs NAME`.",
    FunctionTimeout "function_timeout" 504 Function false "The call took longer than `timeout`; make it faster or raise the limit.",
    FunctionExited "function_exited" 502 Function false "The process ended during the call; its last lines are in `mayfly logs NAME`.",
    MemoryExceeded "memory_exceeded" 502 Function false "The instance used more than `memory` and was stopped; use less or raise the limit.",
    ResponseInvalid "response_invalid" 502 Function false "The answer is not what the contract asks for; the detail says what was read.",
    ResponseTooLarge "response_too_large" 502 Function false "The answer is over the function's `response_max`.",

    // The platform's.
    CapacityExhausted "capacity_exhausted" 429 Platform true "All instances are busy and no more may be started: try again after `Retry-After`, or raise `scale.max`.",
    QueueFull "queue_full" 429 Platform true "Too many requests wait for this function already: try again after `Retry-After`.",
    Overloaded "overloaded" 429 Platform true "More is asked of this function than it can do: try again after `Retry-After`, more slowly, or raise `scale.max`.",
    FunctionLimit "function_limit" 429 Platform true "The function has as many calls at once as its limit allows: try again after `Retry-After`, or raise it with `mayfly limit`.",
    TenantLimit "tenant_limit" 429 Platform true "The functions of this tenant have as many calls at once as it may have together: try again after `Retry-After`.",
    FunctionStopped "function_stopped" 429 Platform true "The function is stopped by a limit of 0: `mayfly limit NAME --none` lets calls through again.",
    CircuitOpen "circuit_open" 503 Function true "Too many of the last calls failed, so none is tried for a while: `mayfly logs NAME` says why they failed.",
    ConnectionsExhausted "connections_exhausted" 503 Platform true "The gateway has as many connections as it takes: try again after `Retry-After`, or raise `--connections-max`.",
    StorageFull "storage_full" 507 Platform true "The platform's disk is full: free space in the data directory.",
    ShuttingDown "shutting_down" 503 Platform true "The platform is stopping: try again after `Retry-After`.",
    Unavailable "unavailable" 503 Platform true "A part of the platform does not answer: try again after `Retry-After`.",
    Internal "internal" 500 Platform false "A defect of the platform: please report it with the request id.",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure with its code and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Fault {
    pub code: Code,
    /// What failed, with the values: one sentence.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    /// Seconds after which another try is worth it, where that is known. It is told while it is true, and not kept.
    #[serde(skip)]
    after: Option<NonZeroU8>,
    /// The revision that was chosen for the call, where one was.
    #[serde(skip)]
    revision: Option<Box<RevisionId>>,
}

impl Fault {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), after: None, revision: None }
    }

    /// Another try is worth it after this long: told in whole seconds, 1 to 60.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.after = u8::try_from(secs.clamp(1, AFTER_MAX)).ok().and_then(NonZeroU8::new);
        self
    }

    /// Whether it was said when another try is worth it.
    pub const fn is_timed(&self) -> bool {
        self.after.is_some()
    }

    /// The call was this revision's.
    #[must_use]
    pub fn of(mut self, revision: &RevisionId) -> Self {
        self.revision = Some(Box::new(revision.clone()));
        self
    }

    /// The revision that was chosen for the call, for the header `mayfly-revision`.
    pub fn revision(&self) -> Option<&RevisionId> {
        self.revision.as_deref()
    }

    /// Seconds for `Retry-After`; `None` where the same request has no better chance later.
    pub fn retry_after(&self) -> Option<u8> {
        self.code.retry().then(|| self.after.map_or(1, NonZeroU8::get))
    }

    /// A defect of ours, with the error that showed it.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(Code::Internal, error.to_string())
    }

    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("https://mayfly.dev/errors/{}", self.code),
            title: self.code.hint().into(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            code: self.code,
            blame: self.code.blame(),
            retry: self.code.retry(),
        }
    }
}

/// The error document of the API and the gateway: RFC 9457, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    /// What to do.
    pub title: String,
    pub status: u16,
    /// What failed.
    pub detail: String,
    pub code: Code,
    pub blame: Blame,
    pub retry: bool,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::new(problem.code, problem.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_page() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/errors");
        for code in Code::ALL {
            let page = format!("{docs}/{code}.md");
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.starts_with(&format!("# {code}\n")), "{page} is missing or has another title");
        }
        let pages = std::fs::read_dir(docs).unwrap().count();
        assert_eq!(pages, Code::ALL.len() + 1, "docs/errors has a page of no code (README.md aside)");
    }

    #[test]
    fn another_try_is_told_in_whole_seconds() {
        let fault = |code| Fault::new(code, "");
        assert_eq!(fault(Code::QueueFull).retry_after(), Some(1));
        for (ms, want) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60), (3_600_000, 60)] {
            let fault = fault(Code::QueueFull).after(Duration::from_millis(ms));
            assert_eq!(fault.retry_after(), Some(want), "{ms} ms");
        }
        assert_eq!(fault(Code::BadRequest).after(Duration::from_secs(9)).retry_after(), None);
        assert_eq!(size_of::<Fault>(), 40, "the hot path's results carry it");
    }

    #[test]
    fn a_fault_survives_its_document() {
        let fault = Fault::new(Code::BuildFailed, "npm ci ended with status 1");
        let text = serde_json::to_string(&fault.problem()).unwrap();
        let problem: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(Fault::from(problem), fault);
        assert!(text.contains(r#""code":"build_failed""#) && text.contains(r#""blame":"function""#), "{text}");
    }
}
