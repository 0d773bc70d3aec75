//! The access log: a line of JSON for each request, off by default.
//!
//! The path of a request hands its line over and goes on; a thread of the log's own writes it. Where the disk falls
//! behind by more than [`LINES_MAX`], lines are dropped and counted: a full disk slows no call.

use chassis::metrics::{Counter, Metrics};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use http_body::Frame;
use serde::Serialize;
use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Instant, SystemTime},
};
use types::{Fault, InvocationId, Timestamp};
use wire::BodyError;

/// Lines that wait for the disk.
const LINES_MAX: usize = 8192;

/// Where entries go. Clones share it; the writer ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Log {
    sender: SyncSender<Message>,
    dropped: Counter,
}

enum Message {
    Line(Box<Line>),
    /// Somebody has moved the file away.
    Reopen,
}

/// The writer's thread.
pub(crate) struct Writer(thread::JoinHandle<()>);

impl Writer {
    /// Returns when all lines are written.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the access log's thread panicked: this is a defect");
        }
    }
}

/// One request as it is logged. The order is that of the members.
#[derive(Serialize)]
struct Line {
    time: Timestamp,
    id: InvocationId,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace: String,
    client: IpAddr,
    #[serde(serialize_with = "text")]
    method: Method,
    scheme: &'static str,
    host: String,
    path: String,
    protocol: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    referer: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    function: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    revision: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<types::Code>,
    /// Of the request as it announced itself; nothing where it was streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_bytes: Option<u64>,
    response_bytes: u64,
    /// Until the answer's head, and until its last byte.
    first_us: u64,
    total_us: u64,
    /// The answer broke off, or the client left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    aborted: bool,
}

fn text<S: serde::Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.as_str())
}

/// The line of a request that runs.
pub(crate) struct Entry {
    log: Log,
    line: Box<Line>,
    arrived: Instant,
    /// All of the body is out.
    complete: bool,
    /// It broke off.
    broken: bool,
}

impl Log {
    /// Opens the file and starts the writer.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending.
    pub(crate) fn start(path: &Path, metrics: &Metrics) -> io::Result<(Self, Writer)> {
        let out = open(path)?;
        let (sender, receiver) = sync_channel(LINES_MAX);
        let help = "lines of the access log that were dropped because the disk was behind";
        let dropped = metrics.register("access_log_dropped", help, Counter::default());
        let path = path.to_owned();
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || write(&receiver, out, &path))?;
        Ok((Self { sender, dropped }, Writer(thread)))
    }

    pub(crate) fn reopen(&self) {
        // A writer that is behind by all its lines opens the file with the next request to do so.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// The line of this request so far.
    pub(crate) fn entry<B: http_body::Body>(
        &self,
        request: &Request<B>,
        id: InvocationId,
        secure: bool,
        arrived: Instant,
    ) -> Box<Entry> {
        let headers = request.headers();
        let host = request.uri().authority().map_or_else(|| of(headers, &header::HOST), |a| a.as_str().to_owned());
        let line = Line {
            time: Timestamp::from(SystemTime::now()),
            id,
            trace: String::new(),
            client: IpAddr::from([0, 0, 0, 0]),
            method: request.method().clone(),
            scheme: if secure { "https" } else { "http" },
            host,
            path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            protocol: protocol(request.version()),
            user_agent: of(headers, &header::USER_AGENT),
            referer: of(headers, &header::REFERER),
            function: String::new(),
            revision: String::new(),
            status: 0,
            code: None,
            request_bytes: request.body().size_hint().exact(),
            response_bytes: 0,
            first_us: 0,
            total_us: 0,
            aborted: false,
        };
        Box::new(Entry { log: self.clone(), line: Box::new(line), arrived, complete: false, broken: false })
    }
}

fn of(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

impl Entry {
    pub(crate) fn routed(&mut self, function: &str) {
        function.clone_into(&mut self.line.function);
    }

    pub(crate) fn called_by(&mut self, client: IpAddr, traceparent: Option<&HeaderValue>) {
        self.line.client = client;
        let trace = traceparent.and_then(|value| value.to_str().ok()).and_then(|text| text.get(3..35));
        trace.unwrap_or("").clone_into(&mut self.line.trace);
    }

    pub(crate) fn head(&mut self, status: u16, headers: &HeaderMap, fault: Option<&Fault>, is_empty: bool) {
        self.line.status = status;
        self.line.code = fault.map(|fault| fault.code);
        if let Some(name) = headers.get(types::api::REVISION_HEADER) {
            self.line.revision = String::from_utf8_lossy(name.as_bytes()).into_owned();
        }
        self.line.first_us = micros(self.arrived);
        self.complete = is_empty || self.line.method == Method::HEAD;
    }

    pub(crate) fn frame(&mut self, frame: &Option<Result<Frame<bytes::Bytes>, BodyError>>) {
        match frame {
            Some(Ok(frame)) => {
                self.line.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.complete = frame.is_trailers();
            }
            Some(Err(error)) => {
                self.broken = true;
                self.line.code = error.downcast_ref::<Fault>().map(|fault| fault.code);
            }
            None => self.complete = true,
        }
    }

    /// `ended` is what the body says: one of known length is not asked for its end.
    pub(crate) fn finish(mut self, ended: bool) {
        self.line.total_us = micros(self.arrived);
        self.line.aborted = self.broken || !(self.complete || ended);
        if self.log.sender.try_send(Message::Line(self.line)).is_err() {
            self.log.dropped.inc();
        }
    }
}

type Out = BufWriter<Box<dyn Write + Send>>;

fn open(path: &Path) -> io::Result<Out> {
    let out: Box<dyn Write + Send> = match path.as_os_str() == "-" {
        true => Box::new(io::stdout()),
        false => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    };
    Ok(BufWriter::with_capacity(64 << 10, out))
}

/// Writes until the last sender is gone. Lines reach the file at once where there is time, in blocks where there is none.
fn write(receiver: &Receiver<Message>, mut out: Out, path: &Path) {
    let mut told = Told::default();
    while let Ok(first) = receiver.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => told.tell(line_out(&mut out, &line)),
                Message::Reopen => {
                    told.tell(out.flush());
                    match open(path) {
                        Ok(new) => out = new,
                        Err(error) => told.tell(Err(error)),
                    }
                }
            }
            next = receiver.try_recv().ok();
        }
        told.tell(out.flush());
    }
}

fn line_out(out: &mut Out, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Says that the log cannot be written, once for each time that it begins.
#[derive(Default)]
struct Told(bool);

impl Told {
    fn tell(&mut self, result: io::Result<()>) {
        if let Err(error) = &result
            && !self.0
        {
            tracing::error!(%error, "the access log cannot be written");
        }
        self.0 = result.is_err();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_behind_drops_lines_and_counts_them() {
        // A writer that never reads: a disk that stands still.
        let (sender, receiver) = sync_channel(2);
        let log = Log { sender, dropped: Counter::default() };
        let request = Request::get("/x").body(wire::Body::Empty).unwrap();
        for _ in 0..5 {
            log.entry(&request, InvocationId::random(), false, Instant::now()).finish(true);
        }
        assert_eq!((log.dropped.get(), receiver.try_iter().count()), (3, 2));
    }

    #[test]
    fn lines_are_all_there_once_the_writer_has_ended() {
        let folder = std::env::temp_dir().join(format!("mayfly-access-{}", InvocationId::random()));
        let (log, writer) = Log::start(&folder, &Metrics::default()).unwrap();
        let request = Request::get("/x?y=z").body(wire::Body::Empty).unwrap();
        for n in 0..500_u16 {
            let mut entry = log.entry(&request, InvocationId::random(), true, Instant::now());
            entry.head(n, &HeaderMap::new(), None, true);
            entry.finish(true);
        }
        drop(log);
        writer.join();
        let text = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let statuses: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].clone())
            .collect();
        assert!(statuses.into_iter().eq(0..500), "{text}");
    }
}
