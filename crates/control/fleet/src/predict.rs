//! What the last days had at this time of day: the history of one function, and what it says about the next minutes.
//!
//! [`History`] is 4 KB for a week in pieces of five minutes; [`predict`] is a pure function of it.

use serde::{Deserialize, Serialize};
use types::Timestamp;

/// Milliseconds of a piece.
const PIECE: u64 = 5 * 60 * 1000;
const DAY: u64 = 24 * 60 * 60 * 1000 / PIECE;
const DAYS: u64 = 7;
const WEEK: u64 = DAY * DAYS;
/// A piece about which nothing is known: the platform did not run, or the function was not there.
const UNKNOWN: u16 = u16::MAX;
/// Fewer days say nothing.
const DAYS_MIN: usize = 2;
/// A day may be this much busier than the same weekday of last week before the prediction stops to follow.
const WEEKDAY_FACTOR: f32 = 1.5;

/// The most calls at once in each piece of the last week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The newest piece, counted from 1970.
    newest: u64,
    /// By the piece's number modulo the week.
    calls: Vec<u16>,
}

impl Default for History {
    fn default() -> Self {
        Self { newest: 0, calls: vec![UNKNOWN; WEEK as usize] }
    }
}

impl History {
    /// Notes that there were so many calls at once.
    pub fn note(&mut self, now: Timestamp, calls: f32) {
        let piece = now.0 / PIECE;
        // A clock that was set back: what is known is not overwritten.
        if piece < self.newest {
            return;
        }
        for missed in 0..(piece - self.newest).min(WEEK) {
            self.set(piece - missed, UNKNOWN);
        }
        self.newest = piece;
        let seen = calls.ceil().clamp(0.0, f32::from(UNKNOWN - 1)) as u16;
        let most = self.at(piece).map_or(seen, |known| known.max(seen));
        self.set(piece, most);
    }

    /// True for what was read from a file and has the length of a week.
    pub(crate) fn is_whole(&self) -> bool {
        self.calls.len() == WEEK as usize
    }

    fn set(&mut self, piece: u64, calls: u16) {
        if let Some(place) = self.calls.get_mut((piece % WEEK) as usize) {
            *place = calls;
        }
    }

    /// `None` for what is unknown, to come, or more than a week ago.
    fn at(&self, piece: u64) -> Option<u16> {
        if piece > self.newest || piece + WEEK <= self.newest {
            return None;
        }
        self.calls.get((piece % WEEK) as usize).copied().filter(|calls| *calls != UNKNOWN)
    }
}

/// Calls at once to expect from `now` until the end of the next piece: five to ten minutes ahead, so that what starts
/// for it is there in time.
///
/// The median of the last days at the same time: one odd day changes nothing. But not much more than the same weekday
/// had, so that a quiet Saturday is not made ready like a Friday.
pub fn predict(history: &History, now: Timestamp) -> f32 {
    let piece = now.0 / PIECE;
    (piece..=piece + 1).map(|piece| expected(history, piece)).fold(0.0, f32::max)
}

fn expected(history: &History, piece: u64) -> f32 {
    let before = |days: u64| piece.checked_sub(days * DAY).and_then(|piece| history.at(piece));
    let mut days: Vec<u16> = (1..=DAYS).filter_map(before).collect();
    if days.len() < DAYS_MIN {
        return 0.0;
    }
    days.sort_unstable();
    // The lower one of an even number: a start that was not needed is paid for too.
    let median = days.get((days.len() - 1) / 2).copied().map_or(0.0, f32::from);
    match before(DAYS) {
        Some(weekday) => median.min(f32::from(weekday) * WEEKDAY_FACTOR),
        None => median,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday.
    const START: &str = "2026-03-02T00:00:00Z";

    fn at(days: u64, hour: u64, minute: u64) -> Timestamp {
        let start: Timestamp = START.parse().unwrap();
        Timestamp(start.0 + ((days * 24 + hour) * 60 + minute) * 60_000)
    }

    /// Days from `START` on; `calls` says how many at once by day and hour.
    fn lived(days: u64, calls: impl Fn(u64, u64) -> f32) -> History {
        let mut history = History::default();
        for (day, minute) in (0..days).flat_map(|day| (0..24 * 60).map(move |minute| (day, minute))) {
            history.note(at(day, 0, minute), calls(day, minute / 60));
        }
        history
    }

    fn office(day: u64, hour: u64) -> f32 {
        let works = day % 7 < 5 && (8..18).contains(&hour);
        if works { 20.0 } else { 1.0 }
    }

    #[test]
    fn the_morning_is_expected_before_it_comes() {
        let history = lived(8, office);
        for (day, hour, minute, want) in [
            (8, 7, 54, 1.0),
            // The next piece begins within five minutes.
            (8, 7, 55, 20.0),
            (8, 12, 0, 20.0),
            (8, 17, 59, 20.0),
            (8, 18, 0, 1.0),
            (8, 3, 0, 1.0),
        ] {
            assert_eq!(predict(&history, at(day, hour, minute)), want, "{hour}:{minute}");
        }
    }

    #[test]
    fn weekends_are_not_mondays() {
        let history = lived(12, office);
        assert_eq!(predict(&history, at(12, 12, 0)), 1.5, "the second Saturday: one and a half of the first");
        let history = lived(14, office);
        assert_eq!(predict(&history, at(14, 12, 0)), 20.0, "and the Monday after it");
    }

    #[test]
    fn one_odd_day_changes_nothing() {
        let busy = lived(6, |day, _| if day == 3 { 500.0 } else { 10.0 });
        assert_eq!(predict(&busy, at(6, 12, 0)), 10.0);
        let quiet = lived(6, |day, _| if day == 3 { 0.0 } else { 10.0 });
        assert_eq!(predict(&quiet, at(6, 12, 0)), 10.0);
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(predict(&History::default(), at(0, 12, 0)), 0.0);
        assert_eq!(predict(&lived(1, |_, _| 10.0), at(1, 12, 0)), 0.0, "one day is no habit");
        assert_eq!(predict(&lived(2, |_, _| 10.0), at(2, 12, 0)), 10.0);
        assert_eq!(predict(&lived(7, |_, _| 10.0), at(30, 12, 0)), 0.0, "it is long ago");
    }

    #[test]
    fn a_pause_of_the_platform_is_unknown_and_not_zero() {
        let mut history = lived(4, |_, _| 10.0);
        history.note(at(6, 0, 0), 10.0);
        assert_eq!(history.at(at(5, 12, 0).0 / PIECE), None);
        assert_eq!(predict(&history, at(6, 12, 0)), 10.0);
        // A clock that goes back a day.
        history.note(at(5, 0, 0), 999.0);
        assert_eq!(history.at(at(5, 0, 0).0 / PIECE), None);
    }

    #[test]
    fn it_is_bounded() {
        let mut history = lived(60, office);
        assert!(history.is_whole());
        history.note(at(60, 0, 0), 1e9);
        assert_eq!(history.at(history.newest), Some(UNKNOWN - 1));
    }
}
