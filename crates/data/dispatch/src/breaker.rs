//! What a revision's circuit counts as a failure: a call that overran, died, threw, or answered 5xx.

pub(crate) use types::breaker::{Admission, Breaker, Change};
use types::record::Outcome;
use wire::End;

/// How an end counts: `None` where it says nothing about the function.
pub(crate) fn failed(end: End) -> Option<bool> {
    match end.outcome {
        Outcome::Ok => Some(end.status >= 500),
        Outcome::FunctionError | Outcome::TimedOut | Outcome::Crashed => Some(true),
        Outcome::Cancelled | Outcome::Rejected => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Code, Fault};

    #[test]
    fn what_counts_as_a_failure() {
        let fault = |code| End::fault(&Fault::new(code, ""));
        for (end, want) in [
            (End::ok(200), Some(false)),
            (End::ok(404), Some(false)),
            (End::ok(500), Some(true)),
            (fault(Code::FunctionTimeout), Some(true)),
            (fault(Code::FunctionExited), Some(true)),
            (fault(Code::FunctionError), Some(true)),
            (fault(Code::Unavailable), None),
            (fault(Code::BadRequest), None),
            (End { outcome: Outcome::Cancelled, status: 0, code: None }, None),
        ] {
            assert_eq!(failed(end), want, "{end:?}");
        }
    }
}
