//! What functions print: captured line by line, told by call, kept on disk within limits, followed live.

mod capture;
mod file;
mod journal;

pub(crate) use capture::{Marks, Pipe, Source, capture};
pub(crate) use journal::Journal;
pub use journal::Options;
