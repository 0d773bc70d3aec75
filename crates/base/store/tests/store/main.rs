//! The store's promises: one suite for every back end of records, then what only a disk can break.

// Helpers outside `#[test]` functions panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blobs;
mod conformance;
mod full;
mod kill;
mod rig;
mod sqlite;
