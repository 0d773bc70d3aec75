//! The names of the records.
//!
//! | key | value |
//! |---|---|
//! | `function/<name>` | [`super::read::Owner`]: touched by every change of what belongs to the function, so its version is the function's ETag |
//! | `number/<name>` | the number that the next revision gets; outlives the function, so that no number is used twice |
//! | `revision/<name>/<number>` | [`types::Revision`], immutable |
//! | `alias/<name>/<alias>` | [`types::Alias`] |
//! | `route/<sha256 of host and path>` | all [`types::Route`]s of one host and shape of path: two that clash meet in one record |
//! | `limit/<name>/calls` | most calls at once of a function that has a limit of its own; 0 stops it |
//! | `key/<id>` | [`super::api_key::Kept`]: an API key without its secret |
//! | `reserved` | the sum of a tenant's limits when one was set last: written with each, and with a tenant's own, so that no two promise the same calls |
//! | `tenant/<name>` | [`types::tenant::TenantLimits`]; its version is the tenant's ETag |
//! | `owns/<tenant>` | the function that was made last: written with each, so that none is made for a tenant that is being deleted |
//! | `event/<name>` | the last [`types::Event`]s of its aliases, the newest last |
//! | `deployment/<id>` | [`types::Deployment`] |

use super::read::Site;
use sha2::{Digest as _, Sha256};
use types::{AliasName, FunctionName, RevisionId, TenantName, id::DeploymentId};

pub const FUNCTIONS: &str = "function/";
pub const REVISIONS: &str = "revision/";
pub const ALIASES: &str = "alias/";
pub const ROUTES: &str = "route/";
pub const LIMITS: &str = "limit/";
pub const TENANTS: &str = "tenant/";
pub const KEYS: &str = "key/";
pub const RESERVED: &str = "reserved";
pub const DEPLOYMENTS: &str = "deployment/";

pub fn function(name: &FunctionName) -> String {
    format!("{FUNCTIONS}{name}")
}
pub fn number(name: &FunctionName) -> String {
    format!("number/{name}")
}
pub fn revisions(name: &FunctionName) -> String {
    format!("{REVISIONS}{name}/")
}
/// Padded, so that the order of keys is the order of numbers.
pub fn revision(id: &RevisionId) -> String {
    format!("{REVISIONS}{}/{:010}", id.function, id.number)
}
pub fn aliases(name: &FunctionName) -> String {
    format!("{ALIASES}{name}/")
}
pub fn alias(name: &FunctionName, alias: &AliasName) -> String {
    format!("{ALIASES}{name}/{alias}")
}
/// The function that an alias's key belongs to.
pub fn function_of_alias(key: &str) -> Option<FunctionName> {
    key.strip_prefix(ALIASES)?.split('/').next()?.parse().ok()
}
/// A path may be longer than a key: hence the hash. A NUL is in neither host nor path.
pub fn route(site: &Site) -> String {
    let text = format!("{}\0{}", site.host.as_deref().unwrap_or(""), site.path);
    format!("{ROUTES}{}", hex::encode(Sha256::digest(text)))
}
pub fn limits(name: &FunctionName) -> String {
    format!("{LIMITS}{name}/")
}
pub fn limit(name: &FunctionName) -> String {
    format!("{LIMITS}{name}/calls")
}
/// The function that a limit's key belongs to.
pub fn function_of_limit(key: &str) -> Option<FunctionName> {
    key.strip_prefix(LIMITS)?.split('/').next()?.parse().ok()
}
pub fn tenant(name: &TenantName) -> String {
    format!("{TENANTS}{name}")
}
pub fn owns(name: &TenantName) -> String {
    format!("owns/{name}")
}
pub fn api_key(id: &str) -> String {
    format!("{KEYS}{id}")
}
pub fn events(name: &FunctionName) -> String {
    format!("event/{name}")
}
pub fn deployment(id: &DeploymentId) -> String {
    format!("{DEPLOYMENTS}{id}")
}
