//! How a command fails: what is shown, in words or as a document, and the exit code.

use super::screen::{Paint, Screen};
use crate::client;
use serde_json::{Value, json};
use std::{fmt::Write as _, io};
use types::{Blame, Fault};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The API's answer, or its silence.
    Api(client::Error),
    /// Found on this side: the manifest, the folder.
    Fault(Fault),
    /// The function answered with an error of its own, which has been shown already.
    Function,
    /// The arguments don't make sense together.
    Usage(String),
    /// This machine refuses: a file, a terminal.
    Machine(String),
    /// Nobody reads our output any more, as in `mayfly logs hello | head`.
    Unread,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::Api(error)
    }
}
impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// In one line, for tables and logs.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
    }
}

impl Failure {
    /// An I/O failure of this machine, with what was tried.
    pub fn machine(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Machine(format!("{what}: {error}"))
    }

    /// As documented in `mayfly --help`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Function => 1,
            Self::Usage(_) => 2,
            Self::Fault(fault) | Self::Api(client::Error::Fault(fault)) => match fault.code.blame() {
                Blame::Function => 1,
                Blame::Caller => 2,
                Blame::Platform => 4,
            },
            Self::Api(client::Error::Unauthorized { .. } | client::Error::Url { .. }) => 2,
            Self::Api(
                client::Error::Unreachable { .. } | client::Error::Broken { .. } | client::Error::Foreign { .. },
            ) => 3,
            Self::Machine(_) => 4,
        }
    }

    /// Tells it: words on stderr, or with `--json` a document on stdout.
    pub fn show(&self, screen: &Screen) {
        if matches!(self, Self::Unread | Self::Function) {
            return;
        }
        // Where even this can't be written, the exit code is all that is left.
        if screen.json {
            let _ = screen.document(&self.document());
        } else {
            screen.note(self.text(screen.paint_err()).trim_end());
        }
    }

    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) | Self::Api(client::Error::Fault(fault) | client::Error::Unauthorized { fault, .. }) => {
                Some(fault)
            }
            _ => None,
        }
    }

    /// A problem document; for what the platform has no code for, one of the same shape.
    pub fn document(&self) -> Value {
        if let Some(fault) = self.fault() {
            return serde_json::to_value(fault.problem()).unwrap_or_default();
        }
        let (code, detail) = (self.code(), self.message());
        json!({ "code": code, "detail": detail, "title": self.advice() })
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Api(client::Error::Unreachable { .. }) => "unreachable",
            Self::Api(client::Error::Broken { .. }) => "connection_broken",
            Self::Api(client::Error::Foreign { .. }) => "not_mayfly",
            Self::Usage(_) | Self::Api(client::Error::Url { .. }) => "usage",
            Self::Machine(_) => "local",
            Self::Function => "function_error",
            Self::Unread => "unread",
            Self::Fault(fault) | Self::Api(client::Error::Fault(fault) | client::Error::Unauthorized { fault, .. }) => {
                fault.code.as_str()
            }
        }
    }

    /// What failed, without advice.
    pub fn message(&self) -> String {
        match self {
            Self::Fault(fault) | Self::Api(client::Error::Fault(fault) | client::Error::Unauthorized { fault, .. }) => {
                fault.detail.clone().into_owned()
            }
            Self::Api(error) => error.to_string(),
            Self::Usage(text) | Self::Machine(text) => text.clone(),
            Self::Function => "the function answered with an error".to_owned(),
            Self::Unread => "nobody reads the output".to_owned(),
        }
    }

    /// What to do, where there is something to say.
    fn advice(&self) -> String {
        match self {
            Self::Api(client::Error::Unreachable { .. }) => {
                "start one with `mayfly up`, or name another with --api-url or MAYFLY_API_URL".to_owned()
            }
            Self::Api(client::Error::Broken { .. }) => {
                "look whether the platform still runs (`mayfly info`), then repeat the command".to_owned()
            }
            Self::Api(client::Error::Foreign { .. }) => {
                "name the API's own address (9900 by default, not the functions' 8080) with --api-url".to_owned()
            }
            Self::Api(client::Error::Url { .. }) => "write it as http://127.0.0.1:9900".to_owned(),
            Self::Api(client::Error::Unauthorized { token, .. }) => {
                let path = token.path.display();
                let looked = match &token.value {
                    Ok(_) => format!("the token in {path} is not this platform's"),
                    Err(why) => format!("no token was found in {path} ({why})"),
                };
                format!("{looked}: name the file with --token-file, or the platform's folder with --data-dir")
            }
            Self::Usage(_) => "`mayfly COMMAND --help` shows the arguments and examples".to_owned(),
            Self::Fault(fault) | Self::Api(client::Error::Fault(fault)) => fault.code.hint().to_owned(),
            Self::Machine(_) | Self::Function | Self::Unread => String::new(),
        }
    }

    /// The failure as people read it, over several lines.
    pub fn text(&self, paint: Paint) -> String {
        let head = match self.fault() {
            Some(fault) => format!("error[{}]:", fault.code),
            None => "error:".to_owned(),
        };
        let mut text = format!("{} {}\n", paint.red(&head), self.message().trim_end());
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "  {} {value}", paint.bold(&format!("{name:<12}")));
            }
        };
        if let Some(fault) = self.fault() {
            line("whose fault:", whose(fault.code.blame()));
        }
        line("what to do:", &self.advice());
        if let Some(fault) = self.fault() {
            line("more:", &format!("docs/errors/{}.md", fault.code));
        }
        text
    }
}

fn whose(blame: Blame) -> &'static str {
    match blame {
        Blame::Caller => "the caller's",
        Blame::Function => "the function's",
        Blame::Platform => "the platform's",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::client::Token;
    use types::Code;

    fn unauthorized(value: Result<String, String>) -> Failure {
        let fault = Fault::new(Code::Unauthorized, "the token is missing");
        Failure::Api(client::Error::Unauthorized { fault, token: Token { path: "/data/token".into(), value } })
    }

    fn unreachable() -> Failure {
        Failure::Api(client::Error::Unreachable { url: "http://127.0.0.1:9900".into(), cause: "refused".into() })
    }

    #[test]
    fn a_fault_reads_as_promised() {
        let failure = Failure::Fault(Fault::new(Code::BuildFailed, "npm ci ended with status 1"));
        let text = failure.text(Paint::plain());
        let want = format!(
            "error[build_failed]: npm ci ended with status 1\n  whose fault: the function's\n  what to do:  {}\n  \
             more:        docs/errors/build_failed.md\n",
            Code::BuildFailed.hint()
        );
        assert_eq!(text, want);
    }

    #[test]
    fn colours_are_put_around_the_words_only() {
        let failure = Failure::Fault(Fault::new(Code::BuildFailed, "npm ci ended with status 1"));
        let text = failure.text(Paint::colour());
        assert!(text.starts_with("\u{1b}[31merror[build_failed]:\u{1b}[0m npm ci"), "{text:?}");
    }

    #[test]
    fn an_absent_platform_says_how_to_start_one() {
        let text = unreachable().text(Paint::plain());
        assert!(text.starts_with("error: no platform answers at http://127.0.0.1:9900 (refused)\n"), "{text}");
        assert!(text.contains("start one with `mayfly up`"), "{text}");
    }

    #[test]
    fn a_refused_token_says_where_it_was_looked_for() {
        let text = unauthorized(Err("No such file or directory".into())).text(Paint::plain());
        assert!(text.contains("no token was found in /data/token (No such file or directory)"), "{text}");
        let text = unauthorized(Ok("secret".into())).text(Paint::plain());
        assert!(text.contains("the token in /data/token is not this platform's"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn exit_codes_follow_the_blame() {
        let fault = |code| Failure::Api(client::Error::Fault(Fault::new(code, "x")));
        for (failure, code) in [
            (fault(Code::BuildFailed), 1),
            (fault(Code::FunctionTimeout), 1),
            (Failure::Function, 1),
            (fault(Code::FunctionNotFound), 2),
            (unauthorized(Ok(String::new())), 2),
            (Failure::Usage("x".into()), 2),
            (unreachable(), 3),
            (fault(Code::Internal), 4),
            (fault(Code::AsyncUnavailable), 4),
            (Failure::Machine("x".into()), 4),
            (Failure::Unread, 0),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn every_failure_has_a_document_with_a_code() {
        let document = Failure::Fault(Fault::new(Code::BuildFailed, "no")).document();
        assert_eq!((document["code"].as_str(), document["status"].as_u64()), (Some("build_failed"), Some(422)));
        let document = unreachable().document();
        assert_eq!(document["code"], "unreachable");
        assert!(document["title"].as_str().unwrap().contains("mayfly up"));
    }
}
