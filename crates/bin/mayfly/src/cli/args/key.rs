//! `mayfly key` as types.

use clap::{Args, Subcommand};
use types::{FunctionName, Millis};

#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a key and show it, this once
    Create(KeyCreateArgs),
    /// Show all keys, without their secrets
    List,
    /// Have a key open nothing any more
    Revoke(KeyRevokeArgs),
}

#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Who or what gets it, in words of your own
    pub name: String,
    /// A function that it opens; may be given several times
    #[arg(long = "function", short, value_name = "NAME", value_delimiter = ',', required_unless_present = "all")]
    pub functions: Vec<FunctionName>,
    /// It opens all functions, those of the future too
    #[arg(long, conflicts_with = "functions")]
    pub all: bool,
    /// It opens nothing after this time, as 90d or 12h [default: never]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Millis>,
}

#[derive(Debug, Args)]
pub struct KeyRevokeArgs {
    /// As `mayfly key list` shows it
    pub id: String,
}
