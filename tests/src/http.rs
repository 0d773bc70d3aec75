//! A small HTTP/1.1 client over plain sockets: nothing of the product's stack, and every byte in the test's hands.

use serde_json::Value;
use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A read that takes longer hangs: the longest honest one waits for 30 s.
const READ_MAX: Duration = Duration::from_secs(90);

/// Talks to one address, a fresh connection for each request. Headers given once go with each request.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    headers: Vec<(String, String)>,
}

/// An answer, read to its end.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request that was sent as far as the test wants, with its connection.
pub struct Exchange {
    stream: BufReader<TcpStream>,
}

/// An answer whose body is still on its way; reading it ends where the body ends.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    stream: BufReader<TcpStream>,
    framing: Framing,
    keep_alive: bool,
}

enum Framing {
    Length(u64),
    /// Bytes left of the current chunk; `None` once the last one was read.
    Chunked(Option<u64>),
    UntilClose,
}

impl Client {
    /// `base` as the platform tells it: `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        let address = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/').to_owned();
        Self { address, headers: Vec::new() }
    }

    /// The same client with a header on each of its requests.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.push((name.to_owned(), value.to_owned()));
        with
    }

    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(READ_MAX))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// # Panics
    /// Where no answer comes.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, b"")
    }

    /// # Panics
    /// Where no answer comes.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("POST", path, body)
    }

    /// # Panics
    /// Where no answer comes.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        match self.try_send(method, path, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// The whole exchange on a connection of its own.
    pub fn try_send(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> io::Result<Response> {
        let body = body.as_ref();
        let mut exchange = Exchange { stream: BufReader::new(self.connect()?) };
        let sized = !body.is_empty() || matches!(method, "POST" | "PUT");
        exchange.send_head(&self.head(method, path, sized.then_some(body.len() as u64), false))?;
        // A refusal may come before the body is taken: the answer counts, not the broken pipe.
        let sent = exchange.write(body);
        match exchange.answer().and_then(Answer::whole) {
            Ok(response) => Ok(response),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    /// Sends a request and leaves the answer to be read piece by piece.
    pub fn open(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut exchange = Exchange { stream: BufReader::new(self.connect()?) };
        exchange.send_head(&self.head(method, path, Some(body.len() as u64), false))?;
        exchange.write(body)?;
        exchange.answer()
    }

    /// Sends a head that announces `length` bytes (chunks where `None`), and leaves the body to the test.
    pub fn begin(&self, method: &str, path: &str, length: Option<u64>) -> io::Result<Exchange> {
        let mut exchange = Exchange { stream: BufReader::new(self.connect()?) };
        let mut head = self.head(method, path, length, false);
        if length.is_none() {
            head.truncate(head.len() - 2);
            head += "transfer-encoding: chunked\r\n\r\n";
        }
        exchange.send_head(&head)?;
        Ok(exchange)
    }

    fn head(&self, method: &str, path: &str, length: Option<u64>, keep_alive: bool) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !self.headers.iter().any(|(name, _)| name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if !keep_alive {
            head += "connection: close\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = length {
            head += &format!("content-length: {length}\r\n");
        }
        head + "\r\n"
    }
}

/// One connection that is used again and again: what most clients under load do.
pub struct KeepAlive {
    client: Client,
    stream: Option<BufReader<TcpStream>>,
}

impl KeepAlive {
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), stream: None }
    }

    /// One request on the connection that is there; a new one only where the platform said that it closes the old one.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(self.client.connect()?),
        };
        let mut exchange = Exchange { stream };
        let sized = (!body.is_empty()).then_some(body.len() as u64);
        exchange.send_head(&self.client.head(method, path, sized, true))?;
        exchange.write(body)?;
        let mut answer = exchange.answer()?;
        let mut body = Vec::new();
        answer.read_to_end(&mut body)?;
        let response = Response { status: answer.status, headers: answer.headers, body };
        self.stream = answer.keep_alive.then_some(answer.stream);
        Ok(response)
    }
}

impl Exchange {
    fn send_head(&mut self, head: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(head.as_bytes())
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// A piece of a chunked body; the empty one is the last.
    pub fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.write(&framed)
    }

    /// The other half for writing, while this one reads.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// Reads the head of the answer.
    pub fn answer(mut self) -> io::Result<Answer> {
        loop {
            let (status, headers) = read_head(&mut self.stream)?;
            // 1xx: another head follows.
            if status < 200 {
                continue;
            }
            let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            let chunked = find("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
            let length = find("content-length").and_then(|value| value.parse().ok());
            let framing = match (status, chunked, length) {
                (204 | 304, ..) => Framing::Length(0),
                (_, true, _) => Framing::Chunked(Some(0)),
                (_, false, Some(length)) => Framing::Length(length),
                (_, false, None) => Framing::UntilClose,
            };
            let close = find("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let keep_alive = !close && !matches!(framing, Framing::UntilClose);
            return Ok(Answer { status, headers, stream: self.stream, framing, keep_alive });
        }
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<(String, String)>)> {
    let line = read_line(stream)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line of HTTP/1.1: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer hung up before its head was complete"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the body broke off");
        match &mut self.framing {
            Framing::UntilClose => self.stream.read(buffer),
            Framing::Length(0) | Framing::Chunked(None) => Ok(0),
            Framing::Length(left) => {
                let want = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = self.stream.read(&mut buffer[..want])?;
                *left -= count as u64;
                if count == 0 && want > 0 { Err(cut()) } else { Ok(count) }
            }
            Framing::Chunked(Some(left)) => {
                if *left == 0 {
                    let line = read_line(&mut self.stream).map_err(|_| cut())?;
                    let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16);
                    *left = size.map_err(|_| io::Error::other(format!("no chunk: {line:?}")))?;
                    if *left == 0 {
                        // Trailers, if any, and the empty line.
                        while !read_line(&mut self.stream)?.is_empty() {}
                        self.framing = Framing::Chunked(None);
                        return Ok(0);
                    }
                }
                let want = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = self.stream.read(&mut buffer[..want])?;
                *left -= count as u64;
                if *left == 0 && count > 0 {
                    read_line(&mut self.stream)?;
                }
                if count == 0 && want > 0 { Err(cut()) } else { Ok(count) }
            }
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads on until what was read contains `text`; returns all that was read.
    pub fn read_until(&mut self, text: &str) -> io::Result<String> {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if String::from_utf8_lossy(&seen).contains(text) {
                return Ok(String::from_utf8_lossy(&seen).into_owned());
            }
            match self.read(&mut buffer)? {
                0 => return Err(io::Error::other(format!("ended with {:?}", String::from_utf8_lossy(&seen)))),
                count => seen.extend_from_slice(&buffer[..count]),
            }
        }
    }

    pub fn whole(mut self) -> io::Result<Response> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The code of the problem document; empty where the answer is none.
    pub fn code(&self) -> String {
        let problem = self.header("content-type") == Some("application/problem+json");
        let body: Value = if problem { serde_json::from_slice(&self.body).unwrap_or_default() } else { Value::Null };
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The answer where it is a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{self:?}");
        self
    }

    /// The answer where it is a problem with this status and code, whole as RFC 9457 and `docs/errors` have it.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], status, "{document}");
        for member in ["type", "title", "detail"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {document}");
        }
        let retry = document["retry"].as_bool().expect("`retry`");
        assert_eq!(self.header("retry-after").is_some(), retry, "retry and Retry-After go together: {self:?}");
        self
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text().chars().take(2000).collect();
        write!(f, "{} {:?} {} bytes: {shown}", self.status, self.headers, self.body.len())
    }
}
