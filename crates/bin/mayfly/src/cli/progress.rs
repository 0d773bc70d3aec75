//! Long work as it goes: bars for eyes, plain lines for everything else; always on stderr.

use super::{
    screen::{Paint, Screen},
    table,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);

/// The state of one piece of long work.
pub struct Progress {
    /// Only on a terminal.
    bar: Option<ProgressBar>,
    screen: Screen,
    paint: Paint,
    told: Told,
}

/// What is said where no bar can show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Steps,
    /// A tool's own output only.
    Output,
    Nothing,
}

impl Progress {
    pub fn new(screen: &Screen) -> Self {
        Self::telling(screen, Told::Steps)
    }

    /// For what happens again and again: without a terminal only a tool's own output is told.
    pub fn for_reloads(screen: &Screen) -> Self {
        Self::telling(screen, Told::Output)
    }

    /// Shows a bar on a terminal and nothing elsewhere.
    pub fn quiet(screen: &Screen) -> Self {
        Self::telling(screen, Told::Nothing)
    }

    fn telling(screen: &Screen, told: Told) -> Self {
        let bar = screen.stderr_is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg} {elapsed:.dim}"));
            bar
        });
        Self { bar, screen: *screen, paint: screen.paint_err(), told }
    }

    /// A step begins.
    pub fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{spinner} {msg} {elapsed:.dim}"));
                bar.reset();
                bar.set_message(text.to_owned());
                bar.enable_steady_tick(TICK);
            }
            None if self.told == Told::Steps => self.screen.note(text),
            None => {}
        }
    }

    /// A step begins whose end is known.
    pub fn bytes(&self, text: &str, total: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.set_length(total);
                bar.reset();
                bar.set_style(style("{spinner} {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes}"));
                bar.enable_steady_tick(TICK);
            }
            None if self.told == Told::Steps => self.screen.note(&format!("{text} {}", table::size(total))),
            None => {}
        }
    }

    /// Bytes of the step done so far.
    pub fn moved(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// A line of a tool's own output.
    pub fn log(&self, text: &str) {
        if self.told == Told::Nothing {
            return;
        }
        self.beside(|| self.screen.note(&format!("  {}", self.paint.dim(text))));
    }

    /// A step is over. Said to eyes only: a log has had its line when the step began.
    pub fn done(&self, text: &str) {
        if self.bar.is_some() && self.told == Told::Steps {
            self.beside(|| self.screen.note(&format!("{} {text}", self.paint.green("✓"))));
        }
    }

    /// Writes something that stays, with the bar out of the way.
    pub fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // Only a wrong template fails, and a test reads them all.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in
            ["{spinner} {msg} {elapsed:.dim}", "{spinner} {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
