//! The platform as a user meets it: the real binary, real functions, real faults.
//!
//! Each module is a part of the issue; each test's comment begins with the line that it holds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod journey;
