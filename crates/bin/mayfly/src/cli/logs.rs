//! `mayfly logs`: what a function wrote, and what it writes.

use super::{Session, args::LogsArgs, failure::Outcome, screen::Paint, table};
use std::fmt::Write as _;
use types::{LogLine, record::Stream};

pub async fn run(session: &Session, args: LogsArgs) -> Outcome {
    let mut lines = session.client.lines::<LogLine>(&path(&args)).await?;
    let paint = session.screen.paint_out();
    while let Some(line) = lines.next().await? {
        if session.screen.json { session.screen.document(&line)? } else { session.screen.line(&words(&line, paint))? }
    }
    Ok(())
}

fn path(args: &LogsArgs) -> String {
    let mut path = format!("/functions/{}/logs?tail={}", args.name, args.tail);
    if args.follow {
        path += "&follow=true";
    }
    if let Some(revision) = args.revision {
        let _ = write!(path, "&revision={revision}");
    }
    if let Some(invocation) = args.invocation {
        let _ = write!(path, "&invocation={invocation}");
    }
    path
}

/// `14:13:20.123 hello@3 7f3a9c01 stderr text`: when, which revision and instance, which pipe.
pub fn words(line: &LogLine, paint: Paint) -> String {
    let instance = line.instance.to_string();
    let short = instance.get(..8).unwrap_or(&instance);
    let stream = match line.stream {
        Stream::Stdout => paint.cyan("stdout  "),
        Stream::Stderr => paint.yellow("stderr  "),
        Stream::Platform => paint.green("platform"),
    };
    let head = paint.dim(&format!("{} {} {short}", table::clock(line.time), line.revision));
    format!("{head} {stream} {}", line.text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn args() -> LogsArgs {
        LogsArgs { name: "hello".parse().unwrap(), follow: false, tail: 100, revision: None, invocation: None }
    }

    #[test]
    fn the_filter_is_in_the_path() {
        assert_eq!(path(&args()), "/functions/hello/logs?tail=100");
        let id = "00000000-0000-4000-8000-000000000001";
        let all =
            LogsArgs { follow: true, tail: 0, revision: Some(3), invocation: Some(id.parse().unwrap()), ..args() };
        assert_eq!(path(&all), format!("/functions/hello/logs?tail=0&follow=true&revision=3&invocation={id}"));
    }

    #[test]
    fn a_line_shows_when_where_and_what() {
        let line: LogLine = serde_json::from_value(serde_json::json!({
            "time": "2026-09-21T14:13:20.123Z", "revision": "hello@3", "invocation": null,
            "instance": "7f3a9c01-0000-4000-8000-000000000001", "stream": "stderr", "text": "watch out",
        }))
        .unwrap();
        assert_eq!(words(&line, Paint::plain()), "14:13:20.123 hello@3 7f3a9c01 stderr   watch out");
        assert!(words(&line, Paint::colour()).contains("\u{1b}[33mstderr  \u{1b}[0m watch out"));
    }
}
