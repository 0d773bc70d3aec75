//! Where a command writes: results on stdout, everything else on stderr, colour for eyes only.

use super::failure::{Failure, Outcome};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What is known about the two outputs.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Documents instead of words.
    pub json: bool,
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    colour: bool,
}

impl Screen {
    pub fn of_this_process(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            colour: !no_colour && !dumb,
        }
    }

    /// A line of the result.
    pub fn line(&self, text: &str) -> Outcome {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Bytes of the result, as they are.
    pub fn raw(&self, bytes: &[u8]) -> Outcome {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Unread,
            _ => Failure::machine("cannot write to stdout", &error),
        })
    }

    /// The result as one document on one line.
    pub fn document(&self, document: &impl Serialize) -> Outcome {
        let text = serde_json::to_string(document).map_err(|e| Failure::Machine(format!("cannot write JSON: {e}")))?;
        self.line(&text)
    }

    /// The result in the form that was asked for.
    pub fn result(&self, document: &impl Serialize, words: impl FnOnce(Paint) -> String) -> Outcome {
        if self.json { self.document(document) } else { self.raw(words(self.paint_out()).as_bytes()) }
    }

    /// A line for people, beside the result. Nothing can be done where stderr is gone.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    pub fn paint_out(&self) -> Paint {
        Paint(self.colour && self.stdout_is_terminal)
    }

    pub fn paint_err(&self) -> Paint {
        Paint(self.colour && self.stderr_is_terminal)
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

macro_rules! colours {
    ($($name:ident $code:literal)*) => {
        $(pub fn $name(self, text: &str) -> String {
            if self.0 { format!(concat!("\u{1b}[", $code, "m{}\u{1b}[0m"), text) } else { text.to_owned() }
        })*
    };
}

impl Paint {
    colours! { bold "1" dim "2" red "31" green "32" yellow "33" cyan "36" }

    #[cfg(test)]
    pub const fn plain() -> Self {
        Self(false)
    }
    #[cfg(test)]
    pub const fn colour() -> Self {
        Self(true)
    }
}
