//! Cron patterns with a time zone: when they come next, and when they came last.
//!
//! Five fields, or six with seconds first, with `L`, `W` and `#`: those of the crate `croner`. An hour that a time zone
//! skips or repeats in spring and autumn is the library's business.

use crate::unit::Timestamp;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{pattern}` is no cron pattern ({why}): write minute, hour, day, month and weekday, as `0 8 * * MON-FRI`")]
    Pattern { pattern: String, why: String },
    #[error("`{0}` is no time zone: write one of the IANA names, as `Europe/Berlin` or `UTC`")]
    Timezone(String),
}

/// A pattern in its time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    cron: croner::Cron,
    timezone: Tz,
}

impl Cron {
    /// # Errors
    /// Where the pattern or the zone's name is none.
    pub fn parse(pattern: &str, timezone: &str) -> Result<Self, Error> {
        let cron = pattern
            .parse::<croner::Cron>()
            .map_err(|why| Error::Pattern { pattern: pattern.to_owned(), why: why.to_string() })?;
        let timezone = timezone.parse().map_err(|_| Error::Timezone(timezone.to_owned()))?;
        Ok(Self { cron, timezone })
    }

    /// The first time after `now`; `None` where there is none.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&self.local(now)?, false).ok().map(stamp)
    }

    /// The last time until `now`, `now` itself among them.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.find_previous_occurrence(&self.local(now)?, true).ok().map(stamp)
    }

    /// Whether `now` is within `duration` from one of its times.
    pub fn is_open(&self, duration: Duration, now: Timestamp) -> bool {
        self.last(now).is_some_and(|last| Duration::from_millis(now.0.saturating_sub(last.0)) < duration)
    }

    fn local(&self, now: Timestamp) -> Option<DateTime<Tz>> {
        let utc = DateTime::<Utc>::from_timestamp_millis(i64::try_from(now.0).ok()?)?;
        Some(utc.with_timezone(&self.timezone))
    }
}

fn stamp(time: DateTime<Tz>) -> Timestamp {
    Timestamp(u64::try_from(time.timestamp_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn next_and_last_follow_the_time_zone() {
        for (pattern, zone, now, last, next) in [
            ("0 8 * * *", "UTC", "2026-03-10T08:00:00Z", "2026-03-10T08:00:00Z", "2026-03-11T08:00:00Z"),
            ("0 8 * * *", "UTC", "2026-03-10T07:59:59Z", "2026-03-09T08:00:00Z", "2026-03-10T08:00:00Z"),
            ("0 8 * * *", "Asia/Shanghai", "2026-03-10T00:30:00Z", "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"),
            // Friday to Monday.
            ("0 8 * * MON-FRI", "UTC", "2026-03-14T12:00:00Z", "2026-03-13T08:00:00Z", "2026-03-16T08:00:00Z"),
            // Berlin has summer time from 29 March 2026 on: 08:00 is an hour earlier in UTC.
            ("0 8 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"),
            ("*/10 * * * * *", "UTC", "2026-03-10T00:00:05Z", "2026-03-10T00:00:00Z", "2026-03-10T00:00:10Z"),
        ] {
            let cron = Cron::parse(pattern, zone).unwrap();
            assert_eq!(cron.last(at(now)), Some(at(last)), "last of {pattern} {zone} at {now}");
            assert_eq!(cron.next(at(now)), Some(at(next)), "next of {pattern} {zone} at {now}");
        }
    }

    #[test]
    fn a_window_is_open_for_its_duration() {
        let (cron, hour) = (Cron::parse("0 8 * * *", "UTC").unwrap(), Duration::from_secs(3600));
        for (now, open) in [
            ("2026-03-10T07:59:59Z", false),
            ("2026-03-10T08:00:00Z", true),
            ("2026-03-10T08:59:59Z", true),
            ("2026-03-10T09:00:00Z", false),
        ] {
            assert_eq!(cron.is_open(hour, at(now)), open, "{now}");
        }
    }

    #[test]
    fn what_is_none_is_said() {
        assert!(Cron::parse("0 25 * * *", "UTC").unwrap_err().to_string().contains("`0 25 * * *`"));
        assert!(Cron::parse("every day", "UTC").is_err());
        assert_eq!(Cron::parse("0 8 * * *", "Berlin").unwrap_err(), Error::Timezone("Berlin".to_owned()));
    }
}
