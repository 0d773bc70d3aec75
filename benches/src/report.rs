//! What came out: a table for people and `target/bench/NAME.json` for machines.

use crate::options::target;
use serde::Serialize;
use std::{fs, path::PathBuf, time::Duration};

/// Rounds that lie further apart than this are called noisy.
const NOISY: f64 = 0.10;

#[derive(Debug, Serialize)]
pub struct Report {
    name: &'static str,
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    memory_mib: u64,
    /// Share of its cores that others kept busy at the start.
    busy: f64,
}

/// One measured number. `baseline` is what `against` needed in the same run, and `ratio` the value over it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub baseline: Option<f64>,
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// What was aimed at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// Width of the rounds' middle half over their median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
}

impl Row {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, baseline: None, ratio: None, against: None, goal: None, spread: None }
    }

    pub fn against(mut self, name: &str, baseline: f64, ratio: f64) -> Self {
        (self.against, self.baseline, self.ratio) = (Some(name.to_owned()), Some(baseline), Some(ratio));
        self
    }

    pub fn goal(mut self, goal: &str) -> Self {
        self.goal = Some(goal.to_owned());
        self
    }

    pub fn spread(mut self, spread: f64) -> Self {
        self.spread = spread.is_finite().then_some(spread);
        self
    }
}

impl Report {
    /// Begins a report and says so; looks at the machine for half a second.
    pub fn new(name: &'static str) -> Self {
        let machine = Machine::here();
        println!(
            "{name}: {} × {}, Linux {}; others keep {:.0} % of it busy",
            machine.cores,
            machine.cpu,
            machine.kernel,
            machine.busy * 100.0
        );
        Self { name, machine, rows: Vec::new() }
    }

    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the table and writes the file.
    pub fn finish(self) -> anyhow::Result<()> {
        print!("{}", self.table());
        let path = self.path();
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)?;
        fs::write(&path, serde_json::to_string_pretty(&self)? + "\n")?;
        println!("written to {}", path.display());
        Ok(())
    }

    fn path(&self) -> PathBuf {
        target().join("bench").join(format!("{}.json", self.name))
    }

    fn table(&self) -> String {
        let mut rows = vec![["WHAT", "VALUE", "UNIT", "BASELINE", "RATIO", "GOAL", ""].map(str::to_owned)];
        rows.extend(self.rows.iter().map(|row| {
            let against = row.against.as_deref().unwrap_or_default();
            [
                row.what.clone(),
                number(row.value),
                row.unit.to_owned(),
                row.baseline.map_or_else(|| "-".to_owned(), |value| format!("{} {against}", number(value))),
                row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                row.goal.clone().unwrap_or_default(),
                row.spread
                    .filter(|spread| *spread > NOISY)
                    .map_or_else(String::new, |s| format!("noisy: ±{:.0} %", s * 50.0)),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let line = |row: &[String; 7]| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Machine {
    fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory =
            field(&read("/proc/meminfo"), "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory.unwrap_or(0) >> 10,
            busy: busy(),
        }
    }
}

/// The cores' busy share over half a second (the first line of `/proc/stat`, proc(5)).
fn busy() -> f64 {
    let ticks = || -> Vec<f64> {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    let passed: Vec<f64> = ticks().iter().zip(&before).map(|(now, before)| now - before).collect();
    // The fourth is idle, the fifth waits for a disk.
    let idle: f64 = passed.iter().skip(3).take(2).sum();
    let all: f64 = passed.iter().sum();
    if all > 0.0 { 1.0 - idle / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_tells_noise() {
        let rows = vec![
            Row::new("cpu per request, http over unix", 15.27, "µs")
                .against("nginx", 11.0, 1.388)
                .goal("≤ 1.5")
                .spread(0.3),
            Row::new("p50 added, c=1", 250.4, "µs").spread(0.01),
        ];
        let table = Report { name: "x", machine: Machine::here(), rows }.table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains("15.3") && lines[1].contains("11.0 nginx") && lines[1].ends_with("noisy: ±15 %"));
        assert!(!lines[2].contains("noisy"));
        let column = |line: &str| line.chars().position(|c| c == 'µ');
        assert_eq!(column(lines[1]), column(lines[2]));
    }
}
