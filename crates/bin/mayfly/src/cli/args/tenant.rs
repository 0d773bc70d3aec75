//! `mayfly tenant` and `mayfly limit` as types.

use clap::{Args, Subcommand};
use std::str::FromStr;
use types::{FunctionName, TenantName, edge::Tempo};

#[derive(Debug, Subcommand)]
pub enum TenantVerb {
    /// Make a tenant, or change its limits; they hold for the next call
    Set(TenantSetArgs),
    /// Show all tenants with their limits
    List,
    /// Delete a tenant that owns no function
    Delete(TenantNameArgs),
}

#[derive(Debug, Args)]
pub struct TenantSetArgs {
    pub name: TenantName,
    /// Most calls at once of all its functions, in flight and waiting; 0 stops them, none lifts the limit
    #[arg(long, value_name = "CALLS|none")]
    pub calls_max: Option<Lifted<u32>>,
    /// Most calls of all its functions in a time, as 1000/s; none lifts the limit
    #[arg(long, value_name = "RATE|none")]
    pub rate: Option<Lifted<Tempo>>,
}

#[derive(Debug, Args)]
pub struct TenantNameArgs {
    pub name: TenantName,
}

#[derive(Debug, Args)]
pub struct LimitArgs {
    pub name: FunctionName,
    /// Most calls at once, in flight and waiting; 0 stops the function. Without it, the limit is shown
    #[arg(value_name = "CALLS", conflicts_with = "none")]
    pub calls: Option<u32>,
    /// Lift the limit
    #[arg(long)]
    pub none: bool,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<TenantName>,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifted<T>(pub Option<T>);

impl<T: FromStr> FromStr for Lifted<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}
