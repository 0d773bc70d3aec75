//! Where the platform remembers: small records that can be watched, and blobs that are found by their digest.
//!
//! Reading order: [`record`] has the trait [`Records`] and its back ends; [`blob`] keeps artifacts on disk;
//! [`clock`] is the time that leases live by.
//!
//! **Invariant**: this crate knows nothing about functions, revisions or roles; keys and values are the caller's.

pub mod blob;
pub mod clock;
mod disk;
pub mod record;

pub use blob::Blobs;
pub use record::{Entry, LeaseId, Records, Txn, Version};
