//! `mayfly invoke`: calls a function and hands its answer through as it came.

use super::{
    Session,
    args::InvokeArgs,
    failure::{Failure, Outcome},
    screen::Screen,
    table,
};
use crate::client::{Answer, CALL_WAIT, Error};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use std::{
    io::{IsTerminal as _, Read as _},
    time::{Duration, Instant},
};
use types::{
    Code, Fault,
    api::{FUNCTION_ERROR_HEADER, REQUEST_ID_HEADER, REVISION_HEADER},
};

/// Largest event read from a file or stdin; far above any function's own limit.
const DATA_MAX: u64 = 256 << 20;

pub async fn run(session: &Session, args: InvokeArgs) -> Outcome {
    let data = data(args.data.as_deref())?;
    let mode = if args.asynchronous { "&async=true" } else { "" };
    let path = format!("/functions/{}/invocations?alias={}{mode}", args.name, args.alias);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let begun = Instant::now();
    let answer = session.client.send(Method::POST, &path, headers, data.into(), CALL_WAIT).await?;
    let answer = refuse_problems(session, answer).await?;
    if args.include {
        show_head(&session.screen, &answer, begun.elapsed());
    }
    if session.screen.json {
        return document(session, answer, begun).await;
    }
    match function_error(&answer) {
        Some(code) => Err(show_error(session, answer, code).await?),
        None => stream(session, answer).await,
    }
}

/// The event as bytes.
fn data(argument: Option<&str>) -> Outcome<Vec<u8>> {
    match argument {
        None => Ok(b"{}".to_vec()),
        Some("-") => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                eprintln!("reading the event from the terminal: end it with Ctrl-D");
            }
            read(stdin.lock(), "stdin")
        }
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|e| Failure::Usage(format!("cannot read {path}: {e}")))?;
                read(file, path)
            }
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

fn read(reader: impl std::io::Read, name: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(DATA_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Usage(format!("cannot read {name}: {e}")))?;
    if bytes.len() as u64 > DATA_MAX {
        return Err(Failure::Usage(format!("{name} is longer than {} MiB", DATA_MAX >> 20)));
    }
    Ok(bytes)
}

/// A problem document is the platform's word, not the function's.
async fn refuse_problems(session: &Session, answer: Answer) -> Outcome<Answer> {
    let problem = answer
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    if problem && !answer.status.is_success() {
        return Ok(session.client.success(answer).await?);
    }
    Ok(answer)
}

/// The code of the function's own failure. The header may say it as Lambda does (`FunctionError`).
fn function_error(answer: &Answer) -> Option<Code> {
    let said = answer.headers.get(FUNCTION_ERROR_HEADER)?;
    let known = Code::ALL.iter().find(|code| said == code.as_str());
    Some(known.copied().unwrap_or(Code::FunctionError))
}

fn show_head(screen: &Screen, answer: &Answer, took: Duration) {
    let paint = screen.paint_err();
    screen.note(&format!("{} after {}", paint.bold(&answer.status.to_string()), table::micros(micros(took))));
    for (name, value) in &answer.headers {
        screen.note(&format!("{}: {}", paint.cyan(name.as_str()), String::from_utf8_lossy(value.as_bytes())));
    }
    screen.note("");
}

/// The answer as it comes.
async fn stream(session: &Session, mut answer: Answer) -> Outcome {
    let screen = &session.screen;
    let mut last = None;
    while let Some(piece) = answer.piece().await {
        let piece = piece.map_err(|error| {
            Failure::Api(Error::Broken { url: session.client.url().to_owned(), cause: error.to_string() })
        })?;
        last = piece.last().copied().or(last);
        screen.raw(&piece)?;
    }
    // A prompt belongs on a line of its own; a pipe gets the bytes and nothing else.
    if screen.stdout_is_terminal && last.is_some_and(|byte| byte != b'\n') {
        screen.raw(b"\n")?;
    }
    if answer.status.is_client_error() || answer.status.is_server_error() {
        screen.note(&format!("the function answered {}", answer.status));
        return Err(Failure::Function);
    }
    Ok(())
}

/// The function's own error, on stderr.
async fn show_error(session: &Session, answer: Answer, code: Code) -> Outcome<Failure> {
    let body = answer.bytes(&session.client).await?;
    let text = Failure::Fault(Fault::new(code, error_words(&body))).text(session.screen.paint_err());
    session.screen.note(text.trim_end());
    Ok(Failure::Function)
}

/// Lambda's error document in words, anything else as it is.
fn error_words(body: &[u8]) -> String {
    let Ok(Value::Object(error)) = serde_json::from_slice(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let text = |key| error.get(key).and_then(Value::as_str);
    let Some(message) = text("errorMessage") else { return String::from_utf8_lossy(body).into_owned() };
    let mut words = text("errorType").map(|kind| format!("{kind}: ")).unwrap_or_default() + message;
    let trace = error.get("stackTrace").or_else(|| error.get("trace")).and_then(Value::as_array);
    for line in trace.into_iter().flatten().filter_map(Value::as_str) {
        words += "\n  ";
        words += line.trim_end();
    }
    words
}

/// Everything about the call in one document.
async fn document(session: &Session, answer: Answer, begun: Instant) -> Outcome {
    let error = function_error(&answer);
    let (status, headers) = (answer.status, answer.headers.clone());
    let body = answer.bytes(&session.client).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let all: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let failed = error.is_some() || status.is_client_error() || status.is_server_error();
    let mut document = json!({
        "status": status.as_u16(),
        "function_error": error,
        "request_id": header(REQUEST_ID_HEADER),
        "revision": header(REVISION_HEADER),
        "duration_ms": micros(begun.elapsed()) as f64 / 1e3,
        "headers": all,
    });
    let (key, value) = body_value(&body);
    document[key] = value;
    session.screen.document(&document)?;
    if failed { Err(Failure::Function) } else { Ok(()) }
}

/// JSON as JSON, text as text, bytes as Base64.
fn body_value(body: &Bytes) -> (&'static str, Value) {
    if let Ok(value) = serde_json::from_slice(body) {
        return ("body", value);
    }
    match std::str::from_utf8(body) {
        Ok(text) => ("body", text.into()),
        Err(_) => ("body_base64", BASE64_STANDARD.encode(body).into()),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::client::tests::{client, full, serve};

    #[test]
    fn an_event_comes_from_the_argument_or_a_file() {
        assert_eq!(data(None).unwrap(), b"{}");
        assert_eq!(data(Some("{\"n\":1}")).unwrap(), b"{\"n\":1}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1]").unwrap();
        assert_eq!(data(Some(&format!("@{}", file.path().display()))).unwrap(), b"[1]");
        assert!(matches!(data(Some("@/no/such/file")), Err(Failure::Usage(text)) if text.contains("/no/such/file")));
    }

    async fn invoked(status: u16, headers: &[(&'static str, &'static str)], body: String) -> Outcome {
        let headers = headers.to_vec();
        let url = serve(move |_| {
            let mut response = full(status, body.clone());
            for (name, value) in &headers {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            async move { response }
        })
        .await;
        let session = Session { client: client(&url), screen: Screen::of_this_process(false) };
        let args = InvokeArgs {
            name: "hello".parse().unwrap(),
            data: None,
            alias: types::AliasName::live(),
            asynchronous: false,
            include: false,
        };
        run(&session, args).await
    }

    #[tokio::test]
    async fn the_platforms_refusal_is_told_from_the_functions_error() {
        let fault = Fault::new(Code::AsyncUnavailable, "an asynchronous call was asked for");
        let problem = serde_json::to_string(&fault.problem()).unwrap();
        let kind = ("content-type", "application/problem+json");
        let refused = invoked(501, &[kind], problem).await;
        assert!(matches!(refused, Err(Failure::Api(Error::Fault(seen))) if seen == fault));

        let error = json!({ "errorType": "TypeError", "errorMessage": "no" }).to_string();
        let failed = invoked(200, &[(FUNCTION_ERROR_HEADER, "function_error")], error).await;
        assert!(matches!(failed, Err(Failure::Function)), "{failed:?}");

        let failed = invoked(404, &[], String::new()).await;
        assert!(matches!(failed, Err(Failure::Function)), "{failed:?}");
        assert!(invoked(200, &[], String::new()).await.is_ok());
    }

    #[test]
    fn a_functions_error_reads_as_its_language_says_it() {
        let body =
            br#"{"errorType":"TypeError","errorMessage":"n is no number","stackTrace":["at a (x.js:1)\n","at b"]}"#;
        assert_eq!(error_words(body), "TypeError: n is no number\n  at a (x.js:1)\n  at b");
        assert_eq!(error_words(b"plain"), "plain");
        assert_eq!(error_words(b"{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        assert_eq!(body_value(&Bytes::from_static(b"{\"n\":2}")), ("body", json!({"n": 2})));
        assert_eq!(body_value(&Bytes::from_static(b"hello")), ("body", json!("hello")));
        assert_eq!(body_value(&Bytes::from_static(b"\xff\x00")), ("body_base64", json!("/wA=")));
    }
}
