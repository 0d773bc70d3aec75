//! Aligned tables, and numbers as people read them.

use super::screen::Paint;
use types::{Bytes, Timestamp};

const GAP: &str = "  ";

/// Rows under headings; numbers stand right.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// A title that begins with '>' makes a column that stands right.
    pub fn new(titles: &[&'static str]) -> Self {
        let columns = titles
            .iter()
            .map(|title| match title.strip_prefix('>') {
                Some(title) => Column { title, right: true },
                None => Column { title, right: false },
            })
            .collect();
        Self { columns, rows: Vec::new() }
    }

    /// Cells beyond the columns are dropped, missing ones are empty.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn render(&self, paint: Paint) -> String {
        let empty = String::new();
        let cell = |row: usize, column: usize| self.rows.get(row).and_then(|r| r.get(column)).unwrap_or(&empty);
        let width = |column: usize, title: &str| {
            let cells = (0..self.rows.len()).map(|row| cell(row, column).chars().count());
            cells.chain([title.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(|(i, c)| width(i, c.title)).collect();
        let line = |texts: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((text, column), width) in texts.zip(&self.columns).zip(&widths) {
                let fill = " ".repeat(width.saturating_sub(text.chars().count()));
                let (before, after) = if column.right { (fill.as_str(), "") } else { ("", fill.as_str()) };
                line.extend([before, text, after, GAP]);
            }
            line.trim_end().to_owned()
        };
        let mut text = paint.bold(&line(&mut self.columns.iter().map(|c| c.title))) + "\n";
        for row in 0..self.rows.len() {
            text += &line(&mut (0..self.columns.len()).map(|column| cell(row, column).as_str()));
            text.push('\n');
        }
        text
    }
}

/// `870 µs`, `12.3 ms`, `1.24 s`, `3 min 5 s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{:.2} s", us as f64 / 1e6),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// Whole milliseconds carry no fraction: `12 ms`, `1.24 s`.
pub fn millis(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { micros(ms.saturating_mul(1_000)) }
}

/// `12 B`, `3.4 KiB`, `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A limit, where `None` is no limit.
pub fn limit(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string())
}

/// How long ago: `now`, `5 s`, `3 min`, `2 h`, `4 d`.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    match now.0.saturating_sub(then.0) / 1_000 {
        0 => "now".to_owned(),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// The time of day, UTC: `12:00:05.123`.
pub fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(11..23).unwrap_or(&text).to_owned()
}

/// Day and time, UTC: `2026-07-01 12:00:05`.
pub fn date(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", ">N", "URL"]);
        table.row(["hello".into(), "7".into(), "http://a".into()]);
        table.row(["a".into(), "1234".into(), String::new()]);
        assert_eq!(
            table.render(Paint::plain()),
            "NAME      N  URL\n\
             hello     7  http://a\n\
             a      1234\n"
        );
    }

    #[test]
    fn width_counts_characters_not_bytes() {
        let mut table = Table::new(&["TIME", "X"]);
        table.row(["870 µs".into(), "a".into()]);
        table.row(["1234567".into(), "b".into()]);
        let text = table.render(Paint::plain());
        let at = |line: usize, what| text.lines().nth(line).unwrap().chars().position(|c| c == what);
        assert_eq!((at(1, 'a'), at(2, 'b')), (Some(9), Some(9)), "{text}");
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x".into(), "y".into()]);
        let text = table.render(Paint::colour());
        assert_eq!(text.lines().next(), Some("\u{1b}[1mA  B\u{1b}[0m"));
        assert_eq!(text.lines().nth(1), Some("x  y"));
    }

    #[test]
    fn numbers_read_well() {
        for (us, text) in [
            (0, "0 µs"),
            (870, "870 µs"),
            (1_234, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_240_000, "1.24 s"),
            (185_000_000, "3 min 5 s"),
        ] {
            assert_eq!(micros(us), text);
        }
        assert_eq!((millis(12).as_str(), millis(1_240).as_str()), ("12 ms", "1.24 s"));
        for (bytes, text) in [(12, "12 B"), (3_482, "3.4 KiB"), (1_258_291, "1.2 MiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(size(bytes), text);
        }
        for (ms, text) in [(0, "now"), (5_000, "5 s"), (180_000, "3 min"), (7_200_000, "2 h"), (345_600_000, "4 d")] {
            assert_eq!(age(Timestamp(ms), Timestamp(0)), text);
        }
        assert_eq!(age(Timestamp(0), Timestamp(9)), "now", "clocks differ");
        let time = Timestamp(1_790_000_000_123);
        assert_eq!((clock(time).as_str(), date(time).as_str()), ("14:13:20.123", "2026-09-21 14:13:20"));
    }
}
