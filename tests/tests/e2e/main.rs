//! The platform as a user meets it: the real binary, real functions, real faults.
//!
//! Each module is a part of the issue; each test's comment begins with the line that it holds. Tests that only add
//! functions share one platform ([`mayfly_tests::Platform::shared`]), so their functions have names of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod auth;
mod bad_input;
mod canary;
mod clients;
mod contract;
mod disk;
mod examples;
mod faults;
mod handover;
mod journey;
mod kill;
mod limits;
mod load;
mod moves;
mod outage;
mod protocol;
mod races;
mod raw;
mod resilience;
mod runtimes;
mod scale;
mod scaling;
mod streams;
mod tenants;
mod tls;
mod traffic;
mod tunnels;
mod uploads;
