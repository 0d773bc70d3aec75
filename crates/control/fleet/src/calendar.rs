//! The time windows of one revision, parsed once.

use std::time::Duration;
use types::{Scale, Timestamp, cron::Cron};

#[derive(Debug, Default)]
pub(crate) struct Calendar {
    windows: Vec<(Cron, Duration, u32)>,
    /// The last answer, and the second that it is of.
    known: Option<(u64, u32)>,
}

/// Milliseconds for which an answer holds.
const ANSWER: u64 = 1000;

impl Calendar {
    /// What cannot be parsed is left out: a manifest is checked when it is read.
    pub(crate) fn new(scale: &Scale) -> Self {
        let windows = scale.schedule.iter().filter_map(|window| {
            let cron = window.cron().ok()?;
            Some((cron, window.duration.duration(), window.min))
        });
        Self { windows: windows.collect(), known: None }
    }

    /// The largest minimum of the windows that are open now; 0 where none is.
    pub(crate) fn floor(&mut self, now: Timestamp) -> u32 {
        if self.windows.is_empty() {
            return 0;
        }
        let piece = now.0 / ANSWER;
        if let Some((known, floor)) = self.known
            && known == piece
        {
            return floor;
        }
        let open = self.windows.iter().filter(|(cron, duration, _)| cron.is_open(*duration, now));
        let floor = open.map(|(_, _, min)| *min).max().unwrap_or(0);
        self.known = Some((piece, floor));
        floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Manifest;

    #[test]
    fn the_largest_open_window_counts() {
        let text = "name = 'a'\nruntime = 'nodejs'\n[scale]\nschedule = [\
            { cron = '0 8 * * MON-FRI', duration = '10h', min = 3, timezone = 'Asia/Shanghai' },\
            { cron = '0 4 * * *', duration = '1h', min = 9 }]";
        let mut calendar = Calendar::new(&Manifest::parse(text).unwrap().spec().scale);
        for (now, floor) in [
            ("2026-03-09T23:59:59Z", 0),
            ("2026-03-10T00:00:00Z", 3),
            ("2026-03-10T04:00:00Z", 9),
            ("2026-03-10T05:00:00Z", 3),
            ("2026-03-10T10:00:00Z", 0),
            // Saturday.
            ("2026-03-14T01:00:00Z", 0),
            ("2026-03-14T04:59:59Z", 9),
        ] {
            assert_eq!(calendar.floor(now.parse().unwrap()), floor, "{now}");
        }
        // A clock that is set back: the window is what the clock says.
        assert_eq!(calendar.floor("2026-03-10T04:30:00Z".parse().unwrap()), 9);
        assert_eq!(calendar.floor("2026-03-09T12:00:00Z".parse().unwrap()), 0);
        assert_eq!(Calendar::new(&Scale::default()).floor(Timestamp(0)), 0);
    }
}
